"""What a server tells of a job: events, numbered per job from 1, kept, sent in order; and progress, which is neither.

Exactly one terminal event ends a job. ``at`` is seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from .values import ErrorInfo, ParamValue


@dataclass(frozen=True)
class Queued:
    """S. ``position`` jobs are ahead; ``ahead`` names the one that runs now (user: label)."""

    key: str
    seq: int
    at: float
    position: int = 0
    ahead: str = ""


@dataclass(frozen=True)
class Started:
    """S. The engine took the job. ``frames`` are to be written, ``fresh`` were found finished and are kept."""

    key: str
    seq: int
    at: float
    frames: int = 0
    fresh: int = 0
    model: str = ""
    device: str = ""
    why: str = ""


@dataclass(frozen=True)
class FrameDone:
    """S. One frame is on disk under its final name. ``digest`` is its key; ``kept`` says that it was there already."""

    key: str
    seq: int
    at: float
    frame: int
    path: str = ""
    digest: str = ""
    kept: bool = False


@dataclass(frozen=True)
class Warning_:
    """S. Something to look at. ``code`` is stable (docs/errors.md); ``frame`` where it belongs to one."""

    key: str
    seq: int
    at: float
    code: str
    message: str
    frame: Optional[int] = None


@dataclass(frozen=True)
class Done:
    """S. Terminal. ``facts`` are flat figures (timings, seam, peak memory, licence …). A plan job's plan is blob 0."""

    key: str
    seq: int
    at: float
    written: int = 0
    kept: int = 0
    facts: dict[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """S. Terminal. What was finished before is kept."""

    key: str
    seq: int
    at: float
    error: ErrorInfo


@dataclass(frozen=True)
class CancelledEvent:
    """S. Terminal."""

    key: str
    seq: int
    at: float
    written: int = 0


@dataclass(frozen=True)
class Progress:
    """S. Not numbered, not kept, at most ten a second. ``done`` of ``total`` frames; ``stage`` is what happens now."""

    key: str
    stage: str
    done: int = 0
    total: int = 0
    frame: Optional[int] = None
    fps: float = 0.0
    eta_s: float = 0.0
    position: int = 0


EVENTS = (Queued, Started, FrameDone, Warning_, Done, Failed, CancelledEvent)
TERMINAL = (Done, Failed, CancelledEvent)
Event = Union[Queued, Started, FrameDone, Warning_, Done, Failed, CancelledEvent, Progress]
"""What `Job.events` yields."""
