"""Lines: no torn edge where the plate does not tell, no slit at a seam; strands, clean edges and soft roto are kept."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from mattebridge_server.matting.band import Band, open_band
from mattebridge_server.matting.contour import drawn
from mattebridge_server.matting.evidence import Evidence, gather_evidence
from mattebridge_server.matting.finish import lens_blur
from mattebridge_server.matting.judge import judge_alpha, load_judge
from mattebridge_server.matting.solve import DEPTH, REACH, SolveSettings, solve_alpha

HEIGHT, WIDTH = 1080, 720


def _disc(radius: int = 120) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.circle(mask, (360, 270), radius, 1.0, -1, cv2.LINE_AA)
    return mask


def _clouds(sigma: float, seed: int) -> np.ndarray:
    noise = cv2.GaussianBlur(
        np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), sigma
    )
    return np.asarray(noise / noise.std(), np.float32)


def _plate(inside: np.ndarray, outside: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A mixed plate with grain: (H, W, 3) float32."""
    light = inside * truth + outside * (1 - truth)
    grain = np.random.default_rng(5).standard_normal((HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.asarray(light[..., None] * (1 + 0.03 * grain), np.float32)


def _steps(plate: np.ndarray, mask: np.ndarray) -> tuple[Band, Evidence, np.ndarray, np.ndarray]:
    band = open_band(mask, REACH, DEPTH)
    assert band is not None
    evidence = gather_evidence(np.ascontiguousarray(plate[band.crop]), band)
    return band, evidence, judge_alpha(band, evidence, load_judge()), lens_blur(plate[band.crop], band)


def _length(alpha: np.ndarray) -> float:
    contours, _ = cv2.findContours((alpha > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return sum(cv2.arcLength(contour, True) for contour in contours)


@pytest.fixture(scope="module")
def alike() -> tuple[np.ndarray, np.ndarray]:
    """A knitted dark coat before a dark street: the sides differ by less than the cloth's own pattern."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    knit = 0.35 * np.sin(rows * 0.9 + 1.2 * np.sin(columns * 0.5))
    inside, outside = 0.031 * np.exp(knit), 0.03 * np.exp(0.12 * _clouds(12, 1) + 0.2 * _clouds(1.5, 2))
    return _plate(inside, outside, _disc()), (_disc() > 0.5).astype(np.float32)


def test_an_edge_that_the_plate_does_not_show_is_one_line_near_the_masks(alike: tuple[np.ndarray, np.ndarray]) -> None:
    plate, mask = alike
    band, _, judged, _ = _steps(plate, mask)
    alpha = solve_alpha(plate, mask, SolveSettings())
    circle = _length(mask)
    assert _length(judged) > 1.25 * circle, "the scene has to be hard enough to tear an edge"
    assert _length(alpha[band.crop]) < 1.1 * circle
    assert np.abs(alpha - mask).sum() < 4.0 * circle, "on average within four pixels of the mask"


def test_nothing_is_left_beyond_an_edge_that_the_plate_does_not_show(alike: tuple[np.ndarray, np.ndarray]) -> None:
    plate, mask = alike
    alpha = solve_alpha(plate, mask, SolveSettings())
    away = cv2.distanceTransform((mask < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    assert alpha[away > 12].max() < 0.05
    deep = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    assert alpha[deep > 12].min() > 0.95


def test_a_soft_mask_stays_soft_where_the_plate_does_not_tell(alike: tuple[np.ndarray, np.ndarray]) -> None:
    plate, mask = alike
    soft = cv2.GaussianBlur(mask, (0, 0), 8).astype(np.float32)
    alpha = solve_alpha(plate, soft, SolveSettings())
    between = [int(((image > 0.1) & (image < 0.9)).sum()) for image in (alpha, soft)]
    assert between[0] > 0.5 * between[1]


def _drawn(change: Callable[[np.ndarray, np.ndarray], None]) -> tuple[np.ndarray, np.ndarray]:
    """What `drawn` makes of the alpha of a bright disc on a plain dark wall after ``change`` to plate and alpha."""
    truth = _disc()
    plate = _plate(np.full_like(truth, 0.4), np.full_like(truth, 0.1), truth)
    alpha = truth.copy()
    change(plate, alpha)
    band, evidence, _, lens = _steps(plate, (truth > 0.5).astype(np.float32))
    result = alpha.copy()
    result[band.crop] = drawn(np.ascontiguousarray(alpha[band.crop]), band, evidence, lens)
    return result, alpha


def test_a_clean_edge_is_left_as_it_is() -> None:
    result, alpha = _drawn(lambda plate, alpha: None)
    assert np.abs(result - alpha).max() < 0.02


def test_a_plate_of_few_lines_is_left_alone() -> None:
    alpha = np.random.default_rng(3).random((HEIGHT // 2, WIDTH // 2)).astype(np.float32)
    plate = np.repeat(np.float32(0.1) + 0.1 * alpha[..., None], 3, axis=2)
    mask = np.ascontiguousarray((_disc() > 0.5)[::2, ::2], np.float32)
    band, evidence, _, lens = _steps(plate, mask)
    torn = np.ascontiguousarray(alpha[band.crop])
    np.testing.assert_array_equal(drawn(torn, band, evidence, lens), torn)


def test_a_strand_that_stands_off_is_left_as_it_is() -> None:
    def strand(plate: np.ndarray, alpha: np.ndarray) -> None:
        for image, value in ((plate, (0.4,) * 3), (alpha, 1.0)):
            cv2.line(image, (470, 230), (530, 190), value, 1)

    result, alpha = _drawn(strand)
    beyond = np.zeros(alpha.shape, np.bool_)
    beyond[180:225, 495:535] = alpha[180:225, 495:535] == 1
    assert beyond.sum() > 25
    assert result[beyond].min() > 0.95


def test_a_seam_along_the_edge_is_closed_with_the_rim_beyond_it() -> None:
    def seam(plate: np.ndarray, alpha: np.ndarray) -> None:
        for image, value in ((plate, (0.01,) * 3), (alpha, 0.0)):
            cv2.ellipse(image, (360, 270), (116, 116), 0, 200, 250, value, 2)

    result, alpha = _drawn(seam)
    along = np.zeros_like(alpha, np.uint8)
    cv2.ellipse(along, (360, 270), (116, 116), 0, 205, 245, 1, 1)
    assert alpha[along > 0].max() < 0.5
    assert result[along > 0].mean() > 0.9


def test_teeth_in_an_edge_become_a_line() -> None:
    def teeth(plate: np.ndarray, alpha: np.ndarray) -> None:
        del plate
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] - np.array([270, 360])[:, None, None]
        radius = 120 + 1.6 * np.sign(np.sin(np.arctan2(rows, columns) * 120))
        alpha[:] = np.hypot(rows, columns) < radius

    result, alpha = _drawn(teeth)
    circle = _length(_disc())
    assert _length(alpha) > 1.25 * circle
    assert _length(result) - circle < 0.5 * (_length(alpha) - circle)
