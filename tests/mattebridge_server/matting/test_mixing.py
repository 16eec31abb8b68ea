"""What a network reads of a mix of light is turned round exactly, and colours are found that fit the light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mattebridge_ocio import FilmicLook, SrgbLook
from mattebridge_server.matting.linear_light import Encoding
from mattebridge_server.matting.mixing import Pair, Read, coverage_of, pair_of, reading, relit, slope_of

Float32 = NDArray[np.float32]
LOOKS: list[Encoding] = [SrgbLook(), FilmicLook()]
COVERAGE = np.linspace(0, 1, 41, dtype=np.float32)


def pair(front: object, back: object, look: Encoding, count: int, spread: float = 0.0) -> Pair:
    colours = [np.tile(np.asarray(colour, np.float32), (count, 1)) for colour in (front, back)]
    variances = [np.square(np.float32(spread) * colour) for colour in colours]
    return pair_of(*colours, *variances, look)


def sure(alpha: Float32) -> Read:
    return Read(alpha, np.full_like(alpha, 1e-5))


@pytest.mark.parametrize("look", LOOKS, ids=["srgb", "filmic"])
@pytest.mark.parametrize(
    ("front", "back"),
    [
        ((0.8, 0.8, 0.8), (0.002, 0.002, 0.002)),
        ((0.02, 0.01, 0.01), (0.5, 0.6, 0.7)),
        ((0.9, 0.5, 0.2), (0.1, 0.4, 0.1)),
    ],
)
def test_the_coverage_that_reads_as_an_alpha_is_found(look: Encoding, front: object, back: object) -> None:
    mixed = pair(front, back, look, len(COVERAGE))
    found = coverage_of(reading(COVERAGE, mixed, look), mixed, look)
    np.testing.assert_allclose(found.value, COVERAGE, atol=0.004)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


def test_white_over_black_reads_as_the_curve_makes_it() -> None:
    look = SrgbLook()
    black_and_white = pair((1, 1, 1), (0, 0, 0), look, 1)
    assert reading(np.float32([0.5]), black_and_white, look)[0] == pytest.approx(0.7354, abs=1e-3)


def test_one_channel_that_does_not_clip_tells_the_coverage() -> None:
    look = SrgbLook()
    mixed = pair((3.0, 2.0, 0.9), (0.01, 0.01, 0.01), look, len(COVERAGE))
    found = coverage_of(reading(COVERAGE, mixed, look), mixed, look)
    np.testing.assert_allclose(found.value, COVERAGE, atol=0.01)


def test_at_a_clip_the_reading_is_flat_and_the_bounds_close_in_on_where_it_begins() -> None:
    look = SrgbLook()
    mixed = pair((4, 4, 4), (0, 0, 0), look, len(COVERAGE))
    read = reading(COVERAGE, mixed, look)
    clipped = COVERAGE > 0.25
    np.testing.assert_allclose(read[clipped], 1, atol=1e-3)
    assert (slope_of(COVERAGE, mixed, look)[COVERAGE > 0.3] < 0.01).all()
    assert (slope_of(COVERAGE, mixed, look)[COVERAGE < 0.2] > 0.5).all()
    low = coverage_of(np.full_like(COVERAGE, 0.996), mixed, look).low
    assert (low < 0.26).all()


def test_equal_sides_keep_the_alpha() -> None:
    for look in LOOKS:
        same = pair((0.2, 0.2, 0.2), (0.2, 0.2, 0.2), look, len(COVERAGE))
        np.testing.assert_allclose(coverage_of(COVERAGE, same, look).value, COVERAGE, atol=0.005)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), level=st.floats(0.01, 60))
def test_any_two_lights_give_a_coverage_within_its_bounds(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    front, back = (np.float32(level) * rng.random((50, 3), np.float32) for _ in range(2))
    alpha = np.clip(rng.uniform(-0.2, 1.2, 50), 0, 1).astype(np.float32)
    for look in LOOKS:
        mixed = pair_of(front, back, 0.1 * front, 0.1 * back, look)
        found = coverage_of(alpha, mixed, look)
        assert np.isfinite(found.value).all()
        assert (found.low >= 0).all() and (found.low <= found.value).all()
        assert (found.value <= found.high).all() and (found.high <= 1).all()
        fitted = relit(mixed, sure(alpha), front, 0.01 * front, np.ones((5, 10), np.bool_), look, 1.0)
        for part in vars(fitted).values():
            assert np.isfinite(part).all()
            assert (part >= 0).all()


def test_a_foreground_that_is_too_dark_everywhere_is_lit() -> None:
    look = FilmicLook()
    height = width = 48
    rng = np.random.default_rng(2)
    coverage = rng.uniform(0.2, 0.9, height * width).astype(np.float32)
    true = pair((1.3, 0.9, 0.5), (0.02, 0.02, 0.02), look, height * width)
    light = true.background + coverage[:, None] * (true.foreground - true.background)
    alpha = reading(coverage, true, look)
    guess = pair((1.0, 0.65, 0.3), (0.02, 0.02, 0.02), look, height * width, spread=0.3)
    before = coverage_of(alpha, guess, look).value
    fitted = relit(guess, sure(alpha), light, np.full_like(light, 1e-5), np.ones((height, width), np.bool_), look, 1.0)
    after = coverage_of(alpha, fitted, look).value
    assert np.abs(before - coverage).mean() > 0.05
    assert np.abs(after - coverage).mean() < 0.25 * np.abs(before - coverage).mean()
    solid = coverage > 0.6
    error, start = (np.abs(one.foreground - true.foreground)[solid].mean() for one in (fitted, guess))
    assert error < 0.4 * start


def test_a_sure_pair_that_fits_is_left_as_it_is() -> None:
    look = SrgbLook()
    true = pair((0.6, 0.3, 0.2), (0.05, 0.1, 0.2), look, 100, spread=0.05)
    coverage = np.linspace(0, 1, 100, dtype=np.float32)
    light = true.background + coverage[:, None] * (true.foreground - true.background)
    same = relit(
        true,
        sure(reading(coverage, true, look)),
        light,
        np.full_like(light, 1e-6),
        np.ones((10, 10), np.bool_),
        look,
        1.0,
    )
    np.testing.assert_allclose(same.foreground, true.foreground, atol=0.02)
    np.testing.assert_allclose(same.background, true.background, atol=0.02)


def test_where_the_reading_is_flat_no_colour_is_moved() -> None:
    look = SrgbLook()
    sky = pair((0.02, 0.02, 0.02), (8, 8, 8), look, 100, spread=0.2)
    coverage = np.full(100, 0.5, np.float32)
    light = sky.background + coverage[:, None] * (sky.foreground - sky.background)
    alpha = reading(coverage, sky, look)
    assert alpha.max() < 0.004, "the network sees nothing but sky"
    same = relit(sky, sure(alpha), light, np.full_like(light, 1e-5), np.ones((10, 10), np.bool_), look, 1.0)
    np.testing.assert_allclose(same.background, sky.background, rtol=0.1)
    np.testing.assert_allclose(same.foreground, sky.foreground, rtol=0.1)
