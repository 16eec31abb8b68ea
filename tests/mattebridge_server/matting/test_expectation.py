"""Where the look compresses the foreground the mean coverage is returned, and nothing is changed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_ocio import FilmicLook, SrgbLook
from mattebridge_server.matting.expectation import (
    Lit,
    compressed_share,
    expected_coverage,
    expected_where_compressed,
    foreground_light,
)
from mattebridge_server.matting.linear_light import Encoding
from mattebridge_server.matting.mixing import Read, coverage_of, pair_of, reading

Float32 = NDArray[np.float32]
LOOKS: list[Encoding] = [SrgbLook(), FilmicLook()]
HAIR, WOOD = np.float32([2.0, 1.4, 0.8]), np.float32([0.02, 0.03, 0.01])
TEXTURE, READ_ERROR = 0.3, 0.03


def tiled(colour: Float32, count: int) -> Float32:
    return np.tile(np.asarray(colour, np.float32), (count, 1))


@pytest.mark.parametrize("look", LOOKS, ids=["srgb", "filmic"])
def test_of_a_bent_reading_the_mean_has_less_error_than_what_is_read_and_hardly_a_bias(look: Encoding) -> None:
    rng = np.random.default_rng(1)
    count = 20000
    truth = rng.uniform(0, 1, count).astype(np.float32)
    shade = 1 + np.float32(TEXTURE) * rng.standard_normal((count, 1), np.float32).clip(-2, 2)
    front, back = tiled(HAIR, count) * shade, tiled(WOOD, count)
    light = truth[:, None] * front + (1 - truth[:, None]) * back
    exact = pair_of(front, back, np.zeros_like(front), np.zeros_like(front), look)
    error = np.float32(READ_ERROR) * rng.standard_normal(count, np.float32)
    read = Read(np.clip(reading(truth, exact, look) + error, 0, 1), np.full(count, READ_ERROR**2, np.float32))
    level = tiled(HAIR, count)
    known = pair_of(level, back, np.square(np.float32(TEXTURE) * level), np.square(np.float32(0.1) * back), look)
    mean = expected_coverage(read, light, light * np.float32(1e-4), known, look)
    plain = coverage_of(read.alpha, known, look).value
    assert np.abs(mean - truth).mean() < 0.9 * np.abs(plain - truth).mean()
    assert abs((mean - truth).mean()) < 0.015


def test_coverages_that_explain_plate_and_reading_alike_are_averaged() -> None:
    look = SrgbLook()
    black = np.zeros((1, 3), np.float32)
    unseen = pair_of(black, black, black + np.float32(1e-6), black + np.float32(1e-6), look)
    read = Read(np.float32([0.5]), np.float32([100.0]))
    assert expected_coverage(read, black, black, unseen, look)[0] == pytest.approx(0.5, abs=0.05)


def test_a_foreground_below_the_shoulder_keeps_the_coverage_that_was_found() -> None:
    look = FilmicLook()
    coverage = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    where = (coverage > 0.2) & (coverage < 0.8)
    count = int(where.sum())
    front, back = np.full((count, 3), 0.3, np.float32), np.full((count, 3), 0.01, np.float32)
    pair = pair_of(front, back, np.square(front), np.square(back), look)
    light = np.full((8, 8, 3), 0.2, np.float32)
    read = Read(np.full(count, 0.5, np.float32), np.full(count, 1e-3, np.float32))
    kept = expected_where_compressed(coverage, where, read, pair, Lit(light, light * 0, light), look, 1.0)
    assert kept.tobytes() == coverage[where].tobytes()


@pytest.mark.parametrize("look", LOOKS, ids=["srgb", "filmic"])
def test_compression_fades_in_from_the_shoulder_to_twice_its_light(look: Encoding) -> None:
    levels = np.float32([0.5, 1.0, 1.5, 2.0, 9.0])[:, None] * np.float32([1.0, 0.4, 0.1])
    share = compressed_share(levels * np.float32(look.shoulder_start), look)
    np.testing.assert_allclose(share, [0, 0, 0.5, 1, 1], atol=1e-5)


def test_the_foregrounds_light_is_found_from_pixels_that_hold_some_of_it() -> None:
    rng = np.random.default_rng(2)
    coverage = rng.uniform(0, 1, (96, 96)).astype(np.float32)
    light = coverage[..., None] * HAIR + (1 - coverage[..., None]) * WOOD
    front, texture = foreground_light(light, coverage, light * np.float32(1e-5), 1.0)
    np.testing.assert_allclose(front[16:-16, 16:-16], np.broadcast_to(HAIR, (64, 64, 3)), rtol=0.03)
    assert texture.shape == light.shape
