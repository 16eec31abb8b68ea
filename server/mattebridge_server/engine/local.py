"""One job in this process, without a server: the same pipeline, told in the same events."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from mattebridge.errors import Cancelled
from mattebridge.messages import CancelledEvent, Done, Failed, FrameDone, JobRequest, Progress, Started, Warning_

from ..media import share_results
from ..models.folders import model_folders
from ..pipeline.control import Control
from ..site import Site
from .host import limit_threads
from .jobs import worker_for
from .shelf import Shelf, parse_device
from .wire import JobEnded, JobFrame, JobProgress, JobStarted, JobWarning, RunJob

POLL_S = 0.1


def run_local(
    request: JobRequest,
    plan: bytes,
    emit: Callable[[Any], None],
    cancelled: Callable[[], bool],
    *,
    device: str = "cpu:0",
    threads: int = 2,
    folders: tuple[str, ...] = (),
    site: str = "",
) -> Done:
    """Run ``request`` here and return its last event; ``emit`` sees every event, also the last one.

    ``cancelled`` is asked ten times a second. A plan job's plan is ``facts["plan"]`` of what is returned. Raises the
    error that the job ended with.
    """
    parsed = Site.parse(site) if site else Site()
    spec = parse_device(device, threads)
    limit_threads(threads)
    share_results(parsed.output.umask_bits, parsed.output.group_id())
    shelf = Shelf(spec, model_folders(folders, os.environ, parsed.models.folders))
    worker = worker_for(shelf, parsed)
    key = uuid.uuid4().hex
    control = Control()
    teller = _Teller(key, emit)
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(control, cancelled, done), name="cancel", daemon=True)
    watch.start()
    try:
        outcome = worker.run(RunJob(key=key, request=parsed.apply_preset(request), plan=plan), teller.tell, control)
    finally:
        done.set()
        watch.join()
        shelf.unload()
    return teller.end(outcome)


def _watch(control: Control, cancelled: Callable[[], bool], done: threading.Event) -> None:
    while not done.wait(POLL_S):
        if cancelled():
            control.stop("cancel")
            return


class _Teller:
    """Pipe messages as a client would hear them. Called from several threads; numbers events under a lock."""

    def __init__(self, key: str, emit: Callable[[Any], None]) -> None:
        self._key, self._emit = key, emit
        self._seq = 0
        self._written = 0
        self._lock = threading.Lock()

    def tell(self, message: msgspec.Struct) -> None:
        with self._lock:
            if isinstance(message, JobProgress):
                self._emit(
                    Progress(
                        self._key,
                        message.stage,
                        message.done,
                        message.total,
                        message.frame,
                        message.fps,
                        message.eta_s,
                    )
                )
            elif isinstance(message, JobStarted):
                self._event(Started, message.frames, message.fresh, message.model, "local", message.why)
            elif isinstance(message, JobFrame):
                self._written += not message.kept
                self._event(FrameDone, message.frame, message.path, message.digest, message.kept)
            elif isinstance(message, JobWarning):
                self._event(Warning_, message.code, message.message, message.frame)

    def end(self, outcome: JobEnded) -> Done:
        """Emit the terminal event; raises the error that it stands for."""
        if outcome.outcome == "done":
            done: Done = self._event(Done, outcome.written, outcome.kept, dict(outcome.facts))
            return replace(done, facts={**done.facts, "plan": outcome.plan.decode()}) if outcome.plan else done
        if outcome.error is None:
            self._event(CancelledEvent, self._written)
            raise Cancelled(f"cancelled after {self._written} frames")
        self._event(Failed, outcome.error)
        raise outcome.error.exception()

    def _event(self, kind: Callable[..., Any], *values: Any) -> Any:
        self._seq += 1
        event = kind(self._key, self._seq, time.time(), *values)
        self._emit(event)
        return event
