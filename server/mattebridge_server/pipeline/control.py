"""The line between a running job and whoever asked for it: what happens goes out, a wish to stop comes in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec

Emit = Callable[["msgspec.Struct"], None]


class Stopped(BaseException):
    """Raised inside a job at its next step once somebody asked it to stop. ``reason``: cancel, preempt or drain.

    Not an `Exception`, so that no model's own error handling can swallow it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"stopped: {reason}")
        self.reason = reason


class Control:
    """Carries a stop request into a job and tells how long its present step has run. Thread-safe.

    A cancel takes effect at the next checkpoint, wherever that is. A preemption or a drain waits for the next boundary
    between windows, so that no window is computed twice for the sake of politeness.
    """

    def __init__(self) -> None:
        self._reason = ""
        self._lock = threading.Lock()
        self._stage = ""
        self._since = 0.0
        self._told: Callable[[str], None] | None = None

    def tell(self, told: Callable[[str], None]) -> None:
        """Call ``told`` with the name of every step inside a window as it begins, on the thread that runs it."""
        self._told = told

    def stop(self, reason: str) -> None:
        """Ask the job to stop; a cancel overrides a preemption, never the other way round."""
        with self._lock:
            if self._reason != "cancel":
                self._reason = reason

    def checkpoint(self, stage: str) -> None:
        """Called by the job before each step. Raises `Stopped` after a cancel."""
        self._enter(stage)
        if self._reason == "cancel":
            raise Stopped("cancel")
        if self._told is not None:
            self._told(stage)

    def boundary(self, stage: str) -> None:
        """Called by the job between windows. Raises `Stopped` for any reason."""
        self._enter(stage)
        if self._reason:
            raise Stopped(self._reason)

    def finished(self) -> None:
        """The job has ended; no step is running."""
        self._stage, self._since, self._told = "", 0.0, None

    @property
    def stage(self) -> str:
        return self._stage

    @property
    def busy_s(self) -> float:
        """Seconds since the present step began; 0 when none is running."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def _enter(self, stage: str) -> None:
        self._stage, self._since = stage, time.monotonic()
