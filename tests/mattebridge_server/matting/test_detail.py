"""Detail put back into a soft alpha: as much as the plate shows, and none where it shows none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_server.demo.scenes import Frame
from mattebridge_server.matting.detail import GUIDE_NOISE, LocalFit, lacking
from mattebridge_server.matting.local_colours import LocalColours, explained, local_colours
from mattebridge_server.matting.softness import focused, sharpened

Float32 = NDArray[np.float32]
GRAIN = 0.004


def mixed(alpha: Float32, front: float = 0.8, back: float = 0.15, grain: float = GRAIN) -> Float32:
    """Codes (H, W, 3) of two flat colours under ``alpha``, with grain."""
    noise = grain * np.random.default_rng(3).standard_normal((*alpha.shape, 3))
    return (front * alpha[..., None] + back * (1 - alpha[..., None]) + noise).astype(np.float32)


def blurred(alpha: Float32, sigma: float) -> Float32:
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma), np.float32)


def noise_of(codes: Float32) -> Float32:
    return np.full(codes.shape, GRAIN**2, np.float32)


@pytest.mark.parametrize("sigma", [0.6, 0.9, 1.2])
def test_the_softness_of_an_alpha_is_measured_and_taken_away(shots: dict[str, Frame], sigma: float) -> None:
    alpha = shots["dark_hair_bright"].alpha
    codes, soft = mixed(alpha), blurred(alpha, sigma)
    sharp = sharpened(soft, codes, noise_of(codes), 1.0)
    assert sharp.softness == pytest.approx(sigma, rel=0.2)
    assert np.abs(sharp.alpha - alpha).mean() < 0.3 * np.abs(soft - alpha).mean()


def test_a_blur_of_another_shape_is_taken_away_and_leaves_no_pattern(shots: dict[str, Frame]) -> None:
    """Half the resolution, enlarged: its lattice must not come out stronger."""
    alpha = shots["dark_hair_bright"].alpha
    codes, size = mixed(alpha), (alpha.shape[1], alpha.shape[0])
    half = cv2.resize(alpha, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
    soft = np.asarray(cv2.resize(half, size, interpolation=cv2.INTER_LINEAR), np.float32)
    sharp = focused(soft, codes)
    assert np.abs(sharp - alpha).mean() < 0.6 * np.abs(soft - alpha).mean()


def test_a_sharp_alpha_of_thin_fibres_is_not_sharpened(shots: dict[str, Frame]) -> None:
    alpha = shots["fuzz"].alpha
    codes = mixed(alpha)
    assert np.abs(focused(alpha, codes) - alpha).mean() < 1e-3


def test_the_functions_from_a_guide_give_what_is_linear_in_it_and_average_what_is_not() -> None:
    rng = np.random.default_rng(4)
    guide = rng.random((40, 50, 3), np.float32)
    linear = np.asarray(guide @ np.array([0.2, -0.5, 0.7], np.float32) + np.float32(0.3))
    fit = LocalFit(guide, 2)
    np.testing.assert_allclose(fit.fitted(linear), linear, atol=2e-3)
    np.testing.assert_allclose(fit.slope(linear)[5:-5, 5:-5], np.broadcast_to([0.2, -0.5, 0.7], (30, 40, 3)), atol=5e-3)
    other = rng.random((40, 50), np.float32)
    assert fit.fitted(other).std() < 0.7 * other.std()


def test_an_alpha_as_sharp_as_the_plate_is_left_alone(shots: dict[str, Frame]) -> None:
    alpha = shots["dark_hair_bright"].alpha
    codes = mixed(alpha)
    sharp = sharpened(alpha, codes, noise_of(codes), 1.0)
    assert sharp.softness == 0
    assert np.abs(sharp.alpha - alpha).mean() < 1e-3
    assert sharp.detailed[(alpha > 0.2) & (alpha < 0.8)].mean() > 0.9


def test_on_a_smooth_edge_noise_is_calmed_and_no_grain_comes_in() -> None:
    ramp = np.tile(np.clip(np.linspace(-1, 2, 240, dtype=np.float32), 0, 1), (120, 1))
    codes = mixed(ramp)
    noise = blurred(np.random.default_rng(8).standard_normal(ramp.shape).astype(np.float32), 0.7)
    band = (ramp > 0.1) & (ramp < 0.9)
    noisy = np.clip(ramp + 0.03 / noise.std() * noise, 0, 1).astype(np.float32)
    calm = sharpened(noisy, codes, noise_of(codes), 1.0)
    assert np.abs(calm.alpha - ramp)[band].mean() < 0.5 * np.abs(noisy - ramp)[band].mean()
    assert calm.detailed[band].max() < 0.2
    clean = sharpened(ramp, codes, noise_of(codes), 1.0)
    assert np.abs(clean.alpha - ramp)[band].max() < 0.01


@pytest.mark.parametrize("width", [4.0, 8.0, 12.0])
@pytest.mark.parametrize("grain", [0.004, 0.01])
def test_an_edge_as_smooth_as_the_plates_is_not_taken_for_softness_because_of_grain(width: float, grain: float) -> None:
    """A blurred plate has less grain, and would explain such an alpha better than the plate itself."""
    rows, columns = np.mgrid[:240, :320].astype(np.float32)
    disc = (np.hypot(rows - 120, columns - 160) < 90).astype(np.float32)
    codes = mixed(blurred(disc, width), grain=grain)
    assert sharpened(blurred(disc, width), codes, np.full(codes.shape, grain**2, np.float32), 1.0).softness == 0


def test_detail_no_larger_than_the_guides_noise_is_left_out() -> None:
    ramp = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (100, 1))
    codes = mixed(ramp)
    slope = LocalFit(codes, 2).slope(ramp)
    grain = codes - blurred(codes, 1.0)
    assert np.abs(lacking(slope, grain, 4 * GRAIN**2)[0]).max() < 1e-3
    assert np.abs(lacking(slope, 10 * grain, GUIDE_NOISE)[0]).max() > 0.01


def test_what_is_unexplained_goes_to_the_side_that_varies() -> None:
    """A smooth foreground half covers a textured background: the texture is the background's, to the pixel."""
    rng = np.random.default_rng(2)
    alpha = np.tile(np.clip(np.linspace(-1.5, 2.5, 240, dtype=np.float32), 0, 1), (160, 1))
    texture = cv2.GaussianBlur(rng.standard_normal((160, 240, 1)).astype(np.float32), (0, 0), 1.5).reshape(160, 240, 1)
    back = np.asarray(0.3 + 0.08 / texture.std() * texture.repeat(3, 2), np.float32)
    codes = np.asarray(0.7 * alpha[..., None] + back * (1 - alpha[..., None]), np.float32)
    colours = local_colours(codes, alpha, np.full(codes.shape, 1e-6, np.float32), 1.0)
    half = (alpha > 0.3) & (alpha < 0.7)
    assert np.abs(colours.foreground - 0.7)[half].mean() < 0.01
    assert (colours.background_variance[half] > 20 * colours.foreground_variance[half]).all()
    flat = LocalColours(
        colours.foreground[half],
        colours.background[half],
        colours.foreground_variance[half],
        colours.background_variance[half],
    )
    own = explained(
        flat,
        codes[half],
        alpha[half],
        np.full(int(half.sum()), 1e-8, np.float32),
        np.full((int(half.sum()), 3), 1e-6, np.float32),
    )
    assert np.abs(own.background - back[half]).mean() < 0.01
    np.testing.assert_allclose(own.alpha, alpha[half], atol=1e-3)


def test_sure_colours_correct_an_unsure_alpha() -> None:
    truth = np.linspace(0.1, 0.9, 50, dtype=np.float32)
    codes = np.repeat((0.8 * truth + 0.2 * (1 - truth))[:, None], 3, axis=1)
    certain = np.full((50, 1), 1e-6, np.float32)
    known = LocalColours(np.full((50, 3), 0.8, np.float32), np.full((50, 3), 0.2, np.float32), certain, certain)
    own = explained(
        known,
        codes.astype(np.float32),
        truth + np.float32(0.05),
        np.full(50, 0.05**2, np.float32),
        np.full((50, 3), 1e-6, np.float32),
    )
    assert np.abs(own.alpha - truth).max() < 0.005
    assert (own.alpha_variance < 0.05**2 / 10).all()


def test_an_edge_is_sharpened_alike_however_much_of_nothing_is_around_it(shots: dict[str, Frame]) -> None:
    alpha = np.pad(shots["dark_hair_bright"].alpha, ((40, 0), (60, 60)))
    codes, soft = mixed(alpha), blurred(alpha, 1.0)
    changing = np.flatnonzero((soft > 0).any(axis=0))
    part = slice(int(changing[0]) - 24, int(changing[-1]) + 25)
    near = sharpened(
        np.ascontiguousarray(soft[:, part]), np.ascontiguousarray(codes[:, part]), noise_of(codes[:, part]), 1.0
    )
    wide = sharpened(soft, codes, noise_of(codes), 1.0)
    np.testing.assert_allclose(wide.alpha[:, part], near.alpha, atol=1e-5)
    assert wide.softness == pytest.approx(near.softness, abs=1e-4)
