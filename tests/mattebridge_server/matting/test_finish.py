"""The finish: islands go, strands that reach the subject stay, and only a blurred subject gets a blurred edge."""

from __future__ import annotations

import cv2
import numpy as np

from mattebridge_server.matting.band import Band, open_band
from mattebridge_server.matting.finish import attached, softened

HEIGHT, WIDTH = 540, 720


def _disc() -> tuple[np.ndarray, Band]:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(mask, (360, 270), 120, 1.0, -1)
    band = open_band(mask, 140.0, 30.0)
    assert band is not None
    return mask, band


def test_an_island_goes_and_a_strand_with_a_small_break_stays() -> None:
    mask, band = _disc()
    alpha = mask.copy()
    alpha[150:160, 100:110] = 0.8  # an island, 90 px from the disc
    alpha[269:271, 482:500] = 0.5  # a strand that touches it
    alpha[269:271, 503:512] = 0.5  # and goes on after a break of 3 px
    result = np.zeros_like(mask)
    result[band.crop] = attached(np.ascontiguousarray(alpha[band.crop]), band)
    assert result[150:160, 100:110].max() == 0
    assert np.array_equal(result[:, 240:], alpha[:, 240:])


def _plate(sigma: float) -> np.ndarray:
    """A textured disc before a smooth wall, seen through a lens that blurs all of it by ``sigma`` pixels."""
    mask, _ = _disc()
    rng = np.random.default_rng(2)
    texture = sum(
        cv2.GaussianBlur(rng.standard_normal(mask.shape).astype(np.float32), (0, 0), s) * s for s in (1, 2, 4, 8)
    )
    inside = 0.3 * np.exp(0.25 * texture)
    plate = np.where(mask > 0, inside, 0.05).astype(np.float32)
    if sigma:
        plate = cv2.GaussianBlur(plate, (0, 0), sigma)
    return np.dstack([plate] * 3)


def test_a_sharp_subject_keeps_its_edge_and_a_blurred_one_does_not() -> None:
    mask, band = _disc()
    alpha = np.ascontiguousarray(mask[band.crop])
    sharp = softened(alpha, np.ascontiguousarray(_plate(0)[band.crop]), band, 1)
    blurred = softened(alpha, np.ascontiguousarray(_plate(4)[band.crop]), band, 1)
    assert np.array_equal(sharp, alpha)
    assert ((blurred > 0.05) & (blurred < 0.95)).sum() > 1500
    assert (blurred[band.distance < -20] == 1).all()
