"""What the bridge costs around a model: `identity` against a bare loop, a warm one-frame job, memory over a long shot.

    python tests/benchmarks/bridge.py [--frames 24] [--rounds 3] [--only overhead|latency|memory]

overhead  24 UHD half ZIP plates and masks through a job of `identity`, against a bare loop that reads and writes the
          same files with the same number of threads; rounds alternate, medians are compared. Target: at least .85.
latency   a one-frame 1080p `identity` job on a warm server, against the time its files take. Target: 40 ms more.
memory    peak of the engine over 480 frames against 48, at 480x270. Target: at most 1.05.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import OpenImageIO as oiio

THREADS = 2


def write_exr(path: Path, pixels: np.ndarray, names: tuple[str, ...], compression: str) -> None:
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], "half")
    spec.channelnames = names
    spec.attribute("compression", compression)
    if pixels.shape[2] == 3:
        spec.attribute("colorInteropID", "lin_ap1_scene")
    out = oiio.ImageOutput.create(str(path))
    if not (out.open(str(path), spec) and out.write_image(pixels) and out.close()):
        raise OSError(out.geterror())


def make_shot(folder: Path, frames: int, width: int, height: int) -> None:
    """Plates with gradients and grain, masks with a moving soft disc: half, ZIP."""
    rng = np.random.default_rng(1)
    grain = rng.standard_normal((height, width, 3), np.float32) * 0.01
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    ramp = (0.05 + 0.6 * columns / width + 0.2 * np.sin(rows / 40))[..., None] * np.array([1.0, 0.8, 0.6], np.float32)
    for role in ("plate", "mask"):
        (folder / role).mkdir(parents=True, exist_ok=True)
    for frame in range(1, frames + 1):
        plate = (ramp + np.roll(grain, frame * 7, axis=1)).astype(np.float16)
        away = np.hypot(columns - width * (0.4 + 0.005 * frame), rows - height / 2)
        mask = np.clip((height / 3 - away) / 6 + 0.5, 0, 1)[..., None].astype(np.float16)
        write_exr(folder / "plate" / f"plate.{frame:04d}.exr", plate, ("R", "G", "B"), "zip")
        write_exr(folder / "mask" / f"mask.{frame:04d}.exr", mask, ("A",), "zip")


def bare_loop(folder: Path, frames: int) -> float:
    """Seconds to read every plate and mask as float and write the mask as a ZIPS alpha, frames shared by threads."""
    (folder / "bare").mkdir(exist_ok=True)

    def one(frame: int) -> None:
        for role in ("plate", "mask"):
            source = oiio.ImageInput.open(str(folder / role / f"{role}.{frame:04d}.exr"))
            pixels = source.read_image(oiio.FLOAT)
            source.close()
        write_exr(folder / "bare" / f"a.{frame:04d}.exr", pixels.reshape(*pixels.shape[:2], 1), ("A",), "zips")

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(1, frames + 1)))
    return time.perf_counter() - began


def request(folder: Path, out: str, frames: str, **fields: object) -> dict[str, object]:
    plate, mask = (str(folder / role / f"{role}.####.exr") for role in ("plate", "mask"))
    return {"plate": plate, "mask": mask, "out": str(folder / out / "a.####.exr"), "frames": frames, **fields}


def bench_overhead(folder: Path, frames: int, rounds: int) -> None:
    from mattebridge.messages import JobRequest
    from mattebridge_server.engine.local import run_local

    make_shot(folder, frames, 3840, 2160)
    bare, bridge, ratios = [], [], []
    for turn in range(rounds + 1):
        one = bare_loop(folder, frames)
        ask = JobRequest(**request(folder, f"out{turn}", f"1-{frames}", model="identity"))  # type: ignore[arg-type]
        began = time.perf_counter()
        run_local(ask, b"", lambda event: None, lambda: False, threads=THREADS)
        other = time.perf_counter() - began
        if turn:  # the first turn warms the page cache and the imports
            bare.append(one)
            bridge.append(other)
            ratios.append(one / other)
    loop, job = (frames / statistics.median(times) for times in (bare, bridge))
    print(f"overhead  bare loop {loop:.2f} fps, identity job {job:.2f} fps, {frames} UHD frames, {rounds} rounds")
    print(f"overhead  ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), target .85")


def bench_latency(folder: Path, rounds: int) -> None:
    from mattebridge import Client

    make_shot(folder, 1, 1920, 1080)
    with private_server(folder) as endpoint, Client.connect(endpoint) as client:
        took, files = [], []
        for turn in range(rounds + 3):
            began = time.perf_counter()
            client.matte(**request(folder, f"out{turn}", "1", model="identity")).wait()
            job = time.perf_counter() - began
            bare = bare_loop(folder, 1)
            if turn >= 3:
                took.append(job)
                files.append(bare)
    extra = [1000 * (a - b) for a, b in zip(took, files, strict=True)]
    print(
        f"latency   warm one-frame 1080p job {1000 * statistics.median(took):.0f} ms, its files "
        f"{1000 * statistics.median(files):.0f} ms, difference {statistics.median(extra):.0f} ms, target 40"
    )


@contextmanager
def private_server(folder: Path) -> Iterator[str]:
    """A server of its own, in folders of its own."""
    import os

    from mattebridge.launch import start_server
    from mattebridge.settings import Settings

    for name in ("RUNTIME", "CONFIG", "STATE"):
        os.environ[f"MATTEBRIDGE_{name}"] = str(folder / name.lower())
    settings = Settings.from_environment()
    found = start_server(settings)
    try:
        yield found.endpoint
    finally:
        from mattebridge import Client

        with Client.connect("auto") as client:
            client.stop(now=True)


def peak_of(*job: str) -> int:
    """Peak resident bytes of a fresh process that runs `run_job`."""
    done = subprocess.run([sys.executable, __file__, "--job", *job], check=True, capture_output=True, text=True)
    return int(done.stdout)


def run_job(folder: str, out: str, frames: str, model: str) -> None:
    from mattebridge.messages import JobRequest
    from mattebridge_server.engine.local import run_local
    from mattebridge_server.pipeline.timing import peak_memory_bytes

    ask = JobRequest(**request(Path(folder), out, frames, model=model))  # type: ignore[arg-type]
    run_local(ask, b"", lambda event: None, lambda: False, threads=THREADS)
    print(peak_memory_bytes())


def bench_memory(folder: Path, models: tuple[str, ...] = ("identity", "edge")) -> None:
    make_shot(folder, 480, 480, 270)
    for model in models:
        short = peak_of(str(folder), f"{model}-48", "1-48", model)
        long = peak_of(str(folder), f"{model}-480", "1-480", model)
        print(
            f"memory    {model}: peak {short / 2**20:.0f} MiB at 48 frames, {long / 2**20:.0f} MiB at 480, "
            f"ratio {long / short:.3f}, target 1.05"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("overhead", "latency", "memory"))
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        run_job(*args.job)
        return
    with tempfile.TemporaryDirectory(prefix="mattebridge-bench-") as name:
        folder = Path(name)
        if args.only in (None, "overhead"):
            bench_overhead(folder / "uhd", args.frames, args.rounds)
        if args.only in (None, "latency"):
            bench_latency(folder / "hd", 15)
        if args.only in (None, "memory"):
            bench_memory(folder / "small")


if __name__ == "__main__":
    main()
