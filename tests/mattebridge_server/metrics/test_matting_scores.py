"""The published scale, checked against cases small enough to compute by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mattebridge.errors import InputError
from mattebridge_server.metrics import matting


def _flat(value: float, height: int = 10, width: int = 20) -> np.ndarray:
    return np.full((height, width), value, np.float32)


def test_mad_mse_and_sad_have_the_published_scale() -> None:
    alpha, truth = _flat(0.5), _flat(0.25)
    assert matting.mad(alpha, truth) == pytest.approx(250.0)  # .25 x 1e3
    assert matting.mse(alpha, truth) == pytest.approx(62.5)  # .0625 x 1e3
    assert matting.sad(alpha, truth) == pytest.approx(0.05)  # 200 px x .25 / 1e3


def test_a_quarter_of_the_frame_wrong_is_a_quarter_of_the_error() -> None:
    alpha, truth = _flat(0.0), _flat(0.0)
    alpha[:5, :10] = 1.0
    assert matting.mad(alpha, truth) == pytest.approx(250.0)
    assert matting.mse(alpha, truth) == pytest.approx(250.0)
    assert matting.sad(alpha, truth) == pytest.approx(0.05)


def test_gradient_of_a_ramp_is_its_slope_times_the_gain_of_the_filter() -> None:
    """On a ramp of slope s the response is s times the sum of -x * filter(x), worked out here from the formula."""
    slope = 0.01
    ramp = np.tile(np.arange(60, dtype=np.float32) * slope, (40, 1))
    inner = (slice(10, 30), slice(10, 50))
    bell = [math.exp(-(i * i) / (2 * 1.4**2)) for i in range(-4, 5)]
    tilt = [i * b for i, b in zip(range(-4, 5), bell, strict=True)]
    bell_gain = sum(bell) / math.sqrt(sum(b * b for b in bell))
    tilt_gain = sum(i * t for i, t in zip(range(-4, 5), tilt, strict=True)) / math.sqrt(sum(t * t for t in tilt))
    expected = slope * bell_gain * tilt_gain
    assert np.allclose(matting._gradient(ramp)[inner], expected, rtol=1e-5)
    wide = np.zeros((2000, 60), np.float32) + np.arange(60, dtype=np.float32) * slope
    flat_interior = matting.grad(wide, np.zeros_like(wide))
    assert flat_interior == pytest.approx(2000 * 60 * expected**2 / 1e3, rel=0.12)  # the two borders respond less


def test_gradient_ignores_a_constant_offset() -> None:
    assert matting.grad(_flat(0.9), _flat(0.1)) == pytest.approx(0.0, abs=1e-12)


def test_connectivity_counts_an_island_that_is_not_in_the_truth() -> None:
    truth = _flat(0.0)
    truth[2:8, 2:8] = 1.0
    alpha = truth.copy()
    alpha[4:6, 14:16] = 0.5  # 4 px, level 0 (never in the common source), distance .5 >= .15
    assert matting.conn(alpha, truth) == pytest.approx(4 * 0.5 / 1e3)


def test_connectivity_forgives_differences_below_the_cut() -> None:
    truth = _flat(0.0)
    truth[2:8, 2:8] = 1.0
    alpha = truth.copy()
    alpha[4:6, 14:16] = 0.14
    assert matting.conn(alpha, truth) == 0.0


def test_connectivity_uses_the_level_of_the_largest_component() -> None:
    """A connected skirt of .45 in both is at level .4; the alpha at .65 rises .25 above it, the truth .05."""
    truth = _flat(0.0)
    truth[2:8, 2:8] = 1.0
    truth[2:8, 8:10] = 0.45
    alpha = truth.copy()
    alpha[2:8, 8:10] = 0.65
    assert matting.conn(alpha, truth) == pytest.approx(12 * 0.25 / 1e3)


def _solid_with(at: tuple[slice, slice], true: float, made: float) -> tuple[np.ndarray, np.ndarray]:
    """A solid square of 6x6 in truth and alpha, with another value in each at ``at``."""
    truth = _flat(0.0)
    truth[2:8, 2:8] = 1.0
    alpha = truth.copy()
    truth[at], alpha[at] = true, made
    return alpha, truth


def test_connectivity_goes_in_tenths_and_a_value_on_a_threshold_reaches_it() -> None:
    skirt = (slice(2, 8), slice(8, 10))
    assert matting.conn(*_solid_with(skirt, 0.48, 0.62)) == pytest.approx(12 * 0.22 / 1e3, rel=1e-5)  # level .4
    assert matting.conn(*_solid_with(skirt, 0.5, 0.7)) == pytest.approx(12 * 0.2 / 1e3, rel=1e-5)  # level .5


def test_a_corner_does_not_connect() -> None:
    corner = (slice(8, 10), slice(8, 10))
    assert matting.conn(*_solid_with(corner, 0.1, 0.5)) == pytest.approx(4 * 0.5 / 1e3)  # level 0, not .1


def test_of_two_regions_the_larger_is_the_source() -> None:
    alpha, truth = _solid_with((slice(4, 6), slice(14, 16)), 1.0, 0.9)
    assert matting.conn(alpha, truth) == pytest.approx(4 * 0.1 / 1e3, rel=1e-5)


def test_beyond_the_frame_an_alpha_goes_on_as_at_its_border() -> None:
    ramp = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    for slope in (matting._gradient(ramp), matting._gradient(ramp.T.copy()).T):
        assert slope[5, 0] == pytest.approx(0.5 * slope[5, 10], rel=0.2)  # mirrored it would be 0


def test_dtssd_is_the_rms_of_the_difference_of_changes() -> None:
    steady = _flat(0.5)
    assert matting.dtssd(_flat(0.6), steady, _flat(0.6), steady) == pytest.approx(0.0, abs=1e-5)
    assert matting.dtssd(_flat(0.6), steady, steady, steady) == pytest.approx(10.0, rel=1e-5)  # .1 x 1e2
    half = steady.copy()
    half[:5] += 0.2  # half the pixels change by .2: sqrt(.5 x .04) x 1e2
    assert matting.dtssd(half, steady, steady, steady) == pytest.approx(math.sqrt(0.02) * 1e2, rel=1e-5)


def test_a_shot_is_scored_by_the_mean_of_its_frames_and_frame_0_does_not_flicker() -> None:
    pairs = [(_flat(value), _flat(0.5)) for value in (0.5, 0.6, 0.8)]
    scores = matting.score(pairs)
    assert scores.frames == 3
    assert scores.mad == pytest.approx((0 + 100 + 300) / 3, rel=1e-5)
    assert scores.dtssd == pytest.approx((0 + 10 + 20) / 3, rel=1e-5), "each frame against the one before it"


def test_foreground_counts_only_where_the_true_alpha_is_above_zero() -> None:
    truth_alpha = _flat(0.0)
    truth_alpha[:5] = 0.3
    exact = np.zeros((10, 20, 3), np.float32)
    colour = exact + 7.0
    colour[:5] = 0.2
    assert matting.foreground_mad(colour, exact, truth_alpha) == pytest.approx(200.0)
    assert matting.foreground_mse(colour, exact, truth_alpha) == pytest.approx(40.0)
    assert matting.foreground_mad(colour, exact, _flat(0.0)) == 0.0


def test_band_measures_look_only_at_the_soft_band() -> None:
    truth = _flat(0.0)
    truth[:2], truth[2:4] = 1.0, 0.5
    alpha = truth + 0.1
    alpha[2, :], alpha[3, :] = 0.7, 0.4  # +.2 and -.1
    assert matting.band_bias(alpha, truth) == pytest.approx(0.05)
    assert matting.band_error(alpha, truth) == pytest.approx(0.15)


def test_composite_error_is_the_difference_of_two_linear_composites() -> None:
    ones = np.ones((10, 20, 3), np.float32)
    truth, alpha = _flat(0.5), _flat(0.25)
    # .25 x 4 + .75 x 2 = 2.5 against .5 x 4 + .5 x 2 = 3.0
    assert matting.composite_error(ones * 4, alpha, ones * 4, truth, ones * 2) == pytest.approx(0.5)
    assert matting.composite_error(ones, _flat(0.0), ones, _flat(0.0), ones) == 0.0
    half, nothing = _flat(0.0), _flat(0.0)
    half[:5] = 1.0  # what is there against the truth counts: 3 - 2 where it is
    assert matting.composite_error(ones * 3, half, ones * 3, nothing, ones * 2) == pytest.approx(1.0)


@pytest.mark.parametrize("measure", [matting.mad, matting.mse, matting.sad, matting.grad, matting.conn])
def test_a_size_mismatch_is_refused(measure: object) -> None:
    with pytest.raises(InputError, match="20x10"):
        measure(_flat(0.0), _flat(0.0, 10, 21))  # type: ignore[operator]


def test_an_empty_shot_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to score"):
        matting.score([])
