"""Half and float32 convert exactly; what is not finite is repaired from its neighbours and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge_server.media import repair_non_finite, usable
from mattebridge_server.media.half import to_float, to_half

EVERY_HALF = np.arange(65536, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("shape", [(65536,), (256, 256), (64, 256, 4), (16384, 4, 1), (1, 65536, 1), (4, 1, 16384)])
def test_every_half_becomes_the_same_float(shape):
    with np.errstate(invalid="ignore"):
        expected = EVERY_HALF.astype(np.float32).reshape(shape)
    np.testing.assert_array_equal(to_float(EVERY_HALF.reshape(shape)), expected)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_small_and_empty_arrays_keep_their_shape(shape):
    half = np.random.default_rng(0).random(shape).astype(np.float16)
    np.testing.assert_array_equal(to_float(half), half.astype(np.float32))
    rounded, changed = to_half(half.astype(np.float32), 0, 1)
    np.testing.assert_array_equal(rounded, half)
    assert changed == 0


@pytest.mark.parametrize("repeat", [1, 3])
def test_rounding_to_half_is_to_nearest_even(repeat):
    finite = np.sort(EVERY_HALF[np.isfinite(EVERY_HALF)].astype(np.float32))
    between = (finite[1:] + finite[:-1]) / 2
    values = np.concatenate([finite, between, np.nextafter(between, np.inf), np.nextafter(between, -np.inf)])
    values = np.tile(values, (repeat, 1))
    rounded, changed = to_half(values, -65504, 65504)
    np.testing.assert_array_equal(rounded, values.astype(np.float16))
    assert changed == 0


def test_a_finite_picture_is_returned_as_it_is():
    pixels = np.full((4, 5, 3), 3e38, np.float32)
    repaired, count = repair_non_finite(pixels)
    assert repaired is pixels
    assert count == 0


def test_a_lone_value_becomes_the_mean_of_its_neighbours():
    pixels = np.ones((9, 9, 3), np.float32) * [1, 2, 4]
    pixels = pixels.astype(np.float32)
    pixels[4, 4] = [np.nan, np.inf, -np.inf]
    pixels[0, 0, 1] = np.nan
    original = pixels.copy()
    repaired, count = repair_non_finite(pixels)
    assert count == 2
    np.testing.assert_allclose(repaired, np.ones((9, 9, 3)) * [1, 2, 4], rtol=1e-6)
    np.testing.assert_array_equal(pixels, original)


def test_finite_values_are_never_touched():
    rng = np.random.default_rng(2)
    pixels = rng.normal(0, 1e4, (60, 80, 3)).astype(np.float32)
    pixels[5, 5] = 3e38
    bad = rng.random((60, 80)) < 0.05
    pixels[bad] = np.nan
    repaired, count = repair_non_finite(pixels)
    assert count == bad.sum()
    assert np.isfinite(repaired).all()
    np.testing.assert_array_equal(repaired[~bad], pixels[~bad])


def test_a_neighbour_of_infinity_does_not_explode():
    pixels = np.full((8, 8), 0.5, np.float32)
    pixels[3, 3], pixels[3, 5] = np.inf, 3e38
    repaired, count = repair_non_finite(pixels)
    assert count == 1
    assert repaired[3, 3] == 0.5


def test_a_hole_is_filled_from_as_far_as_needed_and_then_with_black():
    pixels = np.full((120, 120, 3), 2, np.float32)
    pixels[10:110, 10:110] = np.nan
    repaired, count = repair_non_finite(pixels)
    assert count == 100 * 100
    np.testing.assert_allclose(repaired[12, 60], 2)
    np.testing.assert_allclose(repaired[28, 60], 2)
    assert (repaired[60, 60] == 0).all()


def test_a_picture_of_nothing_but_nan_becomes_black():
    repaired, count = repair_non_finite(np.full((5, 5, 3), np.nan, np.float32))
    assert count == 25
    assert not repaired.any()


def test_single_channels_are_repaired_too():
    plane = np.full((6, 6), 0.25, np.float32)
    plane[2, 2] = np.inf
    repaired, count = repair_non_finite(plane)
    assert (repaired.shape, count) == ((6, 6), 1)
    assert repaired[2, 2] == 0.25


def test_what_no_result_can_hold_is_clamped_and_all_else_left_alone():
    pixels = np.full((8, 8, 3), 65504, np.float32)
    assert usable(pixels)[0] is pixels
    pixels[2, 2], pixels[3, 3], pixels[4, 4] = 3e38, -3e38, np.nan
    clamped, count = usable(pixels)
    assert count == 1
    assert (np.abs(clamped) == 65504).all() and (clamped[3, 3] < 0).all()
