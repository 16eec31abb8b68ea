"""Back to the plate's pixels: sharp where the plate shows the edge, untouched where alpha is solid or empty."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mattebridge.errors import InputError
from mattebridge_server.matting.restore import Placement, restore

Float32 = NDArray[np.float32]


def strands(height: int = 192, width: int = 256) -> tuple[Float32, Float32]:
    """Fine bright lines and a solid disc before a dark ground: alpha (H, W) and the plate's codes (H, W, 3)."""
    canvas = np.zeros((height * 4, width * 4), np.uint8)
    rng = np.random.default_rng(5)
    cv2.circle(canvas, (width * 2, height * 2), height, 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, 60):
        tip = (int(width * 2 + 1.5 * height * np.cos(angle)), int(height * 2 + 1.5 * height * np.sin(angle)))
        cv2.line(canvas, (width * 2, height * 2), tip, 255, 5)
    alpha = cv2.resize(canvas.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA)
    codes = 0.75 * alpha[..., None] + 0.15 * (1 - alpha[..., None]) + 0.004 * rng.standard_normal((height, width, 3))
    return alpha.astype(np.float32), np.clip(codes, 0, 1).astype(np.float32)


def small(alpha: Float32, factor: int) -> Float32:
    size = (alpha.shape[1] // factor, alpha.shape[0] // factor)
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_plate_brings_back_what_the_canvas_could_not_hold(factor: int) -> None:
    alpha, guide = strands()
    canvas = small(alpha, factor)
    enlarged = np.clip(cv2.resize(canvas, alpha.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    restored = restore(canvas, guide, None)
    assert np.abs(restored - alpha).mean() < 0.5 * np.abs(enlarged - alpha).mean()


@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_what_the_network_blurred_on_its_canvas_is_taken_away(factor: float) -> None:
    alpha, guide = strands()
    size = (round(alpha.shape[1] / factor), round(alpha.shape[0] / factor))
    canvas = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.0), np.float32)
    enlarged = np.clip(cv2.resize(blurred, alpha.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    restored = restore(blurred, guide, None)
    assert np.abs(restored - alpha).mean() < 0.4 * np.abs(enlarged - alpha).mean()


def test_a_plate_that_shows_no_edge_leaves_a_plain_enlargement() -> None:
    alpha, guide = strands()
    canvas = small(alpha, 2)
    enlarged = np.clip(cv2.resize(canvas, alpha.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    noise = np.random.default_rng(1).normal(0.4, 0.01, guide.shape).astype(np.float32)
    restored = restore(canvas, noise, None)
    assert np.abs(restored - alpha).mean() < 1.05 * np.abs(enlarged - alpha).mean()


def test_averaged_down_again_it_is_what_the_network_said() -> None:
    alpha, guide = strands()
    canvas = small(alpha, 2)
    band = (canvas > 0.1) & (canvas < 0.9)
    assert np.abs(small(restore(canvas, guide, None), 2) - canvas)[band].mean() < 0.0015


def test_solid_stays_one_and_empty_stays_zero_whatever_the_plate_shows() -> None:
    alpha, _ = strands()
    wild = np.random.default_rng(2).uniform(0, 1, (*alpha.shape, 3)).astype(np.float32)
    canvas = small(alpha, 4)
    restored = restore(canvas, wild, None)
    deep = cv2.erode((canvas == 1).astype(np.uint8), np.ones((7, 7), np.uint8))
    far = cv2.erode((canvas == 0).astype(np.uint8), np.ones((7, 7), np.uint8))
    for side, value in ((deep, 1.0), (far, 0.0)):
        whole = cv2.resize(side, alpha.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        assert whole.any()
        assert (restored[whole] == value).all()


@pytest.mark.parametrize(("said", "restored"), [(0.997, 1.0), (0.003, 0.0), (0.985, 0.985), (0.015, 0.015)], ids=str)
def test_what_is_nearly_solid_is_solid_and_a_veil_stays_a_veil(said: float, restored: float) -> None:
    flat = np.full((20, 24), said, np.float32)
    grey = np.full((40, 48, 3), 0.4, np.float32)
    assert restore(flat, grey, None) == pytest.approx(restored, abs=1e-4)


def test_a_canvas_at_the_plates_size_is_passed_on_bit_for_bit() -> None:
    alpha, guide = strands()
    np.testing.assert_array_equal(restore(alpha, guide, None), alpha)


def test_beyond_the_region_alpha_is_one_only_where_the_mask_is() -> None:
    alpha, guide = strands()
    mask = np.zeros(alpha.shape, np.float32)
    mask[:, :20] = 1
    mask[:, 20:30] = 0.6
    place = Placement(64, 48, 128, 96)
    canvas = small(np.ascontiguousarray(alpha[48:144, 64:192]), 2)
    restored = restore(canvas, guide, mask, place)
    inside = restored[48:144, 64:192]
    assert np.abs(inside - alpha[48:144, 64:192]).mean() < 0.02
    outside = restored.copy()
    outside[48:144, 64:192] = 0
    assert (outside[:, :20] == 1).all()
    assert (outside[:, 20:] == 0).all()


def test_a_region_may_reach_beyond_the_plate() -> None:
    alpha, guide = strands()
    place = Placement(-32, -16, alpha.shape[1] + 64, alpha.shape[0] + 32)
    padded = cv2.copyMakeBorder(alpha, 16, 16, 32, 32, cv2.BORDER_REPLICATE)
    restored = restore(small(np.asarray(padded, np.float32), 2), guide, None, place)
    whole = restore(small(alpha, 2), guide, None)
    assert restored.shape == alpha.shape
    assert np.abs(restored - whole).mean() < 2e-3
    nowhere = restore(small(alpha, 2), guide, None, Placement(9999, 0, 64, 64))
    assert (nowhere == 0).all()


def test_an_edge_at_the_plates_border_is_as_good_as_elsewhere_where_the_region_goes_on() -> None:
    alpha, guide = (np.ascontiguousarray(whole[:, 100:196]) for whole in strands())
    padded = cv2.copyMakeBorder(alpha, 16, 16, 32, 32, cv2.BORDER_REPLICATE)
    place = Placement(-32, -16, alpha.shape[1] + 64, alpha.shape[0] + 32)
    error = np.abs(restore(small(np.asarray(padded, np.float32), 2), guide, None, place) - alpha)
    assert error[:, :3].mean() < 0.003 and error[:, -3:].mean() < 0.003


def test_a_canvas_larger_than_its_region_is_averaged() -> None:
    alpha, guide = strands()
    large = np.clip(cv2.resize(alpha, (640, 480), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)
    restored = restore(large, guide, None)
    assert np.abs(restored - alpha).mean() < 0.02
    checker = (np.indices((80, 96)).sum(axis=0) % 2).astype(np.float32)
    assert restore(checker, guide[:40, :48], None) == pytest.approx(0.5)


def test_a_mask_of_another_size_is_refused() -> None:
    alpha, guide = strands()
    with pytest.raises(InputError, match="does not fit"):
        restore(small(alpha, 2), guide, np.zeros((5, 5), np.float32))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    canvas=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    place=st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 80), st.integers(1, 80)),
)
def test_any_region_gives_finite_coverage_on_the_plates_grid(
    seed: int, size: tuple[int, int], canvas: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    alpha = np.clip(rng.uniform(-0.5, 1.5, canvas), 0, 1).astype(np.float32)
    guide = rng.uniform(0, 1, (*size, 3)).astype(np.float32)
    restored = restore(alpha, guide, np.ones(size, np.float32), Placement(*place))
    assert restored.shape == size
    assert np.isfinite(restored).all()
    assert restored.min() >= 0
    assert restored.max() <= 1
    x, y, width, height = place
    rows, columns = np.mgrid[: size[0], : size[1]]
    outside = (columns < x) | (columns >= x + width) | (rows < y) | (rows >= y + height)
    assert (restored[outside] == 1).all()
