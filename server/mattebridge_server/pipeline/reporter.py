"""What a running job says: events for its files, progress at most ten times a second."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..engine.wire import JobFrame, JobProgress, JobResult, JobStarted, JobWarning
from .control import Emit
from .keys import FrameKeys
from .outputs import Outputs
from .timing import Pace

LEAST_PAUSE_S = 0.1


class Reporter:
    """Speaks for one job. Safe to call from the job's threads (``emit`` is)."""

    def __init__(self, key: str, emit: Emit) -> None:
        self._key, self._emit = key, emit
        self._pace = Pace(0)
        self._spooled = False
        self._last = 0.0
        self._frame: int | None = None

    def started(self, frames: int, fresh: int, model: str, why: str = "") -> None:
        """The job has begun."""
        self._emit(JobStarted(key=self._key, frames=frames, fresh=fresh, model=model, why=why))

    def begin(
        self, outputs: Outputs, todo: Sequence[int], keys: FrameKeys, model: str, why: str, spooled: bool
    ) -> None:
        """What is to be done, and every frame that was found finished."""
        self._spooled, self._pace = spooled, Pace(len(todo))
        self.started(len(todo), len(outputs.fresh), model, why)
        for frame in sorted(outputs.fresh):
            files = [(role, str(outputs.path(role, frame))) for role in outputs.inputs.results]
            self._files(frame, files, keys.of(frame), kept=True)

    def written(self, frame: int, files: list[tuple[str, str]], key: str) -> None:
        """A frame is on disk."""
        self._pace.tick()
        self._files(frame, files, key, kept=False)
        if self._due() or self._pace.done == self._pace.total:
            self._matting("matte", frame)

    def window(self, frames: Sequence[int]) -> None:
        """The model turns to these frames."""
        self._frame = frames[0] if frames else None

    def step(self, stage: str) -> None:
        """The model begins a step of its window."""
        if self._pace.total and self._due():
            self._matting(stage, self._frame)

    def stage(self, name: str, total: int, frame: int | None = None) -> None:
        """A step before the first picture: it has got to ``frame``, and nothing is finished of ``total`` pictures."""
        if frame is None or self._due():
            self._emit(JobProgress(key=self._key, stage=name, total=total, frame=frame))

    def warn(self, code: str, message: str, frame: int | None) -> None:
        """Something to look at; ``code`` is stable."""
        self._emit(JobWarning(key=self._key, code=code, message=message, frame=frame))

    def _matting(self, stage: str, frame: int | None) -> None:
        pace = self._pace
        self._emit(
            JobProgress(
                key=self._key,
                stage=stage,
                done=pace.done,
                total=pace.total,
                frame=frame,
                fps=pace.fps,
                eta_s=pace.eta_s,
            )
        )

    def _files(self, frame: int, files: list[tuple[str, str]], key: str, kept: bool) -> None:
        if self._spooled:
            for role, path in files:
                self._emit(JobResult(key=self._key, role=role, frame=frame, name=path.rpartition("/")[2]))
        self._emit(JobFrame(key=self._key, frame=frame, path=files[0][1] if files else "", digest=key, kept=kept))

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < LEAST_PAUSE_S:
            return False
        self._last = now
        return True
