"""A job in the caller's hands: iterate its events, wait for its end, cancel it from any thread."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional

from .download import Downloader
from .errors import Cancelled, JobTimeout, MatteBridgeError, UsageError
from .messages import (
    TERMINAL,
    Accepted,
    CancelledEvent,
    Credit,
    Done,
    Event,
    Failed,
    FrameDone,
    Give,
    JobRequest,
    Progress,
)
from .planes import Planes
from .upload import Uploader

WAIT_SLICE_S = 1.0


def refuse_in_a_fork(pid: int) -> None:
    """Raises `UsageError` where this is not the process ``pid`` that connected: the IO thread stayed behind in that."""
    if os.getpid() != pid:
        raise UsageError(
            "this client was connected before the process forked, and cannot be used in the child",
            remedy="Connect in the child: Client.connect(), then client.attach(key) for a job of the parent.",
        )


class Job:
    """One submitted job. Made by `Client.submit`, `Client.matte` and `Client.attach`.

    Every numbered event is kept, so that several threads may iterate at once and each sees all of them, in order. Of
    PROGRESS only the newest is kept: a slow reader skips, it never lags. For deliveries through the socket a FRAME
    event comes when its file is in place here, so it may come after an event with a higher number.

    ``plan`` is the frozen plan as JSON once a plan job is done; ``results`` holds what delivery "planes" brought, by
    role and frame, unless a callback took it.
    """

    def __init__(self, key: str, request: Optional[JobRequest], cancel: Callable[[str], None]) -> None:
        self.key = key
        self.request = request
        self.plan = b""
        self.results: dict[tuple[str, int], Planes] = {}
        self._ask_cancel = cancel
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._progress: Optional[Progress] = None
        self._progress_count = 0
        self._outcome: Any = None
        self._accepted = False
        self._uploader: Optional[Uploader] = None
        self._downloader: Optional[Downloader] = None

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not."""
        return self._outcome is not None

    @property
    def frames(self) -> dict[int, FrameDone]:
        """The frames that are finished so far."""
        with self._changed:
            return {event.frame: event for event in self._events if isinstance(event, FrameDone)}

    def events(self, timeout_s: Optional[float] = None) -> Iterator[Event]:
        """Every event from the first, waiting for the next, until after the terminal one; `Progress` in between.

        Neither leaving the loop nor Ctrl-C in it cancels the job: only `cancel` does.
        Raises `ServerError` (or the reason) when the job is lost to this client, and `JobTimeout` when nothing came
        for ``timeout_s``. A job that failed ends with its `Failed` event: only `wait` turns that into an exception.
        """
        seen, progress_seen = 0, 0
        while True:
            with self._changed:
                arrived = self._wait_for(functools.partial(self._is_news, seen, progress_seen), timeout_s)
                fresh, progress = self._events[seen:], self._progress
                progress_is_new, progress_seen = self._progress_count > progress_seen, self._progress_count
                outcome = self._outcome
            if not arrived:
                raise JobTimeout(f"nothing was heard of the job for {timeout_s:g} s")
            seen += len(fresh)
            yield from fresh
            if outcome is not None and seen == len(self._events):
                if isinstance(outcome, MatteBridgeError):
                    raise outcome
                return
            if progress_is_new and progress is not None:
                yield progress

    def wait(self, timeout_s: Optional[float] = None) -> Done:
        """Block until the end. Returns `Done`; raises what the job failed with, `Cancelled`, or `JobTimeout`.

        After `JobTimeout` the job goes on; cancel it, or wait again.
        """
        with self._changed:
            if not self._wait_for(lambda: self._outcome is not None, timeout_s):
                raise JobTimeout(f"the job did not end within {timeout_s:g} s", remedy="Wait again, or cancel it.")
            outcome = self._outcome
        if isinstance(outcome, Done):
            return outcome
        if isinstance(outcome, Failed):
            raise outcome.error.exception()
        if isinstance(outcome, CancelledEvent):
            kept = f"; {outcome.written} frames that it had finished are kept" if outcome.written else ""
            raise Cancelled(f"the job was cancelled{kept}", details={"written": outcome.written})
        raise outcome

    def cancel(self) -> None:
        """Ask for the job to be stopped, from any thread; returns at once. `wait` then raises `Cancelled`."""
        self._ask_cancel(self.key)

    # -- for the client: called on its IO thread, and on the transfer threads ---------------------------------------

    def _is_news(self, seen: int, progress_seen: int) -> bool:
        return len(self._events) > seen or self._progress_count > progress_seen or self._outcome is not None

    def _carry(self, uploader: Optional[Uploader], downloader: Optional[Downloader]) -> None:
        self._uploader, self._downloader = uploader, downloader

    def _arrived(self, event: Event, blobs: tuple[bytes, ...]) -> None:
        if self._downloader is not None and not isinstance(event, Progress):
            self._downloader.take(event, blobs)
        else:
            self._tell(event, blobs)

    def _tell(self, event: Event, blobs: tuple[bytes, ...]) -> None:
        with self._changed:
            if self._outcome is not None:
                return
            if isinstance(event, Progress):
                self._progress, self._progress_count = event, self._progress_count + 1
            else:
                self._events.append(event)
                if isinstance(event, TERMINAL):
                    self.plan = blobs[0] if blobs else b""
                    self._outcome = event
            self._changed.notify_all()
        if isinstance(event, TERMINAL):
            self._close_transfers()

    def _transfer(self, message: Any, blobs: tuple[bytes, ...], epoch: int) -> None:
        if isinstance(message, Accepted):
            with self._changed:
                self._accepted = True
                self._changed.notify_all()
            if self._uploader is not None:
                self._uploader.begin(message, epoch)
            if self._downloader is not None:
                self._downloader.begin(epoch)
        elif isinstance(message, Credit) and self._uploader is not None:
            self._uploader.credited(message.add_bytes, epoch)
        elif isinstance(message, Give) and self._downloader is not None:
            self._downloader.take(message, blobs, epoch)

    def _keep(self, role: str, frame: int, planes: Planes) -> None:
        self.results[role, frame] = planes

    def _lost(self, error: MatteBridgeError) -> None:
        with self._changed:
            if self._outcome is None:
                self._outcome = error
            self._changed.notify_all()
        self._close_transfers()

    def _wait_for_answer(self) -> None:
        """Until the server took the job, put it off or refused it (then the reason is raised)."""
        with self._changed:
            self._wait_for(lambda: self._accepted or self._progress_count > 0 or self._outcome is not None, None)
            if isinstance(self._outcome, MatteBridgeError):
                raise self._outcome

    def _wait_for(self, predicate: Callable[[], bool], timeout_s: Optional[float]) -> bool:
        """`Condition.wait_for` in slices: on Windows a wait without end cannot be interrupted with Ctrl-C."""
        refuse_in_a_fork(self._pid)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = WAIT_SLICE_S if deadline is None else min(WAIT_SLICE_S, deadline - time.monotonic())
            if self._changed.wait_for(predicate, max(0.0, left)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def _close_transfers(self) -> None:
        if self._uploader is not None:
            self._uploader.close()
        if self._downloader is not None:
            self._downloader.close()
