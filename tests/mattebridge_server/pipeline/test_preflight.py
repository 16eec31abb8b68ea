"""Mask preflight warns before the run about what would spoil it, and keeps quiet about what would not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_server.models.auto import SMALL_FEATURE_PX
from mattebridge_server.pipeline.preflight import (
    MaskSample,
    feature_width,
    is_empty,
    mask_jump,
    preflight,
    subject_outside,
)

Float32 = NDArray[np.float32]
SIZE = (144, 256)


def _disc(x: float, y: float = 72, radius: float = 30) -> Float32:
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.asarray(np.clip(radius - np.hypot(rows - y, columns - x) + 0.5, 0, 1), np.float32)


def _plate(subject: Float32, colour: float = 0.8) -> Float32:
    noise = np.random.default_rng(0).normal(0, 0.02, (*SIZE, 3))
    return np.asarray(np.clip(0.2 + noise + subject[..., None] * (colour - 0.2), 0, 1), np.float32)


def _kinds(samples: list[MaskSample], scale: float = 7.5) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.frame) for finding in preflight(samples, scale).findings]


def test_a_sound_shot_gives_no_warning() -> None:
    samples = [MaskSample(1001 + i, _disc(80 + 3 * i), _plate(_disc(80 + 3 * i))) for i in range(8)]
    assert _kinds(samples) == []


def test_empty_masks_are_named_and_missing_ones_are_not() -> None:
    empty = np.zeros(SIZE, np.float32)
    samples = [MaskSample(1, _disc(80)), MaskSample(2, empty), MaskSample(3, None), MaskSample(4, _disc(86))]
    assert _kinds(samples) == [("mask_empty", 2)]


def test_a_mask_that_leaps_or_swells_is_named_at_the_frame_where_it_does() -> None:
    leaps = [MaskSample(1, _disc(60)), MaskSample(2, _disc(62)), MaskSample(3, _disc(180)), MaskSample(4, _disc(182))]
    assert _kinds(leaps) == [("mask_jumps", 3)]
    swells = [MaskSample(1, _disc(120, radius=20)), MaskSample(2, _disc(120, radius=50))]
    (finding,) = preflight(swells, 7.5).findings
    assert finding.kind == "mask_jumps" and "6.3 times larger" in finding.message


def test_fast_but_steady_motion_is_no_leap() -> None:
    assert mask_jump(MaskSample(1, _disc(60)), MaskSample(2, _disc(75))) is None


def test_a_mask_that_covers_half_of_the_subject_is_noticed() -> None:
    subject = _disc(120, radius=45)
    half = subject.copy()
    half[:, 120:] = 0
    finding = subject_outside(MaskSample(5, half, _plate(subject)))
    assert finding is not None and finding.frame == 5 and finding.value > 0.25
    assert subject_outside(MaskSample(5, subject, _plate(subject))) is None


@pytest.mark.parametrize("dilate", [3, 9])
def test_a_fat_mask_is_not_mistaken_for_a_missed_subject(dilate: int) -> None:
    subject = _disc(120)
    fat = np.asarray(cv2.dilate(subject, np.ones((2 * dilate + 1,) * 2, np.uint8)), np.float32)
    assert subject_outside(MaskSample(1, fat, _plate(subject))) is None


def test_a_subject_of_the_backgrounds_colour_gives_no_opinion() -> None:
    subject = _disc(120, radius=45)
    half = subject.copy()
    half[:, 120:] = 0
    assert subject_outside(MaskSample(1, half, _plate(subject, colour=0.22))) is None


@pytest.mark.parametrize("width", [3, 9, 21])
def test_the_width_of_a_bar_is_measured(width: int) -> None:
    mask = np.zeros(SIZE, np.float32)
    mask[20:120, 60 : 60 + width] = 1
    assert feature_width(mask) == pytest.approx(width, abs=1.5)


def test_a_body_with_thin_arms_is_wide_and_a_cable_is_thin() -> None:
    body = _disc(120, radius=40)
    body[70:74, 10:240] = 1
    assert feature_width(body) > 60
    cable = np.zeros(SIZE, np.float32)
    cable[70:73] = 1
    found = preflight([MaskSample(1, cable)], 7.5)
    assert found.feature_px < SMALL_FEATURE_PX
    assert [(finding.kind, finding.frame) for finding in found.findings] == [("small_feature", None)]
    assert preflight([MaskSample(1, body)], 7.5).feature_px >= SMALL_FEATURE_PX


def test_a_shot_without_any_mask_is_not_called_small() -> None:
    found = preflight([MaskSample(1, None)], 7.5)
    assert found.feature_px == float("inf") and found.findings == ()


def test_emptiness_has_a_floor_not_an_exact_zero() -> None:
    speck = np.zeros(SIZE, np.float32)
    speck[0, 0] = 1
    assert is_empty(speck) and not is_empty(_disc(50, radius=3))
