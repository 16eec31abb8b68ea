"""The model `edge`: calm on a still shot, each frame from its neighbours alone, torch-free."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mattebridge.errors import Cancelled, MissingFrames
from mattebridge_server.demo.scenes import SHOTS, Shot, make_shot
from mattebridge_server.matting.solve import SolveSettings, solve_alpha
from mattebridge_server.metrics.matting import dtssd, mad
from mattebridge_server.models.base import Checkpoint, Device, LoadSpec, Window
from mattebridge_server.models.edge import Edge

Frames = dict[int, tuple[np.ndarray, np.ndarray | None]]


class Reel(Window):
    """A window on frames held in memory, counting how often plates are read."""

    def __init__(self, frames: Frames, wanted: tuple[int, ...], radius: int = 1) -> None:
        order = sorted(frames)
        first, last = order.index(wanted[0]), order.index(wanted[-1])
        self.numbers = tuple(order[max(0, first - radius) : last + radius + 1])
        self.wanted = wanted
        self.frames = frames
        self.reads: list[int] = []

    def plate(self, number: int) -> np.ndarray:
        self.reads.append(number)
        return self.frames[number][0]

    def mask(self, number: int) -> np.ndarray | None:
        return self.frames[number][1]

    def plate_key(self, number: int) -> str:
        return f"plate {number}"

    def mask_key(self, number: int) -> str:
        return f"mask {number}"


def _quiet(stage: str) -> None:
    del stage


def _run(
    model: Edge, frames: Frames, wanted: tuple[int, ...], stop: Checkpoint = _quiet, **params: bool | float
) -> dict[int, np.ndarray]:
    return {r.number: r.alpha for r in model.run(Reel(frames, wanted), params, stop)}


@pytest.fixture(scope="module")
def moving() -> Frames:
    shot = make_shot("soft_roto", 480, 270)
    return {1001 + 2 * i: (frame.plate, frame.mask) for i, frame in enumerate(shot.frames(4))}


@pytest.fixture(scope="module")
def still() -> tuple[Frames, np.ndarray]:
    """One picture, new grain on every frame."""
    frame = make_shot("bright_hair_dark", 480, 270).frame(0)
    clean = frame.foreground * frame.alpha[..., None] + frame.background * (1 - frame.alpha[..., None])
    frames: Frames = {}
    for number in range(5):
        noise = np.random.default_rng(number).standard_normal(clean.shape).astype(np.float32)
        frames[number] = (clean + noise * np.float32(0.02) * np.sqrt(np.maximum(clean, 0.004)), frame.mask)
    return frames, frame.alpha


def test_a_still_shot_flickers_less_than_frames_solved_alone(still: tuple[Frames, np.ndarray]) -> None:
    frames, truth = still
    steady = _run(Edge(), frames, (1, 2, 3))
    alone = _run(Edge(), frames, (1, 2, 3), steady=False)
    flicker = [np.mean([dtssd(a[n], a[n - 1], truth, truth) for n in (2, 3)]) for a in (steady, alone)]
    assert flicker[0] < 0.75 * flicker[1]
    assert mad(steady[2], truth) <= mad(alone[2], truth) * 1.01


def test_a_moving_shot_is_not_smeared(moving: Frames) -> None:
    middle = sorted(moving)[1]
    truth = make_shot("soft_roto", 480, 270).frame(1).alpha
    steady = _run(Edge(), moving, (middle,))[middle]
    alone = _run(Edge(), moving, (middle,), steady=False)[middle]
    assert mad(steady, truth) <= mad(alone, truth) * 1.03


def test_thin_hair_that_moves_by_a_pixel_is_not_smeared() -> None:
    shot = Shot(replace(SHOTS["dark_hair_bright"], move=(5.2, 1.6)), 480, 270)  # 1.3 px a frame at this size
    frames: Frames = {i: (frame.plate, frame.mask) for i, frame in enumerate(shot.frames(3))}
    truth = shot.frame(1).alpha
    steady, alone = _run(Edge(), frames, (1,))[1], _run(Edge(), frames, (1,), steady=False)[1]
    assert mad(steady, truth) <= mad(alone, truth) * 1.04


def test_a_frame_depends_on_its_neighbours_alone_so_chunks_are_bit_equal(moving: Frames) -> None:
    numbers = tuple(sorted(moving))
    whole = _run(Edge(), moving, numbers)
    model = Edge()
    chunks = _run(model, moving, numbers[2:]) | _run(model, moving, numbers[:2])
    alone = {n: _run(Edge(), moving, (n,))[n] for n in numbers}
    for n in numbers:
        assert whole[n].tobytes() == chunks[n].tobytes() == alone[n].tobytes()


def test_each_frame_is_solved_once_while_windows_walk_the_shot(moving: Frames) -> None:
    model, reads = Edge(), []
    for number in sorted(moving):
        reel = Reel(moving, (number,))
        list(model.run(reel, {}, _quiet))
        reads += reel.reads
    assert sorted(reads) == sorted(moving)


def test_without_steady_it_is_the_plain_solve(moving: Frames) -> None:
    number = sorted(moving)[0]
    plate, mask = moving[number]
    assert mask is not None
    alpha = _run(Edge(), moving, (number,), steady=False)[number]
    assert np.array_equal(alpha, solve_alpha(plate, mask, SolveSettings()))


def test_a_frame_without_a_mask_is_named_and_a_neighbour_without_one_is_passed_over(moving: Frames) -> None:
    numbers = sorted(moving)
    frames = dict(moving)
    frames[numbers[1]] = (moving[numbers[1]][0], None)
    with pytest.raises(MissingFrames, match=str(numbers[1])) as caught:
        _run(Edge(), frames, (numbers[1],))
    assert caught.value.frame == numbers[1]
    assert _run(Edge(), frames, (numbers[0],))[numbers[0]].shape == (270, 480)


def test_a_cancel_is_heard_before_each_solve(moving: Frames) -> None:
    stages: list[str] = []

    def stop(stage: str) -> None:
        stages.append(stage)
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        _run(Edge(), moving, (sorted(moving)[0],), stop)
    assert stages == ["solve"]


def test_unloading_forgets_the_frames_it_kept(moving: Frames) -> None:
    model = Edge()
    model.load(LoadSpec(Device(threads=1)))
    number = sorted(moving)[0]
    _run(model, moving, (number,))
    assert model._solved
    model.unload()
    assert not model._solved


def test_neither_the_card_nor_a_run_imports_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from mattebridge_server.models.edge import Edge\n"
        "assert 'numpy' in sys.modules and 'numba' not in sys.modules and 'cv2' not in sys.modules\n"
        "from mattebridge_server.matting.solve import SolveSettings, solve_alpha\n"
        "mask = np.zeros((40, 60), np.float32); mask[10:30, 20:40] = 1\n"
        "solve_alpha(np.ones((40, 60, 3), np.float32), mask, SolveSettings())\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
