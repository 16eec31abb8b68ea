"""One task: a chunk of a shot, matted through the session's server or in this process.

A task is safe to repeat. Frames that are on disk with the right key are kept, so that a second run makes only what is
missing; a job that was cancelled, or lost its server, leaves whole frames behind.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from mattebridge.client import Client
from mattebridge.errors import Cancelled, MatteBridgeError, ServerError, UsageError
from mattebridge.frames import FrameSet
from mattebridge.messages import TERMINAL, Done, JobRequest
from mattebridge.rendezvous import read_alive
from mattebridge.settings import Settings

from ..site import Site, find_site
from .chunking import evened_chunks
from .report import Report
from .session import Recipe, Started, begin, ensure, last_words, session_settings
from .shot import FarmShot, mapped

Tell = Callable[[object], None]

WARM_UP = "plan"
"""A job of this kind under the frozen plan loads the model and looks at one header: it warms a server, and no more."""


def start_session(shot: FarmShot, session: Path, recipe: Recipe, report: Report) -> Started:
    """Start the session's server, have it load the model and agree to the plan. Raises what it refuses the plan with.

    Whatever was raised, `session.end` takes away what was started.
    """
    request = replace(shot.request, kind=WARM_UP, frames=shot.plan.frames)
    with _signals() as stop, _last_words(report, session):
        started = begin(session, recipe)
        report.status(f"loading {shot.plan.model}")
        with Client.connect(settings=session_settings(session)) as client:
            job = client.submit(request, shot.text)
            stop.act = job.cancel
            job.wait()
    return started


def run_task(
    shot: FarmShot, frames: FrameSet, session: Path | None, recipe: Recipe, report: Report, host: Settings | None = None
) -> Done:
    """Matte ``frames`` on the session's server, else on the one that ``host`` names, else in this process.

    ``host`` with the server ``auto`` means the one that runs here, if there is one. Raises the typed error that the job
    ended with.
    """
    request = _asked(shot, frames)
    ended: list[bool] = []

    def tell(event: object) -> None:
        ended.extend([True] * isinstance(event, TERMINAL))
        report.event(event)

    with _signals() as stop, _last_words(report, session):
        try:
            if session is not None:
                report.status(f"on the server of this session (process {ensure(session).server.pid})")
                return _there(request, shot.text, session_settings(session), tell, stop)
            if host is not None and (host.server != "auto" or read_alive(host.runtime_dir)):
                report.status("on the server of this host" if host.server == "auto" else f"on {host.server}")
                return _there(request, shot.text, host, tell, stop)
            here = on_this_machine(shot)  # a server does that itself
            return _here(_asked(here, frames), here.text, recipe, tell, stop)
        except MatteBridgeError as error:
            error.details["told"] = bool(ended)
            raise


def on_this_machine(shot: FarmShot) -> FarmShot:
    """The shot as the site's path maps name its folders here. Raises what `find_site` and `mapped` raise."""
    site = _site()
    return mapped(shot, Site.parse(site).path_map) if site else shot


def frames_of_index(shot: FarmShot, chunk: int, index: int) -> FrameSet:
    """The ``index``-th chunk, counted from 0, as array jobs count. Raises `UsageError` beyond the last."""
    chunks = evened_chunks(shot.frames, chunk)
    if not 0 <= index < len(chunks):
        raise UsageError(
            f"there is no chunk {index}: {shot.frames} in chunks of at most {chunk} is {len(chunks)}, counted from 0",
            remedy=f"Give the array job the indices 0-{len(chunks) - 1}.",
        )
    return chunks[index]


def frames_from(shot: FarmShot, chunk: int, first: int) -> FrameSet:
    """The chunk that begins with frame ``first``, as OpenCue counts. Raises `UsageError` for no such frame."""
    if first not in shot.frames:
        raise UsageError(f"frame {first} is not one of {shot.frames}")
    begin = list(shot.frames).index(first)
    return shot.frames[begin : begin + chunk]


def _asked(shot: FarmShot, frames: FrameSet) -> JobRequest:
    return replace(shot.request, frames=str(frames), shot=shot.plan.frames)


def _site() -> str:
    return find_site(Settings.from_environment().site_file, {})


def _there(request: JobRequest, plan: bytes, settings: Settings, tell: Tell, stop: _Stop) -> Done:
    with Client.connect(settings=settings) as client:
        job = client.submit(request, plan)
        stop.act = job.cancel
        for event in job.events():
            tell(event)
        return job.wait()


def _here(request: JobRequest, plan: bytes, recipe: Recipe, tell: Tell, stop: _Stop) -> Done:
    # The stages take a second to import, and a task whose session has a server runs none of them.
    from ..engine.local import run_local

    stop.act = stop.asked.set
    return run_local(
        request,
        plan,
        tell,
        stop.asked.is_set,
        device=recipe.device,
        threads=recipe.threads,
        folders=recipe.models_folders,
        site=_site(),
    )


@contextmanager
def _last_words(report: Report, session: Path | None) -> Iterator[None]:
    """Let a failure of the session's server be followed by the end of its log, which goes with the session's folder."""
    try:
        yield
    except ServerError:
        for line in last_words(session) if session else ():
            report.note(line)
        raise


class _Stop:
    """What a signal does: ``act``, which ends the job in good order; without a job, and the second time, leave."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.act: Callable[[], None] | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        again = self.asked.is_set()
        self.asked.set()
        if again or self.act is None:
            raise Cancelled(f"stopped by {signal.Signals(number).name}")
        self.act()


@contextmanager
def _signals() -> Iterator[_Stop]:
    """SIGTERM and Ctrl-C cancel the job and wait for its end; the second one leaves at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
