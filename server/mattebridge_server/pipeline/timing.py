"""How long each stage of a job took, and how much memory the process reached: the figures of the job's report."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Stages:
    """Seconds and calls by stage, added up over threads. Stages overlap: their sum may exceed the wall time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = defaultdict(float)
        self.started = time.monotonic()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to ``stage``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self._seconds[stage] += took

    def facts(self) -> dict[str, float]:
        """``seconds_<stage>`` and ``seconds_total``, rounded to a millisecond."""
        with self._lock:
            facts = {f"seconds_{stage}": round(value, 3) for stage, value in sorted(self._seconds.items())}
        facts["seconds_total"] = round(time.monotonic() - self.started, 3)
        return facts


class Pace:
    """Frames per second and time left, from the frames finished so far; the first is not counted (it loads things)."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._first = 0.0
        self._fps = 0.0

    def tick(self) -> None:
        """One more frame is finished."""
        self.done += 1
        now = time.monotonic()
        if self.done == 1:
            self._first = now
        elif now > self._first:
            self._fps = (self.done - 1) / (now - self._first)

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def eta_s(self) -> float:
        return (self.total - self.done) / self._fps if self._fps else 0.0


def peak_memory_bytes() -> int:
    """The process's largest resident size so far; 0 where the platform does not tell (Windows)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would begin at the peak of the process that started this one
        return int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def host_memory_bytes() -> int:
    """This machine's main memory; on Windows, where nothing tells it, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 1 << 42
