"""What the scheduler is told, remembers and answers: plain values, explained at the head of scheduler.py."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from mattebridge.errors import EngineFailed, MatteBridgeError, PoisonFrame

JobState = Literal["uploading", "queued", "running", "preempting", "draining", "cancelling"]
EngineState = Literal["down", "starting", "idle", "busy", "killed"]
BEFORE_FIRST_WINDOW = -1


@dataclass(frozen=True)
class Policy:
    """Limits and times, seconds. ``engine_lost_s`` without a beat is a hang; a long step that beats is not."""

    queue_jobs: int = 256
    client_jobs: int = 64
    ageing_s: float = 600.0
    attempts: int = 3
    start_attempts: int = 5
    backoff_s: float = 0.5
    backoff_longest_s: float = 30.0
    stable_s: float = 10.0
    engine_start_s: float = 300.0
    engine_lost_s: float = 30.0
    cancel_grace_s: float = 20.0


# -- instructions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Give the job to the engine. ``attempt`` counts its starts from 1."""

    engine: str
    key: str
    attempt: int


@dataclass(frozen=True)
class Interrupt:
    """Ask the engine to stop the job at its next step. ``reason``: cancel, preempt or drain."""

    engine: str
    key: str
    reason: str


@dataclass(frozen=True)
class Requeue:
    """The job waits again; its engine gave it back or died. ``blamed`` is the window held against it, if any."""

    key: str
    blamed: int | None = None


@dataclass(frozen=True)
class End:
    """The job is over. ``outcome``: done, failed, cancelled."""

    key: str
    outcome: str
    error: MatteBridgeError | None = None


@dataclass(frozen=True)
class StartEngine:
    """Start the engine's process."""

    engine: str


@dataclass(frozen=True)
class KillEngine:
    """Kill the engine's process; its death is reported as for any other."""

    engine: str
    why: str


Instruction = Run | Interrupt | Requeue | End | StartEngine | KillEngine


@dataclass(frozen=True)
class Refusal:
    """Answer to a submit that found no place."""

    depth: int
    limit: int
    retry_after_s: float


# -- state ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A picture that an engine reads."""

    file: str
    frame: int


@dataclass
class Job:
    """One unfinished job. ``ran_s`` is time spent running before this run.

    ``windows`` counts the engine's deaths by the window that it ran, ``pictures`` (since this server's start) by the
    pictures that it was reading.
    """

    key: str
    client: str
    batch: bool
    submitted: float
    rank: tuple[float, int]
    state: JobState = "queued"
    queue_timeout_s: float = 0.0
    run_timeout_s: float = 0.0
    engine: str = ""
    attempt: int = 0
    started: float | None = None
    ran_s: float = 0.0
    window: int = BEFORE_FIRST_WINDOW
    frames: tuple[int, ...] = ()
    windows: dict[int, int] = field(default_factory=dict)
    pictures: Counter[Picture] = field(default_factory=Counter)
    error: MatteBridgeError | None = None
    stop_by: float | None = None


def poison(job: Job, reason: str, attempts: int) -> MatteBridgeError:
    """What is to blame: the window that was being run at so many deaths, the pictures that were being read, or both."""
    killers = [picture for picture, deaths in job.pictures.items() if deaths >= attempts]
    ran = job.window != BEFORE_FIRST_WINDOW and job.windows[job.window] >= attempts
    said = [f"the engine died {attempts} times"]
    if ran and job.frames:
        said.append(f"on frames {job.frames[0]} to {job.frames[-1]}")
    elif ran:
        said.append(f"on window {job.window}")
    if killers:
        said.append(f"while it was reading {' or '.join(picture.file for picture in killers)}")
    elif not ran:
        return EngineFailed(f"{said[0]} before the job's first frame: {reason}")
    file, frame = (killers[0].file, killers[0].frame) if killers else ("", next(iter(job.frames), None))
    return PoisonFrame(f"{' '.join(said)}: {reason}", file=file, frame=frame)


@dataclass
class Engine:
    """One engine child as the scheduler sees it.

    ``failures`` are deaths since it was last stable: they set the pause. ``failed_starts`` are those in a row that came
    before it was ready: they say when to stop hoping.
    """

    name: str
    state: EngineState = "down"
    job: str = ""
    since: float = 0.0
    heard: float = 0.0
    start_at: float | None = 0.0
    came_up: bool = False
    failures: int = 0
    failed_starts: int = 0
    restarts: int = 0
    blameless: bool = False
