"""The finish: islands go, strands that reach the subject stay, and only a blurred subject gets a blurred edge."""

from __future__ import annotations

import cv2
import numpy as np

from mattebridge_server.matting.band import Band, open_band
from mattebridge_server.matting.finish import attached, lens_blur, softened, without_slits

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


def test_a_slit_inside_a_solid_subject_is_closed_and_gaps_between_strands_stay() -> None:
    mask, band = _disc()
    alpha = mask.copy()
    alpha[160:165, 320:400] = 0.1  # a seam, 5 px thick, 10 px inside the disc's edge
    strands = alpha[300:380, 330:390]
    strands[:] = 0
    strands[:, ::6] = 1  # hair over a see-through hole: strands one pixel wide
    result = alpha.copy()
    result[band.crop] = without_slits(np.ascontiguousarray(alpha[band.crop]), band)
    assert result[161:164, 325:395].min() > 0.99
    assert np.abs(result[310:370, 340:380] - alpha[310:370, 340:380]).max() < 0.01
    assert np.array_equal(result[mask == 0], alpha[mask == 0]), "nothing grows outside the mask"


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
    sharp, blurred = (softened(alpha, lens_blur(_plate(sigma)[band.crop], band), band) for sigma in (0, 4))
    assert np.array_equal(sharp, alpha)
    assert ((blurred > 0.05) & (blurred < 0.95)).sum() > 1500
    assert (blurred[band.distance < -20] == 1).all()
