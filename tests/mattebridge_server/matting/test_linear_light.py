"""Alpha in linear light: what an encoded mix reads as is brought back to coverage, and nothing else is touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mattebridge_ocio import ColourConfig, FilmicLook, SrgbLook, network_transform
from mattebridge_server.demo.scenes import make_shot
from mattebridge_server.matting.encoding import code_noise
from mattebridge_server.matting.grain import grain_level
from mattebridge_server.matting.linear_light import Encoding, solve_linear
from mattebridge_server.matting.softness import sharpened
from mattebridge_server.metrics.matting import band_bias, band_error, soft_band

Float32 = NDArray[np.float32]
HEIGHT, WIDTH = 540, 96
LOOKS: list[Encoding] = [SrgbLook(), FilmicLook()]


def ramp(width: int = 16) -> Float32:
    """Empty, a straight edge of ``width`` pixels, solid."""
    row = np.clip((np.arange(WIDTH) - WIDTH / 2) / width + 0.5, 0, 1)
    return np.repeat(row[None].astype(np.float32), HEIGHT, axis=0)


def flat(value: float) -> Float32:
    return np.full((HEIGHT, WIDTH, 3), value, np.float32)


def mixed(front: Float32, back: Float32, alpha: Float32, grain: float = 0.0, seed: int = 0) -> Float32:
    light = front * alpha[..., None] + back * (1 - alpha[..., None])
    noise = np.random.default_rng(seed).standard_normal(light.shape, np.float32)
    return np.asarray(light + noise * np.sqrt(grain * grain * np.maximum(light, 0)), np.float32)


def encoded(front: Float32, back: Float32, alpha: Float32, look: Encoding) -> Float32:
    code_f, code_b = look.forward(front), look.forward(back)
    across = code_f - code_b
    along = ((look.forward(mixed(front, back, alpha)) - code_b) * across).sum(-1)
    return np.asarray(np.clip(along / np.maximum((across * across).sum(-1), 1e-9), 0, 1), np.float32)


@pytest.mark.parametrize("look", LOOKS, ids=["srgb", "filmic"])
@pytest.mark.parametrize(("front", "back"), [(0.75, 0.002), (0.002, 0.75), (0.4, 0.05)])
def test_an_edge_that_reads_wrong_in_codes_is_brought_back_to_its_coverage(
    look: Encoding, front: float, back: float
) -> None:
    alpha = ramp()
    network = encoded(flat(front), flat(back), alpha, look)
    plate = mixed(flat(front), flat(back), alpha, grain=0.01)
    solved = solve_linear(plate, network, look)
    assert abs(band_bias(network, alpha)) > 0.08
    assert abs(band_bias(solved, alpha)) < 0.01
    assert band_error(solved, alpha) < 0.15 * band_error(network, alpha)


def test_hair_before_a_sky_far_above_white_is_found_where_the_network_sees_only_sky() -> None:
    look = SrgbLook()
    alpha = ramp(8)
    front, back = flat(0.02), flat(8.0)
    network = encoded(front, back, alpha, look)
    assert alpha[network == 0].max() > 0.85
    solved = solve_linear(mixed(front, back, alpha, grain=0.01), network, look)
    reached = soft_band(alpha) & (alpha > 0.3)
    assert np.abs(network - alpha)[reached].mean() > 0.4
    assert np.abs(solved - alpha)[reached].mean() < 0.15


@pytest.mark.parametrize("height", [270, 1080, 2160])
def test_a_plate_of_any_height_is_solved(height: int) -> None:
    look = FilmicLook()
    alpha = np.tile(ramp()[:1], (height, 1))
    front, back = (np.full((height, WIDTH, 3), value, np.float32) for value in (0.75, 0.002))
    network = encoded(front, back, alpha, look)
    solved = solve_linear(mixed(front, back, alpha, grain=0.01), network, look)
    assert band_error(solved, alpha) < 0.2 * band_error(network, alpha)


def test_solid_and_empty_stay_and_far_from_the_band_nothing_changes() -> None:
    alpha = ramp()
    look = FilmicLook()
    network = encoded(flat(0.6), flat(0.01), alpha, look)
    plate = mixed(flat(0.6), flat(0.01), alpha, grain=0.05)
    solved = solve_linear(plate, network, look)
    np.testing.assert_array_equal(solved[network == 1], 1)
    np.testing.assert_array_equal(solved[network == 0], 0)


def test_a_matte_without_a_band_is_returned_as_it_is() -> None:
    hard = (ramp(1) > 0.5).astype(np.float32)
    np.testing.assert_array_equal(solve_linear(flat(0.3), hard, SrgbLook()), hard)
    empty = np.zeros((HEIGHT, WIDTH), np.float32)
    np.testing.assert_array_equal(solve_linear(flat(0.3), empty, SrgbLook()), empty)


def test_where_colours_cannot_be_told_apart_the_networks_alpha_is_kept() -> None:
    alpha = ramp()
    plate = mixed(flat(0.2), flat(0.2), alpha, grain=0.02)
    for look in LOOKS:
        solved = solve_linear(plate, alpha, look)
        assert np.abs(solved - alpha).max() < 0.03


def test_the_gain_that_the_network_saw_is_inverted_too() -> None:
    config = ColourConfig.load("ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    transform = network_transform(config, "lin_rec709", "filmic", gain=16.0)
    alpha = ramp()
    front, back = flat(0.04), flat(0.0005)
    network = encoded(front, back, alpha, transform)
    solved = solve_linear(mixed(front, back, alpha, grain=0.002), network, transform)
    assert abs(band_bias(network, alpha)) > 0.08
    assert abs(band_bias(solved, alpha)) < 0.01


def test_new_grain_on_every_frame_does_not_make_a_static_edge_flicker() -> None:
    look = FilmicLook()
    alpha = ramp()
    front, back = flat(0.5), flat(0.02)
    network = encoded(front, back, alpha, look)
    frames = [solve_linear(mixed(front, back, alpha, grain=0.02, seed=seed), network, look) for seed in range(3)]
    band = soft_band(alpha)
    for one, next_one in zip(frames[:-1], frames[1:], strict=True):
        assert np.sqrt(np.square(one - next_one)[band].mean()) < 0.015


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), level=st.floats(0.001, 30), height=st.integers(3, 40), width=st.integers(3, 40))
def test_any_plate_and_alpha_give_finite_coverage(seed: int, level: float, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    plate = (level * rng.standard_normal((height, width, 3))).astype(np.float32)
    alpha = np.clip(rng.uniform(-0.5, 1.5, (height, width)), 0, 1).astype(np.float32)
    before = plate.copy(), alpha.copy()
    for look in LOOKS:
        solved = solve_linear(plate, alpha, look)
        assert solved.shape == alpha.shape
        assert solved.dtype == np.float32
        assert np.isfinite(solved).all()
        assert solved.min() >= 0
        assert solved.max() <= 1
    np.testing.assert_array_equal(plate, before[0])
    np.testing.assert_array_equal(alpha, before[1])


def test_grain_is_measured_in_spite_of_texture() -> None:
    rng = np.random.default_rng(4)
    texture = np.exp(0.5 * rng.standard_normal((12, 12, 1))).repeat(20, 0).repeat(20, 1).repeat(3, 2)
    light = (0.3 * texture).astype(np.float32)
    noisy = light + 0.02 * np.sqrt(light) * rng.standard_normal(light.shape, np.float32)
    assert grain_level(noisy.astype(np.float32)) == pytest.approx(0.0004, rel=0.6)
    assert grain_level(np.zeros((20, 20, 3), np.float32)) == 0


def seen(name: str, gain: float, height: int = 360) -> tuple[Encoding, Float32, Float32, Float32]:
    """A benchmark shot as the network sees it: transform, plate in linear Rec.709, true alpha, encoded alpha.

    Of a plate that is larger than 360 lines, the columns around the middle.
    """
    config = ColourConfig.load("ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    transform = network_transform(config, "ACEScg", "filmic", gain=gain)
    width = height * 16 // 9
    frame, middle = make_shot(name, width, height).frame(0), slice((width - 640) // 2, (width + 640) // 2)
    layers = (frame.plate, frame.foreground, frame.background)
    plate, front, back = (transform.light(np.ascontiguousarray(image[:, middle])) for image in layers)
    alpha = np.ascontiguousarray(frame.alpha[:, middle])
    return transform, plate, alpha, encoded(front, back, alpha, transform)


@pytest.mark.parametrize(("name", "gain"), [("dark_hair_bright", 0.27), ("bright_hair_dark", 1.68)])
def test_hair_of_high_contrast_loses_its_bias(name: str, gain: float) -> None:
    transform, plate, truth, network = seen(name, gain)
    solved = solve_linear(plate, network, transform)
    assert abs(band_bias(network, truth)) > 0.1
    assert abs(band_bias(solved, truth)) < (0.02 if name == "dark_hair_bright" else 0.05)
    assert band_error(solved, truth) < 0.45 * band_error(network, truth)


@pytest.mark.parametrize(
    ("name", "gain"), [("dark_hair_bright", 0.27), ("hair_highlights", 3.08), ("clutter", 1.83), ("fuzz", 1.19)]
)
def test_an_alpha_softer_than_the_plate_is_sharpened_before_it_is_solved(name: str, gain: float) -> None:
    transform, plate, truth, network = seen(name, gain, 1080)
    soft = np.asarray(cv2.GaussianBlur(network, (0, 0), 0.8), np.float32)
    solved = solve_linear(plate, soft, transform)
    assert band_error(solved, truth) < 0.8 * band_error(soft, truth)


def test_a_defocused_edge_before_texture_is_not_taken_for_softness() -> None:
    transform, plate, _, network = seen("defocus", 0.92, 1080)
    codes = transform.forward(plate)
    noise = code_noise(plate, codes, transform, np.float32(grain_level(plate)) * plate)
    assert sharpened(network, codes, noise, 1.0).softness == 0


def test_thin_fuzz_on_a_small_plate_is_not_taken_for_softness() -> None:
    transform, plate, truth, network = seen("fuzz", 1.19)
    solved = solve_linear(plate, network, transform)
    assert band_error(solved, truth) < 0.8 * band_error(network, truth)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    transform, plate, _, network = seen("clutter", 1.83)
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            results.append(solve_linear(plate, network, transform).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert results[0] == results[1]
