"""How large a farm chunk should be, as pure functions.

A chunk costs more than its frames. Its worker starts a server and loads the model; the chunk itself reads frames beyond
its ends, and runs windows (or neighbours of its first and last frame) that another chunk runs as well:

    waste = (start + load + overhead of a task + context) / time of the chunk's own frames

The worst case is a worker that gets a single chunk and pays for start and load alone. The recommended chunk is the
smallest multiple of the window stride that keeps the waste of that worst case within a quarter, and a little more where
the shot divides better: large enough that nothing depends on how many workers there are, and no larger, because small
chunks spread best and lose least when one fails. tests/benchmarks/farm_model.py shows what that means from one worker
to a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import ceil

from mattebridge.frames import FrameSet

from ..pipeline.plan import ShotPlan

MOST_WASTE = 0.25
REFERENCE_PIXELS = 1920 * 1080


@dataclass(frozen=True)
class StageTimes:
    """Seconds that a job takes on one worker, as they add to its wall time.

    ``start_s`` server start and ``load_s`` model load, once for each worker; ``task_s`` for each task; ``read_s`` for
    each plate with its mask; ``work_s`` for each frame of each window that the model runs; ``finish_s`` for each frame
    that is written.
    """

    start_s: float
    load_s: float
    task_s: float
    read_s: float
    work_s: float
    finish_s: float

    def at(self, pixels: int) -> StageTimes:
        """The times at another plate size, where these are for `REFERENCE_PIXELS`."""
        scale = max(pixels, 1) / REFERENCE_PIXELS
        return replace(self, read_s=self.read_s * scale, work_s=self.work_s * scale, finish_s=self.finish_s * scale)


STAGE_TIMES = {
    "identity": StageTimes(1.6, 0.0, 0.6, 0.07, 0.0, 0.03),
    "edge": StageTimes(1.6, 2.0, 0.6, 0.07, 0.62, 0.05),
    "videomama": StageTimes(6.0, 25.0, 0.6, 0.07, 0.35, 0.9),
}
"""Times by model for plates of 1920x1080.

The first two are from `farm_model.py --measure` on two CPU cores that were shared: their ratios are measured, their
scale is that of `identity` on cores of its own. Those of ``videomama`` are an estimate for one GPU.
"""


@dataclass(frozen=True)
class Rhythm:
    """How a model walks a shot: what a plan says of it, and nothing else. See `mattebridge_server.pipeline.windows`."""

    temporal: str
    length: int = 1
    stride: int = 1
    radius: int = 0

    @classmethod
    def of(cls, plan: ShotPlan) -> Rhythm:
        return cls(plan.temporal, plan.length, plan.stride, plan.radius)

    @property
    def step(self) -> int:
        """What chunk sizes are multiples of."""
        return self.stride if self.temporal == "window" else 1


@dataclass(frozen=True)
class Work:
    """What shot indices first (included) to last (excluded) take: frames read, and frames run through the model."""

    reads: int
    works: int


def chunk_work(rhythm: Rhythm, shot: int, first: int, last: int) -> Work:
    """The work of one chunk of a shot of ``shot`` frames."""
    if rhythm.temporal == "shot":
        return Work(shot, shot)
    if rhythm.temporal == "frame":
        reads = min(shot, last + rhythm.radius) - max(0, first - rhythm.radius)
        return Work(reads, reads)
    length, stride = rhythm.length, rhythm.stride
    if shot <= length:
        return Work(shot, shot)
    regular = -(-(shot - length) // stride)  # windows before the last one, which ends with the shot
    lowest = max(0, (first - length) // stride + 1)
    highest = min(regular - 1, (last - 1) // stride)
    starts = [lowest * stride, highest * stride] if lowest <= highest else []
    windows = max(0, highest - lowest + 1)
    if last > shot - length:
        starts.append(shot - length)
        windows += 1
    return Work(max(starts) + length - min(starts), windows * length)


def chunk_seconds(rhythm: Rhythm, times: StageTimes, shot: int, first: int, last: int) -> float:
    """Wall time of one task on a warm worker."""
    work = chunk_work(rhythm, shot, first, last)
    return times.task_s + work.reads * times.read_s + work.works * times.work_s + (last - first) * times.finish_s


def useful_seconds(rhythm: Rhythm, times: StageTimes, shot: int) -> float:
    """Wall time of the shot's own work: every frame read, every window run and every frame written once."""
    return chunk_seconds(rhythm, times, shot, 0, shot) - times.task_s


def worst_waste(rhythm: Rhythm, times: StageTimes, shot: int, chunk: int) -> float:
    """Waste of a chunk from the middle of the shot on a worker of its own, as a fraction of its own frames' time."""
    chunk = min(chunk, shot)
    first = (shot - chunk) // 2 // rhythm.step * rhythm.step
    own = useful_seconds(rhythm, times, shot) * chunk / shot
    spent = times.start_s + times.load_s + chunk_seconds(rhythm, times, shot, first, first + chunk)
    return spent / own - 1.0 if own > 0 else 0.0


def smallest_chunk(rhythm: Rhythm, times: StageTimes, shot: int, most_waste: float = MOST_WASTE) -> int:
    """The smallest multiple of the window stride whose `worst_waste` is within ``most_waste``; else the whole shot."""
    if rhythm.temporal == "shot" or worst_waste(rhythm, times, shot, shot) > most_waste:
        return shot  # even the whole shot does not pay for the start: splitting it only adds to that
    low, high = 1, -(-shot // rhythm.step)
    while low < high:
        middle = (low + high) // 2
        if worst_waste(rhythm, times, shot, middle * rhythm.step) <= most_waste:
            high = middle
        else:
            low = middle + 1
    return min(shot, low * rhythm.step)


def recommended_chunk(rhythm: Rhythm, times: StageTimes, shot: int, most_waste: float = MOST_WASTE) -> int:
    """Frames for each chunk: a multiple of the window stride, or the whole shot. Always at least 1.

    As many chunks as the shot holds of `smallest_chunk`, so that none is smaller when a scheduler makes them equal: 100
    frames at 96 would become two chunks of 50.
    """
    count = max(1, shot // smallest_chunk(rhythm, times, shot, most_waste))
    return min(shot, ceil(ceil(shot / count) / rhythm.step) * rhythm.step)


def evened_sizes(total: int, chunk: int) -> tuple[int, ...]:
    """Sizes of the chunks that OpenJD makes: as many as ``chunk`` asks for, equal to within one frame."""
    count = min(total, -(-total // chunk))
    small, left = divmod(total, count)
    sizes = [small] * count
    for i in range(left):
        sizes[i * count // left] += 1
    return tuple(sizes)


def evened_chunks(frames: FrameSet, chunk: int) -> tuple[FrameSet, ...]:
    """The chunks of a range without holes, in order; of one with holes the same, as if there were none."""
    ends = list(accumulate(evened_sizes(len(frames), chunk)))
    return tuple(frames[first:last] for first, last in pairwise([0, *ends]))
