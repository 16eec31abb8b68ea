"""Throughput and waste of a farm by simulation: chunk size against number of workers.

    python tests/benchmarks/farm_model.py                    tables, and the plot of docs/wrangler.md
    python tests/benchmarks/farm_model.py --measure          stage times of this machine, from real tasks

A shot is cut as OpenJD cuts it. Every worker starts a server and loads the model once, then takes the next chunk that
is left until none is. Wall times per stage come from `mattebridge_server.farm.chunking.STAGE_TIMES`. Nothing else is
modelled: no scheduler's delay, no shared disk that slows down, no worker that fails.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from mattebridge_server.farm.chunking import (
    STAGE_TIMES,
    Rhythm,
    StageTimes,
    chunk_seconds,
    chunk_work,
    evened_sizes,
    recommended_chunk,
    useful_seconds,
)

RHYTHMS = {"edge": Rhythm("frame", radius=1), "videomama": Rhythm("window", 16, 12)}
SHOTS = (100, 1_000, 10_000, 100_000)
WORKERS = (1, 10, 100, 1_000)
PLOT = Path(__file__).parents[2] / "docs" / "images" / "farm_chunks.png"


@dataclass(frozen=True)
class Outcome:
    """One simulated job. Times in seconds; shares are parts of all the time that workers spent."""

    chunk: int
    wall_s: float
    fps: float
    efficiency: float
    reads_twice: float
    starts_share: float


def simulate(rhythm: Rhythm, times: StageTimes, shot: int, chunk: int, workers: int) -> Outcome:
    """Run a shot of ``shot`` frames in chunks of ``chunk`` on ``workers`` equal workers."""
    ends = [0, *accumulate(evened_sizes(shot, chunk))]
    busy = min(workers, len(ends) - 1)
    start = times.start_s + times.load_s
    free = [start] * busy
    reads = 0
    for first, last in pairwise(ends):
        heapq.heappush(free, heapq.heappop(free) + chunk_seconds(rhythm, times, shot, first, last))
        reads += chunk_work(rhythm, shot, first, last).reads
    spent, wall = sum(free), max(free)
    useful = useful_seconds(rhythm, times, shot)
    return Outcome(chunk, wall, shot / wall, useful / spent, reads / shot - 1, start * busy / spent)


def sizes(rhythm: Rhythm, shot: int) -> list[int]:
    """Chunk sizes worth looking at: multiples of the stride, ever wider apart."""
    found, size = [], rhythm.step
    while size < shot:
        found.append(size)
        size = max(size + rhythm.step, round(size * 1.3 / rhythm.step) * rhythm.step)
    return [*found, shot]


def tables() -> None:
    """The recommended chunk against the fastest one, for every size of shot and farm."""
    for model, rhythm in RHYTHMS.items():
        times = STAGE_TIMES[model]
        print(f"\n{model}: {times}")
        print("  frames workers | chunk  wall s    fps  useful  read twice  starts | fastest: chunk  wall s  useful")
        for shot in SHOTS:
            chunk = recommended_chunk(rhythm, times, shot)
            for workers in WORKERS:
                ours = simulate(rhythm, times, shot, chunk, workers)
                best = min(
                    (simulate(rhythm, times, shot, size, workers) for size in sizes(rhythm, shot)),
                    key=lambda outcome: outcome.wall_s,
                )
                print(
                    f"  {shot:6d} {workers:7d} | {chunk:5d} {ours.wall_s:7.0f} {ours.fps:6.1f} {ours.efficiency:7.0%}"
                    f" {ours.reads_twice:11.1%} {ours.starts_share:7.1%} |"
                    f" {best.chunk:14d} {best.wall_s:7.0f} {best.efficiency:7.0%}"
                )


def plot(path: Path) -> None:
    """Two rows, edge and videomama: useful share against chunk size, and frames a second against workers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    for row, (model, rhythm) in zip(axes, RHYTHMS.items(), strict=True):
        _useful_against_chunk(row[0], model, rhythm)
        _speed_against_workers(row[1], model, rhythm)
    figure.savefig(path, dpi=110)
    print(f"\nplot: {path}")


def _useful_against_chunk(axis: Any, model: str, rhythm: Rhythm) -> None:
    shot, times = 1_000, STAGE_TIMES[model]
    for workers in WORKERS:
        outcomes = [simulate(rhythm, times, shot, size, workers) for size in sizes(rhythm, shot)]
        axis.plot(
            [o.chunk for o in outcomes],
            [100 * o.efficiency for o in outcomes],
            "--" if workers == WORKERS[-1] else "-",
            label=f"{workers:,} worker{'s' * (workers > 1)}",
        )
    chunk = recommended_chunk(rhythm, times, shot)
    axis.axvline(chunk, color="black", linestyle=":", label=f"recommended: {chunk}")
    axis.set(xscale="log", xlabel="frames in a chunk", ylabel="useful share of the workers' time, %", ylim=(0, 102))
    axis.set_title(f"{model}, a shot of {shot:,} frames: what is not wasted")
    axis.legend()
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_formatter("{x:,.0f}")


def _speed_against_workers(axis: Any, model: str, rhythm: Rhythm) -> None:
    times = STAGE_TIMES[model]
    workers = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
    for shot in SHOTS[:3]:
        chunk = recommended_chunk(rhythm, times, shot)
        speeds = [simulate(rhythm, times, shot, chunk, count).fps for count in workers]
        axis.plot(workers, speeds, marker="o", markersize=3, label=f"{shot:,} frames, chunks of {chunk}")
    frame_s = useful_seconds(rhythm, times, 1_000) / 1_000
    axis.plot(workers, [count / frame_s for count in workers], "k:", label="without any waste")
    axis.set(xscale="log", yscale="log", xlabel="workers", ylabel="frames a second")
    axis.set_title(f"{model}: speed with the recommended chunk")
    axis.legend()
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter("{x:,g}")


# -- measuring ---------------------------------------------------------------------------------------------------------

READING = ("digest", "read")
FINISHING = ("restore", "solve", "foreground", "cleanplate", "write")


def measure(frames: int = 12) -> None:
    """Stage times of ``identity`` and ``edge`` at 1920x1080 on this machine, from real sessions and tasks.

    Reading and finishing are what the job's own clocks say, working is the rest of what a frame adds to the wall time;
    stages overlap, so their sum is scaled down where it exceeds that. The chunk that follows depends on ratios alone: a
    machine that is twice as slow in everything gets the same one.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "mattebridge_server" / "farm"))
    from farm_shot import FarmShot

    start_s = 0.0
    for model in ("identity", "edge"):
        with tempfile.TemporaryDirectory() as folder:
            shot = FarmShot(Path(folder), range(1, frames + 1), width=1920, height=1080).write()
            times = _measured(shot, model, start_s)
        start_s = start_s or times.start_s
        rhythm = RHYTHMS.get(model, Rhythm("frame"))
        ours, usual = (recommended_chunk(rhythm, them, 1_000) for them in (times, STAGE_TIMES[model]))
        print(f"{model}: {times}\n  recommended for 1,000 frames: {ours}; from the table: {usual}", flush=True)


def _measured(shot: Any, model: str, start_s: float) -> StageTimes:
    """``start_s`` is the start of a session whose model takes no time to load; 0 where this is that model."""
    bundle, session = shot.bundle(model, 1), shot.folder / "session"
    session.mkdir()
    about = ("--bundle", str(bundle), "--session", str(session))
    try:
        enter_s, _ = _timed(shot, "enter", *about)
        _timed(shot, "task", "--index", "0", *about)
        task_s, _ = _timed(shot, "task", "--index", "0", *about, "--json")
        all_s, said = _timed(shot, "task", *about, "--json")
    finally:
        _timed(shot, "exit", "--session", str(session))
    facts = json.loads(said.splitlines()[-1])["facts"]
    frame_s = (all_s - task_s) / (len(shot.frames) - 1)
    read_s, finish_s = (
        sum(facts.get(f"seconds_{stage}", 0.0) for stage in stages) / len(shot.frames)
        for stages in (READING, FINISHING)
    )
    scale = min(1.0, frame_s / (read_s + finish_s))
    read_s, finish_s = read_s * scale, finish_s * scale
    load_s = max(0.0, enter_s - start_s) if start_s else 0.0
    return StageTimes(enter_s - load_s, load_s, task_s, read_s, frame_s - read_s - finish_s, finish_s)


def _timed(shot: Any, *words: str) -> tuple[float, str]:
    """Seconds that a farm command took, and what it said."""
    began = time.perf_counter()
    done: subprocess.CompletedProcess[str] = shot.mattebridge("farm", *words, timeout_s=300)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, done.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure stage times instead of using the table's")
    if parser.parse_args().measure:
        measure()
    else:
        tables()
        plot(PLOT)
