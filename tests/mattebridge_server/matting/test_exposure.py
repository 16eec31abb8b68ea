"""What `edge` promises of exposure: alpha does not follow it, and grain that it lifts does not speak."""

from __future__ import annotations

import numpy as np
import pytest

from mattebridge_server.demo.scenes import SHOTS, Frame, make_shot
from mattebridge_server.matting.band import Band, open_band
from mattebridge_server.matting.exposure import gain_of
from mattebridge_server.matting.solve import SolveSettings, solve_alpha
from mattebridge_server.metrics.matting import mad

PLAIN = SolveSettings()


def _banded(frame: Frame) -> tuple[np.ndarray, Band]:
    band = open_band(frame.mask, PLAIN.reach, PLAIN.depth)
    assert band is not None
    return np.ascontiguousarray(frame.plate[band.crop]), band


@pytest.mark.parametrize("name", SHOTS)
@pytest.mark.parametrize("light", [0.03, 0.4])
def test_a_darker_exposure_gives_nearly_the_same_alpha(name: str, light: float, shots: dict[str, Frame]) -> None:
    frame = shots[name]
    errors = [mad(solve_alpha(frame.plate * np.float32(x), frame.mask, PLAIN), frame.alpha) for x in (1.0, light)]
    assert errors[1] < 1.15 * errors[0]


@pytest.mark.parametrize("name", ["clutter", "hair_highlights", "bright_hair_dark"])
def test_the_grain_of_a_plate_shot_five_stops_under_is_not_taken_for_texture(name: str) -> None:
    """Shot so, not graded so: the grain of the camera's black is as strong as ever, and the light lies near it."""
    shot = make_shot(name, 640, 360)
    frame = shot.frame(0)
    cover = frame.alpha[..., None]
    clean = frame.foreground * cover + frame.background * (1 - cover)
    dark = shot._grain(clean * np.float32(0.03), 0)
    assert mad(solve_alpha(dark, frame.mask, PLAIN), frame.alpha) < 1.25 * mad(frame.mask, frame.alpha)


def test_a_backdrop_without_light_lifts_nothing(shots: dict[str, Frame]) -> None:
    """Its black is grain, or nothing at all; the subject alone says how much light there is."""
    frame = shots["bright_hair_dark"]
    plate, band = _banded(frame)
    outside = band.distance > 0
    black = np.where(outside[..., None], np.float32(0), plate)
    assert gain_of(black, band) == pytest.approx(gain_of(plate, band), rel=0.02)


def test_a_few_black_pixels_hardly_change_the_gain(shots: dict[str, Frame]) -> None:
    plate, band = _banded(shots["dark_hair_bright"])
    black = plate.copy()
    black[np.random.default_rng(5).random(band.mask.shape) < 0.01] = 0
    assert gain_of(black, band) == pytest.approx(gain_of(plate, band), rel=0.1)


def test_the_gain_follows_a_fade_evenly(shots: dict[str, Frame]) -> None:
    """Below the ordinary, half the light gets twice the gain: down to where the steps of half floats lie."""
    plate, band = _banded(shots["dark_hair_bright"])
    lit = [float(gain_of(plate * np.float32(light), band)) * light for light in (0.5, 0.45, 0.2, 0.1, 1e-3)]
    assert lit == pytest.approx([lit[0]] * len(lit), rel=1e-3)


def test_neighbouring_frames_get_nearly_the_same_gain() -> None:
    shot = make_shot("motion_blur", 480, 270)
    gains = [gain_of(*_banded(shot.frame(n))) for n in range(4)]
    steps = [abs(np.log2(later / earlier)) for earlier, later in zip(gains, gains[1:], strict=False)]
    assert max(steps) < 0.1


def test_a_black_plate_has_a_finite_gain(shots: dict[str, Frame]) -> None:
    plate, band = _banded(shots["clutter"])
    assert np.isfinite(gain_of(np.zeros_like(plate), band))
