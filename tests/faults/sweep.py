"""The whole crash sweep: ``python tests/faults/sweep.py``. A death at every named point of a 24-frame job.

After each, the server is started again without it and the job has to end as promised: no partial file, no finished file
written again, every frame there with its bits, one terminal event. Prints a tally; exit status 1 where one did not.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from soak import BROKER_POINTS, PATIENCE_S, Soak, content, ended

FRAMES = range(1001, 1025)
FRAME_POINTS = ("temporary-before", "rename-before", "rename-after")
WINDOW_POINTS = ("window-before", "window-after")


def sweep(soak: Soak) -> None:
    """The engine dies at each point of each frame and window, the broker at each write and each message.

    A point of the broker is counted up until three runs do not reach it any more: how many writes and messages a job
    takes depends on what falls into one batch.
    """
    soak.broker.start(policy={"attempts": 10_000}).kill()
    for point, step in [*((point, 1) for point in FRAME_POINTS), *((point, 4) for point in WINDOW_POINTS)]:
        for frame in FRAMES[::step]:
            swept(soak, f"{point}@{frame}")
        soak.tell()
    for point in BROKER_POINTS:
        count, missed = 1, 0
        while missed < 3:
            missed = 0 if swept(soak, f"{point}:{count}") else missed + 1
            count += 1
        soak.tell()


def swept(soak: Soak, case: str) -> bool:
    """One job with one death, and its end after a restart without it. Whether the point was reached."""
    key, out = case.replace("@", ".").replace(":", "."), soak.folder / f"out-{case}"
    fields = {"frames": f"{FRAMES[0]}-{FRAMES[-1]}", "out": f"{out}/m.####.exr", "priority": "batch"}
    soak.broker.again({"MATTEBRIDGE_CRASH_AT": case})
    events: dict[int, Any] = {}
    end = time.monotonic() + PATIENCE_S
    while not has_died(soak) and not ended(events) and time.monotonic() < end:
        soak.follow(key, fields, events)
    died = has_died(soak)
    soak.broker.kill()
    before = {path: path.stat().st_mtime_ns for path in out.glob("m.*")}
    for path in before:
        if path.read_bytes() != content(int(path.name.split(".")[1])):
            soak.broken.append(f"{key}: {path.name} is partial after the crash")
    soak.broker.again()
    while not ended(events):
        soak.follow(key, fields, events)
    soak.check(key, FRAMES, out, events)
    if any(path.stat().st_mtime_ns != stamp for path, stamp in before.items()):
        soak.broken.append(f"{key}: a finished file was written again")
    soak.broker.kill()
    shutil.rmtree(out)
    soak.tally["points swept" if died else "points not reached any more"] += 1
    return died


def has_died(soak: Soak) -> bool:
    """Whether the server or its engine came to its end at the named point."""
    with contextlib.suppress(OSError):
        return (soak.alive() and soak.broker.metrics()["mattebridge_engine_deaths_total"] > 0) or not soak.alive()
    return not soak.alive()


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    soak = Soak(folder, 0, 0)
    try:
        sweep(soak)
        return soak.verdict()
    finally:
        soak.broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
