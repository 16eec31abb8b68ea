"""Score `edge` against the raw mask, the blurred mask and closed-form matting on the eight shots, side by side.

    python tests/benchmarks/edge.py [--frames N] [--shots NAME ...] [--size 1920x1080] [--out DIR] [--json FILE]

Closed form is pymatting's, with its defaults, on a trimap of the same mask: a band of 20 px (at 1080) on either side of
the mask's edge and wherever the mask is soft. It sees the same scene-linear plate, where the mixing equation that it
assumes holds. Each method runs in a process of its own; memory is its peak above that process with the frames read and
nothing compiled yet. Compiling is outside the times, which are means per frame, methods in turn: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray
from scenes import SHOTS, Frame, make_shot

from mattebridge_server.metrics.matting import score

Float32 = NDArray[np.float32]
METHODS = ("raw mask", "blurred mask", "closed form", "edge")
THREADS = 2
TARGETS = {"mean MAD": 0.55, "time": 0.35}
SECONDS_A_FRAME, MEMORY_MIB = 1.2, 700


@dataclass(frozen=True)
class Row:
    """One method on one shot: means over frames; seconds a frame; MiB above the idle process."""

    shot: str
    method: str
    mad: float
    mse: float
    grad: float
    dtssd: float
    seconds: float
    memory_mib: float


class Stream:
    """A window on a shot for the real model class; keys name frames, as the pipeline's digests do."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.numbers: tuple[int, ...] = ()
        self.wanted: tuple[int, ...] = ()
        self.prompts = ()

    def plate(self, number: int) -> Float32:
        return self.frames[number].plate

    def mask(self, number: int) -> Float32:
        return self.frames[number].mask

    def plate_key(self, number: int) -> str:
        return f"plate {number}"

    def mask_key(self, number: int) -> str:
        return f"mask {number}"


def trimap_of(mask: Float32) -> NDArray[np.float64]:
    inside = (mask > 0.5).astype(np.uint8)
    band = 20 * mask.shape[0] / 1080
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5) > band
    out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) > band
    trimap = np.where(deep, 1.0, np.where(out, 0.0, 0.5))
    trimap[(mask > 1 / 255) & (mask < 1 - 1 / 255)] = 0.5
    return trimap


def alphas(method: str, frames: list[Frame]) -> Iterator[Float32]:
    """Alpha of each frame in turn."""
    if method == "edge":
        from mattebridge_server.models.base import Device, LoadSpec
        from mattebridge_server.models.edge import Edge

        model, stream = Edge(), Stream(frames)
        model.load(LoadSpec(Device(threads=THREADS)))
        for n in range(len(frames)):
            stream.numbers = tuple(range(max(0, n - 1), min(len(frames), n + 2)))
            stream.wanted = (n,)
            yield from (result.alpha for result in model.run(stream, {}, lambda _: None))  # type: ignore[arg-type]
        return
    for frame in frames:
        if method == "raw mask":
            yield frame.mask
        elif method == "blurred mask":
            yield cv2.GaussianBlur(frame.mask, (0, 0), 5 * frame.mask.shape[0] / 1080).astype(np.float32)
        else:
            from pymatting import estimate_alpha_cf

            yield estimate_alpha_cf(frame.plate.astype(np.float64), trimap_of(frame.mask)).astype(np.float32)


class Peak:
    """Highest resident memory of this process while the block runs, in MiB above its start."""

    def __enter__(self) -> Peak:
        self._process = psutil.Process()
        self._start = self._process.memory_info().rss
        self._highest, self._over = self._start, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    @property
    def mib(self) -> float:
        return (self._highest - self._start) / 2**20

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._highest = max(self._highest, self._process.memory_info().rss)


def measure(shot: str, method: str, size: tuple[int, int], count: int, out: str) -> Row:
    """One method on one shot, in this process."""
    warnings.simplefilter("ignore")
    cv2.setNumThreads(THREADS)
    small = [make_shot(shot, 320, 180).frame(0)]
    frames = list(make_shot(shot, *size).frames(count))
    results: list[Float32] = []
    times: list[float] = []
    with Peak() as peak:
        list(alphas(method, small))  # compiles
        started = time.perf_counter()
        for alpha in alphas(method, frames):
            results.append(alpha)
            now = time.perf_counter()
            times.append(now - started)
            started = now
    kept = sum(alpha.nbytes for alpha in results[:-1]) / 2**20  # this script keeps every result, the server does not
    scores = score(zip(results, (frame.alpha for frame in frames), strict=True))
    if out:
        stem = Path(out) / f"{shot}.{method.replace(' ', '_')}.png"
        cv2.imwrite(str(stem), np.round(results[0] * 255).astype(np.uint8))
    seconds = float(np.mean(times))
    return Row(shot, method, scores.mad, scores.mse, scores.grad, scores.dtssd, seconds, max(0.0, peak.mib - kept))


def table(rows: list[Row]) -> Iterator[str]:
    yield f"{'shot':18}{'method':14}{'MAD':>8}{'MSE':>8}{'Grad':>9}{'dtSSD':>8}{'s/frame':>9}{'MiB':>7}"
    for row in rows:
        yield (f"{row.shot:18}{row.method:14}{row.mad:8.2f}{row.mse:8.2f}{row.grad:9.2f}{row.dtssd:8.2f}"
               f"{row.seconds:9.2f}{row.memory_mib:7.0f}")  # fmt: skip


def verdict(rows: list[Row]) -> Iterator[str]:
    """The ratios that the targets are about."""

    def of(method: str, value: Callable[[Row], float]) -> NDArray[np.float64]:
        return np.array([value(row) for row in rows if row.method == method])

    for name, value in (("MAD", lambda r: r.mad), ("MSE", lambda r: r.mse), ("Grad", lambda r: r.grad),
                        ("dtSSD", lambda r: r.dtssd), ("time", lambda r: r.seconds)):  # fmt: skip
        edge, closed, raw = (of(method, value) for method in ("edge", "closed form", "raw mask"))
        line = f"{name:6} edge / closed form: {_ratio(edge, closed)}"
        yield line if name == "time" else f"{line}; edge / raw mask: {_ratio(edge, raw)}"
    seconds, memory = of("edge", lambda r: r.seconds), of("edge", lambda r: r.memory_mib)
    yield f"edge takes {seconds.mean():.2f} s a frame (at most {SECONDS_A_FRAME}) and {memory.max():.0f} MiB above idle"
    yield f"targets: mean MAD {TARGETS['mean MAD']}, no shot above 1.00, time {TARGETS['time']}, {MEMORY_MIB} MiB"


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    each = ours / np.maximum(theirs, 1e-9)
    return f"mean {ours.mean() / max(theirs.mean(), 1e-9):.3f}, worst shot {each.max():.2f}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3, help="frames of each shot (default: 3)")
    parser.add_argument("--shots", nargs="+", default=list(SHOTS), choices=list(SHOTS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--out", default="", metavar="DIR", help="write the first frame's alphas as PNG")
    parser.add_argument("--json", default="", metavar="FILE", help="write the rows")
    chosen = parser.parse_args(arguments)
    width, height = (int(part) for part in chosen.size.split("x"))
    if chosen.out:
        Path(chosen.out).mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    context: Any = multiprocessing.get_context("spawn")
    for shot in chosen.shots:
        for method in chosen.methods:
            with context.Pool(1) as pool:
                rows.append(pool.apply(measure, (shot, method, (width, height), chosen.frames, chosen.out)))
            print(list(table(rows[-1:]))[1] if len(rows) > 1 else "\n".join(table(rows)), flush=True)
    if set(chosen.methods) == set(METHODS):
        print("\n".join(verdict(rows)))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
