"""What `edge` promises of one frame: better than its mask, exact where nothing is to decide, the same bits."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mattebridge.errors import InputError
from mattebridge_server.demo.scenes import SHOTS, Frame, make_shot
from mattebridge_server.matting.band import open_band
from mattebridge_server.matting.solve import SolveSettings, solve_alpha
from mattebridge_server.metrics.matting import mad

PLAIN = SolveSettings()


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    inside = (mask > 0.5).astype(np.uint8)
    return cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) - cv2.distanceTransform(inside, cv2.DIST_L2, 5)


@pytest.mark.parametrize("name", SHOTS)
def test_alpha_is_nearer_to_the_truth_than_the_mask_is(name: str, shots: dict[str, Frame]) -> None:
    frame = shots[name]
    alpha = solve_alpha(frame.plate, frame.mask, PLAIN)
    assert alpha.dtype == np.float32
    assert alpha.shape == frame.mask.shape
    assert mad(alpha, frame.alpha) < mad(frame.mask, frame.alpha)


def test_the_mean_error_over_the_shots_is_well_below_that_of_the_masks(shots: dict[str, Frame]) -> None:
    ours = [mad(solve_alpha(frame.plate, frame.mask, PLAIN), frame.alpha) for frame in shots.values()]
    masks = [mad(frame.mask, frame.alpha) for frame in shots.values()]
    assert np.mean(ours) < 0.6 * np.mean(masks)


@pytest.mark.parametrize("name", ["hair_highlights", "clutter", "defocus"])
def test_solid_inside_stays_exactly_1_and_empty_outside_exactly_0(name: str, shots: dict[str, Frame]) -> None:
    frame = shots[name]
    alpha = solve_alpha(frame.plate, frame.mask, PLAIN)
    unit = frame.mask.shape[0] / 1080
    away = _signed_distance(frame.mask)
    assert (alpha[away <= -PLAIN.depth * unit] == 1.0).all()
    assert (alpha[away >= PLAIN.reach * unit] == 0.0).all()
    assert alpha.min() >= 0.0
    assert alpha.max() <= 1.0


def test_a_plain_wall_behind_a_sharp_edge_is_left_exactly_empty() -> None:
    """A grey card on a darker wall, with grain: beyond a few pixels nothing may be invented."""
    rng = np.random.default_rng(3)
    truth = np.zeros((270, 480), np.float32)
    truth[60:, 160:320] = 1.0
    plate = np.where(truth[..., None] > 0, np.float32(0.5), np.float32(0.08)) * np.ones(3, np.float32)
    plate = (plate * (1 + 0.02 * rng.standard_normal(plate.shape))).astype(np.float32)
    alpha = solve_alpha(plate, truth, PLAIN)
    away = _signed_distance(truth)
    assert float(np.abs(alpha - truth).mean()) < 0.002
    assert float(alpha[away > 12].max()) < 0.02


@pytest.mark.parametrize(("width", "height"), [(480, 270), (1280, 720)], ids=["small", "with drawn lines"])
def test_the_number_of_threads_changes_no_bit(width: int, height: int) -> None:
    frame = make_shot("bright_hair_dark", width, height).frame(0)
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2, 3):
            cv2.setNumThreads(threads)
            results.append(solve_alpha(frame.plate, frame.mask, PLAIN, threads).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert results[0] == results[1] == results[2]


def test_a_soft_mask_opens_its_own_band(shots: dict[str, Frame]) -> None:
    frame = shots["soft_roto"]
    soft = cv2.GaussianBlur(frame.mask, (0, 0), 20).astype(np.float32)
    band = open_band(soft, 8.0, 4.0)
    assert band is not None
    assert band.open[(band.mask > 0.01) & (band.mask < 0.99)].all()
    hard = open_band((soft > 0.5).astype(np.float32), 8.0, 4.0)
    assert hard is not None
    assert band.open.sum() > 2 * hard.open.sum()


@pytest.mark.parametrize("start", [390, 600], ids=["an arm", "a ball apart"])
def test_what_fast_motion_leaves_below_one_half_keeps_the_mask(start: int) -> None:
    """Nothing of it is seen alone: taken for background it would vanish, and be cut off where the crop ends."""
    height, width = 540, 960
    body, limb = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    cv2.ellipse(body, (300, 350), (115, 165), 0, 0, 360, 1, -1, cv2.LINE_AA)
    cv2.line(limb, (start, 280), (start + 110, 210), 1, 24, cv2.LINE_AA)
    truth = np.maximum(body, cv2.blur(limb, (151, 1)))
    rng = np.random.default_rng(4)
    skin, wall = (np.exp(0.15 * cv2.GaussianBlur(rng.normal(0, 6, truth.shape), (0, 0), 3)) for _ in range(2))
    light = skin * truth, wall * (1 - truth)
    plate = sum(
        share[..., None] * colour for share, colour in zip(light, ((0.5, 0.3, 0.2), (0.05, 0.1, 0.2)), strict=True)
    )
    plate = (plate + rng.normal(0, 0.003, plate.shape)).astype(np.float32)
    alpha = solve_alpha(plate, truth, PLAIN)
    moving = (truth > 0.05) & (truth <= 0.5) & (_signed_distance(truth) > 8)
    assert np.abs(alpha - truth)[moving].max() < 0.02
    assert mad(alpha, truth) < 0.5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_an_edge_is_returned_as_it_is(value: float, shots: dict[str, Frame]) -> None:
    plate = shots["clutter"].plate
    mask = np.full(plate.shape[:2], value, np.float32)
    assert np.array_equal(solve_alpha(plate, mask, PLAIN), mask)


def test_no_detail_gives_the_mask_back(shots: dict[str, Frame]) -> None:
    frame = shots["clutter"]
    assert np.array_equal(solve_alpha(frame.plate, frame.mask, SolveSettings(detail=0.0)), frame.mask)


def test_a_smaller_reach_is_obeyed(shots: dict[str, Frame]) -> None:
    frame = shots["dark_hair_bright"]
    alpha = solve_alpha(frame.plate, frame.mask, SolveSettings(reach=24.0))
    away = _signed_distance(frame.mask)
    assert (alpha[away > 24.0 / 4] == 0.0).all()
    assert mad(alpha, frame.alpha) < mad(frame.mask, frame.alpha)


@pytest.mark.parametrize("gain", [0.01, 100.0])
def test_a_far_darker_or_brighter_exposure_gives_nearly_the_same_alpha(gain: float, shots: dict[str, Frame]) -> None:
    frame = shots["clutter"]
    errors = [mad(solve_alpha(frame.plate * np.float32(g), frame.mask, PLAIN), frame.alpha) for g in (1.0, gain)]
    assert errors[1] < 1.3 * errors[0]


def test_a_mask_of_another_size_is_refused(shots: dict[str, Frame]) -> None:
    with pytest.raises(InputError, match="479x270"):
        solve_alpha(shots["clutter"].plate, np.zeros((270, 479), np.float32), PLAIN)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(2, 70), width=st.integers(2, 90), seed=st.integers(0, 2**16),
    level=st.sampled_from([0.0, 1e-6, 0.18, 1.0, 60000.0]), kind=st.sampled_from(["noise", "half", "dot", "soft"]),
)  # fmt: skip
def test_any_plate_and_mask_give_finite_alpha_in_range(
    height: int, width: int, seed: int, level: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    plate = (rng.standard_normal((height, width, 3)) * level).astype(np.float32)
    mask = np.zeros((height, width), np.float32)
    if kind == "noise":
        mask[:] = rng.random((height, width)) > 0.5
    elif kind == "half":
        mask[:, width // 2 :] = 1
    elif kind == "dot":
        mask[height // 2, width // 2] = 1
    else:
        mask[:] = rng.random((height, width))
    alpha = solve_alpha(plate, mask, PLAIN, 1)
    assert np.isfinite(alpha).all()
    assert alpha.min() >= 0.0
    assert alpha.max() <= 1.0


def test_after_warming_up_a_solve_compiles_nothing() -> None:
    """In a process of its own: here other tests have compiled everything long since."""
    script = """
import numpy as np
from mattebridge_server.matting import kernels
from mattebridge_server.matting.solve import SolveSettings, solve_alpha, warm_up
warm_up()
compiled = [kernel for kernel in vars(kernels).values() if getattr(kernel, "signatures", ())]
before = [len(kernel.signatures) for kernel in compiled]
mask = np.zeros((540, 720), np.float32)
mask[100:400, 200:500] = 1
plate = np.random.default_rng(0).random((540, 720, 3), np.float32) * np.float32(0.3) + mask[..., None]
solve_alpha(plate, mask, SolveSettings(), 2)
assert len(compiled) >= 6 and before == [len(kernel.signatures) for kernel in compiled], before
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("width", [6, 12])
def test_a_thin_object_alone_is_found_where_its_colour_stands_off(width: int) -> None:
    """Nothing of it is deep inside: what it looks like must not be read off the wall behind it."""
    size = (480, 270)
    fine = np.zeros((4 * size[1], 4 * size[0]), np.uint8)
    cv2.line(fine, (160, 200), (1500, 700), 255, width)
    wire = cv2.resize(fine.astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)
    grain = np.random.default_rng(3).normal(0, 0.004, (*wire.shape, 3))
    red, wall = np.array((0.5, 0.05, 0.05)), np.array((0.3, 0.35, 0.5))
    plate = (wall + (red - wall) * wire[..., None] + grain).astype(np.float32)
    assert mad(solve_alpha(plate, wire, PLAIN), wire) < 0.1 * mad(np.zeros_like(wire), wire)


@pytest.mark.parametrize("solid", [0.99, 0.995])
def test_a_mask_that_is_nearly_solid_has_no_holes(solid: float, shots: dict[str, Frame]) -> None:
    frame = shots["bright_hair_dark"]
    alpha = solve_alpha(frame.plate, frame.mask * np.float32(solid), PLAIN)
    deep = _signed_distance(frame.mask) < -PLAIN.depth / 4
    assert alpha[deep].min() >= 0.98


def test_alpha_of_a_plate_below_black_stays_within_1() -> None:
    frame = make_shot("dark_hair_bright", 960, 540).frame(0)
    assert solve_alpha(frame.plate - np.float32(0.15), frame.mask, PLAIN).max() <= 1
