"""The seam measure finds hard cuts between windows and calls a steady shot steady."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_server.metrics.seam import Seam, frame_changes, seam_from_changes


def _frames(*levels: float) -> list[NDArray[np.float32]]:
    return [np.full((4, 6), level, np.float32) for level in levels]


def seam_measure(alphas: list[NDArray[np.float32]], borders: list[int]) -> Seam:
    return seam_from_changes(frame_changes(alphas), borders)


def test_a_jump_at_the_border_is_measured_by_hand() -> None:
    seam = seam_measure(_frames(0.0, 0.1, 0.2, 0.6, 0.7), [3])
    assert seam.border == pytest.approx(0.4)
    assert seam.interior == pytest.approx(0.1)
    assert seam.borders == 1 and seam.ratio == pytest.approx(4.0)
    assert seam_measure(_frames(0.0, 0.1, 0.2, 0.6), [3]).border == pytest.approx(0.4), "also at the last frame"


def test_a_jump_elsewhere_is_not_a_seam() -> None:
    assert seam_measure(_frames(0.0, 0.4, 0.5, 0.6), [2]).ratio < 1


def test_a_static_shot_has_no_seam() -> None:
    seam = seam_measure(_frames(0.5, 0.5, 0.5, 0.5), [2])
    assert seam.ratio == 1.0


def test_a_static_shot_that_jumps_at_its_border_has_an_infinite_one() -> None:
    seam = seam_measure(_frames(0.5, 0.5, 0.6, 0.6), [2])
    assert seam.ratio == math.inf


def test_borders_outside_the_shot_are_ignored() -> None:
    seam = seam_measure(_frames(0.0, 0.1, 0.2), [0, 3, 12, -1])
    assert seam.borders == 0 and math.isnan(seam.border) and math.isnan(seam.ratio)


def test_one_frame_has_nothing_to_compare() -> None:
    assert frame_changes(_frames(1.0)) == []
    assert seam_measure(_frames(1.0), []).borders == 0


def test_frames_are_taken_one_by_one() -> None:
    alive = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[NDArray[np.float32]]:
        nonlocal alive
        for level in np.linspace(0, 1, 20, dtype=np.float32):
            frame = np.full((4, 4), level, np.float32).view(Counted)
            alive += 1
            assert alive <= 3
            yield frame
            del frame

    assert len(frame_changes(stream())) == 19


def test_frames_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="frame before"):
        frame_changes([np.zeros((2, 2), np.float32), np.zeros((2, 3), np.float32)])


def test_hard_cuts_are_found_and_a_seamless_clip_is_left_to_chance() -> None:
    """Clips of random steps: with a jump added at each border nearly all show a seam, without it about half do."""
    generator = np.random.default_rng(3)
    borders = [12, 24, 36]
    smooth, cut = [], []
    for _ in range(64):
        changes = generator.gamma(4.0, 0.01, 47)
        smooth.append(seam_from_changes(list(changes), borders).ratio > 1)
        jumped = changes.copy()
        jumped[[b - 1 for b in borders]] += 0.1
        cut.append(seam_from_changes(list(jumped), borders).ratio > 1)
    assert 0.3 < np.mean(smooth) < 0.7
    assert np.mean(cut) > 0.95
