"""What the broker knows of each job, its numbered events and who follows it. Every change of it is journaled.

Ended jobs stay as short records so that a key keeps its meaning; the journal has their events. `JobBook.prune` forgets
the oldest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mattebridge.errors import MatteBridgeError
from mattebridge.messages import (
    TERMINAL,
    CancelledEvent,
    Done,
    ErrorInfo,
    Failed,
    FrameDone,
    JobInfo,
    JobRequest,
    Progress,
    Queued,
    Started,
    Warning_,
)

from . import journal
from .decode import decode_event, decode_request, encode, encode_request
from .effects import Forget, Offer, Outbox, Peer, SendLast
from .journal import EventRow, JobRow, ResultRow
from .requests import PathBack, through_socket

log = logging.getLogger("mattebridge.broker")

ENDED = frozenset(("done", "failed", "cancelled"))
PROGRESS_EVERY_S = 0.1


@dataclass
class Record:
    """One job. ``since`` is when its last watcher left (loop time; None while it has one).

    ``written`` has the key of each frame. ``stored`` and ``refused`` are uploaded pictures by ``role/frame``: their
    names, and why they were not taken.
    """

    key: str
    request: JobRequest
    digest: bytes
    client: str
    owner: str
    user: str
    host: str
    submitted_at: float
    ended_at: float = 0.0
    state: str = "queued"
    plan: bytes = b""
    last: int = 0
    frames_total: int = 0
    started: bool = False
    written: dict[int, str] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    error: ErrorInfo | None = None
    watchers: set[Peer] = field(default_factory=set)
    since: float | None = None
    stored: dict[str, str] = field(default_factory=dict)
    storing: int = 0
    refused: dict[str, MatteBridgeError] = field(default_factory=dict)
    puts_done: bool = False
    results: dict[tuple[str, int], ResultRow] = field(default_factory=dict)
    taken: set[tuple[str, int]] = field(default_factory=set)
    frames_done: int = 0
    progressed: float = 0.0
    position: int = -1
    path_back: PathBack = field(default_factory=PathBack)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def leased(self) -> bool:
        """Whether the job ends with its client: somebody waits for it at a screen."""
        return self.request.priority == "interactive"

    def info(self, position: int = 0) -> JobInfo:
        request = self.request
        return JobInfo(
            key=self.key,
            state=public_state(self.state),
            kind=request.kind,
            label=request.label,
            user=self.user,
            host=self.host,
            model=request.model,
            priority=request.priority,
            position=position,
            frames_total=self.frames_total,
            frames_done=self.frames_done,
            submitted_at=self.submitted_at,
            out=request.out,
            error=self.error,
        )


def public_state(state: str) -> str:
    """A job's state in the protocol's words: a job that is being set aside still runs."""
    return "running" if state in ("preempting", "draining") else state


def body_digest(request: JobRequest, plan: bytes) -> bytes:
    """Two submits with the same digest ask for the same thing."""
    return hashlib.sha256(encode_request(request) + b"\0" + plan).digest()


class JobBook:
    """All jobs of the journal. ``wall`` is the clock of people, seconds since the epoch."""

    def __init__(self, out: Outbox, wall: Callable[[], float]) -> None:
        self.out = out
        self.wall = wall
        self.records: dict[str, Record] = {}
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.stage_s: Counter[str] = Counter()
        self.frames_told = 0
        self.waited_s = 0.0
        self._number = 0
        self._ended_at = 0.0

    # -- making and ending ---------------------------------------------------------------------------------------

    def add(self, key: str, request: JobRequest, plan: bytes, client: str, owner: str, who: tuple[str, str]) -> Record:
        """A new job: journaled, not yet in the queue."""
        state = "uploading" if through_socket(request) else "queued"
        digest = body_digest(request, plan)
        record = Record(key, request, digest, client, owner, *who, submitted_at=self.wall(), state=state, plan=plan)
        self.records[key] = record
        self._number += 1
        row = JobRow(
            key, self._number, encode_request(request), plan, owner, *who, state=state, submitted_at=record.submitted_at
        )
        self.out.change(journal.add_job(row))
        return record

    def set_state(self, record: Record, state: str) -> None:
        record.state = state
        if state in ENDED:  # in the order of their ends, though the clock was set back
            record.ended_at = self._ended_at = max(self.wall(), math.nextafter(self._ended_at, math.inf))
        self.out.change(journal.set_state(record.key, state, record.ended_at if state in ENDED else None))

    def end(
        self,
        record: Record,
        outcome: str,
        error: MatteBridgeError | None = None,
        facts: dict[str, Any] | None = None,
        plan: bytes = b"",
    ) -> None:
        """The job's one terminal event, and its state for good."""
        if record.ended:
            raise ValueError(f"job {record.key} has ended already")
        self.set_state(record, outcome)
        self.counts[outcome] += 1
        if outcome == "done":
            fields = {"written": len(record.written), "kept": len(record.kept), "facts": dict(facts or {})}
            self._count_stages(facts or {})
            self.event(record, Done, (plan,) if plan else (), **fields)
        elif outcome == "failed":
            reason = ErrorInfo.of(error or MatteBridgeError("the job failed without a reason"))
            record.error = record.path_back.error(reason)
            self.failures[record.error.code] += 1
            place = {"job": record.key, "code": record.error.code, "frame": record.error.frame}
            log.error("job failed: %s", record.error.message, extra=place)
            self.event(record, Failed, error=record.error)
        else:
            self.event(record, CancelledEvent, written=len(record.written))
        self.out.change(journal.set_frames(record.key, record.frames_total, record.frames_done))
        record.written, record.kept, record.taken, record.plan = {}, set(), set(), b""
        if through_socket(record.request) and not record.results:
            self.out.do(Forget(record.key))

    # -- events --------------------------------------------------------------------------------------------------

    def event(self, record: Record, kind: Callable[..., Any], blobs: tuple[bytes, ...] = (), **fields: Any) -> None:
        """Number, journal and send one event."""
        record.last += 1
        message = kind(key=record.key, seq=record.last, at=self.wall(), **fields)
        tag, body = encode(message)
        self.out.change(*journal.add_event(EventRow(record.key, record.last, tag, body, blobs[0] if blobs else None)))
        last = isinstance(message, TERMINAL) and through_socket(record.request)
        for peer in record.watchers:
            if last:
                self.out.do(SendLast(peer, record.key, message, blobs))
            else:
                self.out.send(peer, message, blobs)

    def queued(self, record: Record, position: int, ahead: str) -> None:
        record.position = position
        self.event(record, Queued, position=position, ahead=ahead)

    def frame(self, record: Record, frame: int, path: str, digest: str, kept: bool) -> None:
        """One frame is on disk. A frame that was told before (an earlier run wrote it) is not told again."""
        if frame in record.written:
            record.written[frame] = digest  # made again, on a smaller canvas
        if frame in record.written or frame in record.kept:
            return
        _count(record, frame, digest, kept)
        record.frames_done += 1
        self.frames_told += 1
        self.event(record, FrameDone, frame=frame, path=record.path_back(path), digest=digest, kept=kept)

    def warning(self, record: Record, code: str, message: str, frame: int | None = None) -> None:
        self.event(record, Warning_, code=code, message=record.path_back(message), frame=frame)

    def progress(self, now: float, record: Record, **fields: Any) -> None:
        """Tell watchers how far it is, at most ten times a second."""
        if now - record.progressed >= PROGRESS_EVERY_S:
            record.progressed = now
            for peer in record.watchers:
                self.out.send(peer, Progress(key=record.key, **fields))

    def _count_stages(self, facts: dict[str, Any]) -> None:
        """Add up the engine's ``seconds_STAGE`` figures."""
        for name, value in facts.items():
            if name.startswith("seconds_") and isinstance(value, (int, float)):
                self.stage_s[name.removeprefix("seconds_")] += value  # type: ignore[assignment]

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, record: Record, row: ResultRow) -> None:
        """A picture lies in the spool: remembered until its client took it. A later run tells it again: no news."""
        if (row.role, row.frame) in record.taken or (row.role, row.frame) in record.results:
            return
        record.results[row.role, row.frame] = row
        self.out.change(journal.add_result(row))
        self.out.do(*(Offer(peer, row) for peer in record.watchers))

    def taken(self, record: Record, role: str, frame: int) -> ResultRow | None:
        row = record.results.pop((role, frame), None)
        if row is not None:
            record.taken.add((role, frame))
            self.out.change(journal.drop_result(record.key, role, frame))
        return row

    # -- watchers ------------------------------------------------------------------------------------------------

    def watch(self, record: Record, peer: Peer) -> None:
        record.watchers.add(peer)
        record.since = None

    def unwatch(self, now: float, record: Record, peer: Peer) -> None:
        record.watchers.discard(peer)
        if not record.watchers and record.since is None:
            record.since = now

    # -- start and forgetting ------------------------------------------------------------------------------------

    def restore(self, now: float, rows: Iterable[JobRow], events: Callable[[str], Iterable[EventRow]]) -> None:
        """Bring back what the journal has. ``events`` reads a job's events: all of an unfinished one, else the last."""
        for row in rows:
            request = decode_request(row.body)
            record = Record(
                row.key,
                request,
                body_digest(request, row.plan),
                client=row.client,
                owner=row.client,
                user=row.user,
                host=row.host,
                submitted_at=row.submitted_at,
                ended_at=row.ended_at or 0.0,
                state=row.state,
                plan=b"" if row.ended_at is not None else row.plan,
                last=row.last,
                frames_total=row.frames_total,
                frames_done=row.frames_done,
                since=now,
            )
            for event in events(row.key):
                _recall(record, decode_event(event.tag, event.body))
            self.records[row.key] = record
            self._number = max(self._number, row.number)
            self._ended_at = max(self._ended_at, record.ended_at)

    def forget(self, key: str) -> None:
        """Drop an ended job with its events, and its spool where it has one."""
        if through_socket(self.records.pop(key).request):
            self.out.do(Forget(key))
        self.out.change(*journal.forget_job(key))

    def blame(self, record: Record, windows: dict[int, int]) -> None:
        """Keep the deaths by window over a restart of the broker."""
        self.out.change(journal.set_windows(record.key, json.dumps(windows)))


def _count(record: Record, frame: int, digest: str, kept: bool) -> None:
    if kept:
        record.kept.add(frame)
    else:
        record.written[frame] = digest


def _recall(record: Record, event: Any) -> None:
    record.started = record.started or isinstance(event, Started)
    if isinstance(event, FrameDone) and not record.ended:
        _count(record, event.frame, event.digest, event.kept)
        record.frames_done = len(record.kept) + len(record.written)
    elif isinstance(event, Failed):
        record.error = event.error
