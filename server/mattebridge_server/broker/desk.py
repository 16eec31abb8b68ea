"""The side of the broker that faces clients: every verb of the protocol, decided here. No IO, no clock.

`received` takes the parts of one multipart; what follows from it lies in the outbox. A peer that never said HELLO gets
NEED_HELLO and nothing else, whatever it sends.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mattebridge import messages as m
from mattebridge.errors import AuthRefused, InputError, MatteBridgeError, ProtocolError, Refused

from .checks import Checks
from .decode import Malformed, Received, decode, fitting
from .effects import Leave, Offer, Outbox, Peer, Replay
from .floor import Floor
from .jobs import JobBook, Record, body_digest, public_state
from .pixels import Pixels
from .requests import for_server, model_problem
from .session import Session, Sessions

log = logging.getLogger("mattebridge.broker")

LIST_SPARE_BYTES = 32 * 1024
"""Room in a header beside its longest list."""


@dataclass(frozen=True)
class About:
    """What the server says of itself."""

    boot_id: str
    version: str
    host: str
    pid: int
    started_at: float
    lease_s: float = 30.0
    upload_lease_s: float = 3600.0


@dataclass
class Desk:
    """See the head of this file. ``stopping`` is set by STOP and read by the shell ("" no, "drain", "now")."""

    about: About
    limits: m.Limits
    sessions: Sessions
    book: JobBook
    floor: Floor
    out: Outbox
    pixels: Pixels
    checks: Checks
    refused: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    stopping: str = ""
    _describing: list[tuple[Peer, m.Describe]] = field(default_factory=list)

    # -- in --------------------------------------------------------------------------------------------------------

    def received(self, now: float, peer: Peer, parts: Sequence[bytes], admin: bool) -> None:
        """One multipart of a client. ``admin`` says whether its connection may stop the server."""
        displaced = self.sessions.displaced(peer)
        if displaced is not None:
            self.gone(now, displaced)
        session = self.sessions.heard(now, peer)
        if session is not None:
            session.admin = admin  # the allow-list may have changed since HELLO
        try:
            received = decode(parts)
        except Malformed as error:
            self.refused[error.kind] += 1
            if session is None:
                self.out.send(peer, self.sessions.need_hello())
            else:
                remedy = "Correct that value." if error.kind == "value" else ""
                refusal = ProtocolError(f"malformed message: {error}", remedy=remedy)
                self.out.send(peer, m.Rejected(error.request, m.ErrorInfo.of(refusal)))
            return
        message = received.message
        self.answered[type(message).__name__] += 1
        if isinstance(message, m.Hello):
            self._hello(now, peer, message, admin)
        elif session is None:
            self.out.send(peer, self.sessions.need_hello())
        else:
            self._dispatch(now, session, received)

    def _dispatch(self, now: float, session: Session, received: Received) -> None:
        message, peer = received.message, session.peer
        try:
            if isinstance(message, m.Ping):
                self.out.send(peer, m.Pong(message.number, self.floor.busy_s()))
            elif isinstance(message, m.Describe):
                self._describe(peer, message)
            elif isinstance(message, m.Check):
                self.checks.ask(peer, message, received.blobs)
            elif isinstance(message, m.Status):
                self._status(peer, message, now)
            elif isinstance(message, m.Submit):
                self._submit(now, session, message, received.blobs)
            elif isinstance(message, m.Resume):
                self._resume(session, message)
            elif isinstance(message, m.Cancel):
                self._cancel(now, session, message)
            elif isinstance(message, m.Stop):
                self._stop(session, message)
            elif isinstance(message, (m.Credit, m.Put, m.PutsDone, m.Taken)):
                self.pixels.received(now, session, self._known(session, message.key), message, received.blobs)
        except Exception as error:
            if not isinstance(error, MatteBridgeError):  # a fault of ours: who asked hears of it, and all others go on
                log.exception("a %s message failed", type(message).__name__)
                error = MatteBridgeError(f"the server failed: {type(error).__name__}: {error}")
            self.refused[error.code] += 1
            self.out.send(peer, m.Rejected(getattr(message, "request", 0), m.ErrorInfo.of(error)))

    def _answer(self, peer: Peer, message: m.Describe) -> None:
        session = self.sessions.find(peer)
        if session is not None:
            self._dispatch(0.0, session, Received(message))

    def gone(self, now: float, peer: Peer) -> None:
        """The connection is lost: its jobs are no longer watched by it."""
        session = self.sessions.remove(peer)
        self.out.do(Leave(peer))
        for key in session.keys if session is not None else ():
            if key in self.book.records:
                self.book.unwatch(now, self.book.records[key], peer)

    def models_told(self) -> None:
        """Answer who asked for the models before an engine had told them, once one has or none will."""
        if self._describing and (self.floor.models() or self.state() != "starting"):
            waiting, self._describing = self._describing, []
            for peer, message in waiting:
                self._answer(peer, message)

    def tick(self, now: float) -> None:
        """Beats, leases and queue positions."""
        pings, lost = self.sessions.tick(now)
        for peer, ping in pings:
            self.out.send(peer, ping)
        for peer in lost:
            self.gone(now, peer)
        self.models_told()
        for key in list(self.floor.scheduler.jobs):
            record = self.book.records[key]
            if record.since is not None and now - record.since >= self._lease_s(record):
                record.since = None
                self.floor.apply(self.floor.scheduler.cancel(now, key))
        for key, position in self.floor.scheduler.positions().items():
            record = self.book.records[key]
            if position != record.position:
                record.position = position
                for peer in record.watchers:
                    self.out.send(peer, m.Progress(key, "queued", position=position))

    def _lease_s(self, record: Record) -> float:
        """How long a job stays that nobody follows: one without its pictures has nobody else to send them."""
        if record.leased:
            return self.about.lease_s
        return self.about.upload_lease_s if record.state == "uploading" else math.inf

    # -- questions -------------------------------------------------------------------------------------------------

    def _hello(self, now: float, peer: Peer, message: m.Hello, admin: bool) -> None:
        self.gone(now, peer)
        answer = self.sessions.hello(now, peer, message, admin)
        if isinstance(answer, m.Welcome):
            answer = replace(answer, models=tuple(sorted(self.floor.models())))
        self.out.send(peer, answer)

    def _describe(self, peer: Peer, message: m.Describe) -> None:
        """Answer, or keep the question until an engine has told its models: no list is not an empty list."""
        models = self.floor.models()
        if not models and self.state() == "starting":
            self._describing.append((peer, message))
            return
        if message.model:
            problem = model_problem(m.JobRequest("", model=message.model), models, self.floor.site, 0)
            if message.model not in models and problem is not None:
                raise problem
        chosen = [model for name, model in sorted(models.items()) if message.model in ("", name)]
        self.out.send(peer, m.Described(message.request, tuple(chosen)))

    def _status(self, peer: Peer, message: m.Status, now: float) -> None:
        positions = self.floor.scheduler.positions()
        live = [record for record in self.book.records.values() if not record.ended]
        live.sort(key=lambda record: (record.state == "uploading", positions.get(record.key, -1)))
        ended = [record for record in self.book.records.values() if record.ended] if message.finished else []
        ended.sort(key=lambda record: record.ended_at)
        records = [*live, *ended[::-1][: message.limit]]
        jobs = (record.info(positions.get(record.key, 0)) for record in records)
        self.out.send(
            peer,
            m.StatusReport(
                request=message.request,
                state=self.state(),
                boot_id=self.about.boot_id,
                version=self.about.version,
                host=self.about.host,
                pid=self.about.pid,
                uptime_s=round(now - self.about.started_at, 3),
                engines=self.floor.infos(),
                jobs=fitting(jobs, self.limits.header_bytes - LIST_SPARE_BYTES),
            ),
        )

    def state(self) -> str:
        """The server's state: starting until an engine is up, draining once it was asked to stop."""
        if self.floor.scheduler.draining or self.stopping:
            return "draining"
        up = any(engine.state in ("idle", "busy") for engine in self.floor.scheduler.engines.values())
        return "ready" if up else "starting"

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _submit(self, now: float, session: Session, message: m.Submit, blobs: Sequence[bytes]) -> None:
        peer = session.peer
        if message.boot_id != self.about.boot_id:
            self.out.send(peer, self.sessions.need_hello())
            return
        plan = bytes(blobs[0]) if blobs else b""
        record = self.book.records.get(message.key)
        if record is not None:
            self._own(session, record)
            if record.digest != body_digest(message.job, plan):
                text = "the key names a job with another body; a new request needs a new key"
                self.out.send(peer, m.Conflict(message.request, message.key, text))
                return
            self._attach(session, record, message.request, after=0, existing=True)
            return
        if self.state() == "draining":
            raise Refused("the server is stopping and takes no new jobs", remedy="Submit it again when it is back.")
        request = for_server(message.job, self.floor.site)
        problem = model_problem(request, self.floor.models(), self.floor.site, self.floor.budget_bytes())
        if problem is not None:
            raise problem
        full = self.floor.scheduler.admit(session.client)
        if full is not None:
            self.refused["BUSY"] += 1
            self.out.send(peer, m.Busy(message.request, full.retry_after_s, full.depth, full.limit))
            return
        who = (session.hello.user[:200], session.hello.host[:200])
        record = self.book.add(message.key, message.job, plan, session.client, peer.user, who)
        self._attach(session, record, message.request, after=0, existing=False)
        self.floor.enqueue(now, record)

    def _resume(self, session: Session, message: m.Resume) -> None:
        record = self.book.records.get(message.key)
        if record is None:
            error = InputError(
                "the server does not know this job",
                remedy="Submit it again under the same key; finished frames are kept.",
                details={"job_unknown": True},
            )
            raise error
        self._own(session, record)
        self._attach(session, record, message.request, min(message.after, record.last), existing=True)

    def _attach(self, session: Session, record: Record, request: int, after: int, existing: bool) -> None:
        """Follow a job on this connection: ACCEPTED, its events after ``after``, then what it has to fetch."""
        peer, key = session.peer, record.key
        self.book.watch(record, peer)
        session.keys.add(key)
        uploading = record.state == "uploading"
        accepted = m.Accepted(
            request,
            key,
            public_state(record.state),
            last=record.last,
            existing=existing,
            stored=fitting(sorted(record.stored), self.limits.header_bytes - LIST_SPARE_BYTES) if uploading else (),
            credit_bytes=session.grant_uploads(key) if uploading else 0,
        )
        self.out.send(peer, accepted)
        if existing:
            self.out.do(*(Offer(peer, row) for row in record.results.values()))
            self.out.do(Replay(peer, key, after, record.last))

    def _cancel(self, now: float, session: Session, message: m.Cancel) -> None:
        record = self._known(session, message.key)
        if not record.ended:
            self.floor.apply(self.floor.scheduler.cancel(now, record.key))
        self.out.send(session.peer, m.Cancelling(message.request, record.key, public_state(record.state)))

    def _stop(self, session: Session, message: m.Stop) -> None:
        if not session.admin:
            raise AuthRefused(
                "this client may not stop the server",
                remedy="Stop it on its own host, or have the client's key marked 'admin' in the allow-list.",
            )
        self.stopping = "now" if message.now else self.stopping or "drain"
        self.out.send(session.peer, m.Stopping(message.request))

    # -- whose job -------------------------------------------------------------------------------------------------

    def _known(self, session: Session, key: str) -> Record:
        record = self.book.records.get(key)
        if record is None:
            raise InputError("the server does not know this job", details={"job_unknown": True, "key": key})
        self._own(session, record)
        return record

    @staticmethod
    def _own(session: Session, record: Record) -> None:
        if record.owner != session.peer.user and not session.admin:
            raise Refused("the job belongs to another client", details={"key": record.key})
