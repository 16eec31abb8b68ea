"""What the network sees: the three looks and their inverses, one gain per shot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mattebridge_ocio import (
    ColourConfig,
    ColourError,
    FilmicLook,
    Look,
    SrgbLook,
    exposure_gain,
    make_look,
    network_transform,
)

ACES1 = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
ACES2 = "ocio://cg-config-v4.0.0_aces-v2.0_ocio-v2.5"
RAMP = [0.01, 0.045, 0.18, 0.5, 1.0, 4.0, 16.0, -0.05]
EXACT: list[Look] = [SrgbLook(), FilmicLook()]

light_arrays = hnp.arrays(np.float32, (4, 3), elements=st.floats(-10, 60000, width=32, allow_subnormal=False))


def greys(values: list[float]) -> NDArray[np.float32]:
    return np.repeat(np.array(values, dtype=np.float32)[:, None], 3, axis=1)


@pytest.mark.parametrize(
    ("config", "look", "codes"),
    [
        (ACES1, "srgb", [0.100, 0.235, 0.461, 0.735, 1.0, 1.0, 1.0, 0.0]),
        (ACES1, "view", [0.013, 0.112, 0.356, 0.647, 0.812, 0.955, 1.0, 0.0]),
        (ACES2, "view", [0.009, 0.120, 0.349, 0.566, 0.707, 0.900, 0.975, 0.0]),
    ],
)
def test_an_acescg_grey_ramp_gives_the_known_codes(config: str, look: str, codes: list[float]) -> None:
    transform = network_transform(ColourConfig.load(config), "ACEScg", look)  # type: ignore[arg-type]
    np.testing.assert_allclose(transform.apply(greys(RAMP)), greys(codes), atol=1.5e-3)


def test_filmic_is_the_srgb_curve_below_its_shoulder_and_keeps_highlights_apart_above() -> None:
    filmic, plain = FilmicLook(), SrgbLook()
    below = greys([0.0, 0.01, 0.18, 0.5, 0.8])
    np.testing.assert_allclose(filmic.forward(below), plain.forward(below), atol=1e-6)
    codes = filmic.forward(greys([0.8, 1.0, 2.0, 4.0, 8.0, 15.9]))[:, 0]
    assert (np.diff(codes) > 2 / 255).all()
    assert filmic.forward(greys([16.0, 40.0]))[:, 0] == pytest.approx([1.0, 1.0], abs=1e-6)
    step = 1e-3
    around = filmic.forward(greys([0.8 - step, 0.8, 0.8 + step]))[:, 0]
    assert around[2] - around[1] == pytest.approx(around[1] - around[0], rel=0.05)


@pytest.mark.parametrize("look", EXACT, ids=lambda look: look.name)
@given(light=light_arrays)
def test_a_look_gives_finite_codes_in_range_and_its_inverse_brings_the_light_back(
    look: Look, light: NDArray[np.float32]
) -> None:
    codes = look.forward(light)
    assert codes.dtype == np.float32
    assert np.isfinite(codes).all()
    assert codes.min() >= 0
    assert codes.max() <= 1
    expected = np.clip(light, 0, look.white_point)
    np.testing.assert_allclose(look.inverse(codes), expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("look", EXACT, ids=lambda look: look.name)
@given(light=hnp.arrays(np.float32, (64,), elements=st.floats(0, 40, width=32)))
def test_a_look_is_monotone(look: Look, light: NDArray[np.float32]) -> None:
    ordered = np.sort(light)
    codes = look.forward(np.repeat(ordered[:, None], 3, axis=1))
    assert (np.diff(codes, axis=0) >= -1e-7).all()


@pytest.mark.parametrize("config", [ACES1, ACES2])
def test_the_view_inverts_on_the_neutral_axis_and_tells_where_it_compresses(config: str) -> None:
    look = make_look(ColourConfig.load(config), "view")
    assert 0.18 < look.shoulder_start < look.white_point
    assert 4 < look.white_point < 200
    ramp = greys([0.02, 0.18, 1.0, 0.5 * look.white_point])
    np.testing.assert_allclose(look.inverse(look.forward(ramp)), ramp, rtol=0.02)


@pytest.mark.parametrize("display", ["sRGB - Display", "Rec.1886 Rec.709 - Display"])
def test_a_view_that_is_a_plain_curve_compresses_nothing_below_its_clip(display: str) -> None:
    look = make_look(ColourConfig.load(ACES2), "view", display, "Un-tone-mapped")
    assert look.white_point == pytest.approx(1, abs=0.01)
    assert look.shoulder_start == look.white_point


def test_the_view_of_nukes_own_mode_is_the_curve_that_its_viewer_shows() -> None:
    ramp = greys([0.001, 0.02, 0.18, 0.5, 0.99, 4.0])
    view = make_look(ColourConfig.load("nuke-default"), "view")
    np.testing.assert_allclose(view.forward(ramp), SrgbLook().forward(ramp), atol=1e-3)


def test_a_display_or_view_that_does_not_exist_is_refused_with_those_that_do() -> None:
    config = ColourConfig.load(ACES1)
    for names in ({"display": "cinema"}, {"view": "pretty"}):
        with pytest.raises(ColourError) as caught:
            network_transform(config, "ACEScg", "view", **names)  # type: ignore[arg-type]
        assert caught.value.kind == "view_unknown"
        assert caught.value.candidates
    with pytest.raises(ColourError, match="no look"):
        network_transform(config, "ACEScg", "vivid")  # type: ignore[arg-type]


@pytest.mark.parametrize("look", ["srgb", "filmic"])
def test_the_network_transform_brings_a_plate_back_through_gain_and_space(look: str) -> None:
    transform = network_transform(ColourConfig.load(ACES1), "ACEScct", look, gain=2.0)  # type: ignore[arg-type]
    plate = np.random.default_rng(0).uniform(0.15, 0.35, (16, 16, 1)).astype(np.float32)
    plate = np.repeat(plate, 3, axis=2) + np.array([0.0, 0.01, 0.02], dtype=np.float32)
    codes = transform.apply(plate)
    assert codes.shape == plate.shape
    np.testing.assert_allclose(transform.invert(codes), plate, atol=2e-4)
    assert transform.white_point == pytest.approx(transform.look.white_point / 2)


def test_the_gain_acts_before_the_look() -> None:
    config = ColourConfig.load(ACES1)
    bright = network_transform(config, "lin_rec709", "srgb", gain=4.0)
    plain = network_transform(config, "lin_rec709", "srgb")
    plate = np.random.default_rng(1).uniform(0, 1, (8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(bright.apply(plate), plain.apply(plate * 4), atol=1e-5)


def scene(key: float, seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(0, 1.0, (90, 160, 1))
    return np.repeat(key * np.exp2(noise), 3, axis=2).astype(np.float32)


@given(stops=st.floats(-8, 8))
def test_the_gain_brings_the_log_average_to_mid_grey_in_eighths_of_a_stop(stops: float) -> None:
    gain = exposure_gain([scene(0.18 * 2.0**stops)])
    assert math.log2(gain) == pytest.approx(-stops, abs=1 / 16 + 0.02)
    assert math.log2(gain) * 8 == pytest.approx(round(math.log2(gain) * 8), abs=1e-9)


def test_the_gain_ignores_black_frames_highlights_negatives_and_dead_pixels() -> None:
    clean = exposure_gain([scene(0.05, 1), scene(0.05, 2), scene(0.05, 3)])
    dirty = scene(0.05, 2)
    dirty[:1, :100] = 60000.0
    dirty[2:4, :60] = -3.0
    assert exposure_gain([scene(0.05, 1), dirty, scene(0.05, 3)]) == clean
    black = np.zeros((90, 160, 3), dtype=np.float32)
    assert exposure_gain([black, scene(0.05, 1), black, scene(0.05, 2), scene(0.05, 3)]) == clean
    flash = scene(4.0, 4)
    assert exposure_gain([scene(0.05, 1), scene(0.05, 2), flash]) == pytest.approx(clean, rel=0.1)


def test_a_shot_of_black_frames_gets_no_gain_and_an_extreme_one_a_bounded_gain() -> None:
    black = np.zeros((90, 160, 3), dtype=np.float32)
    assert exposure_gain([black]) == 1.0
    assert exposure_gain([]) == 1.0
    assert exposure_gain([scene(30000.0)]) == 2.0**-10


@pytest.mark.parametrize(("share", "gain"), [(0.01, 1.0), (0.05, 2.0**3.125)])
def test_a_few_stars_are_a_black_frame_and_a_lamp_is_not(share: float, gain: float) -> None:
    night = np.zeros((100, 200, 3), dtype=np.float32)
    night[:, : round(200 * share)] = 0.02
    assert exposure_gain([night]) == gain


def test_the_outermost_pixels_of_a_frame_do_not_move_its_gain() -> None:
    clean, dirty = scene(0.05), scene(0.05)
    dirty.reshape(-1, 3)[:259] = 60000.0  # 1.8 %
    assert abs(math.log2(exposure_gain([dirty]) / exposure_gain([clean]))) < 0.2  # one step


def test_a_twentieth_of_the_whole_frame_may_be_brighter_than_white_and_not_of_its_lit_part() -> None:
    stage = np.zeros((100, 100, 3), dtype=np.float32)
    stage[:17] = 0.02
    stage[17:20] = 4.0
    assert exposure_gain([stage]) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(("channel", "weight"), [(0, 0.2126), (1, 0.7152), (2, 0.0722)])
def test_the_gain_goes_by_luminance(channel: int, weight: float) -> None:
    plain = np.zeros((8, 8, 3), dtype=np.float32)
    plain[..., channel] = 0.18 / weight
    assert exposure_gain([plain]) == 1.0


def test_a_lit_subject_before_a_dark_background_is_not_blown_out() -> None:
    night = scene(0.004)
    night[:40, :40] = 0.9
    gain = exposure_gain([night])
    assert gain * 0.9 == pytest.approx(1.0, rel=0.1)
    night[:40, :40] *= 0.01
    assert exposure_gain([night]) == pytest.approx(0.18 / 0.004, rel=0.2)
