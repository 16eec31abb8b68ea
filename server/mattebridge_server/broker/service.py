"""The broker's shell: one asyncio loop that owns every socket, the journal and the children, and decides nothing.

What clients and engines send goes to the desk and the floor; what these decide lies in the outbox; one task takes the
outbox, commits its changes and then carries out its effects. Everything a client is told has been committed before.
"""

from __future__ import annotations

import asyncio
import logging
import socket as host_socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from mattebridge.errors import AuthRefused, MatteBridgeError, OutputFailed
from mattebridge.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, TERMINAL, ErrorInfo, Rejected, Welcome

from ..crashpoints import reach
from ..engine import wire
from . import effects as do
from .auth import answer_zap, zap_socket
from .checks import Checks
from .config import Config
from .decode import decode_event, encode
from .desk import About, Desk
from .floor import Floor
from .giving import Giving
from .jobs import JobBook
from .journal import Change, Journal
from .metrics import serve_metrics
from .pixels import Pixels
from .recovery import prune, recover
from .requests import through_socket
from .scheduler import Scheduler
from .session import Sessions
from .sockets import Sockets
from .uploads import Spool
from .workers import Engines, PathHelper

log = logging.getLogger("mattebridge.broker")

TICK_S = 0.25
AWAY_S = 1.0
"""After so long without a tick this process was stopped (a suspended farm task, a paused machine), not its engines."""
COMMIT_RETRY_S = 1.0
REPLAY_ROWS = 500


class Service:
    """One broker from start to drained: `bind`, `recover`, `run`, in a running loop. ``heard`` is told of messages."""

    def __init__(self, config: Config, heard: Callable[[], None]) -> None:
        self.config = config
        self.heard = heard
        self.loop = asyncio.get_running_loop()
        now = self.loop.time()
        self.out = do.Outbox()
        self.journal = Journal(config.state_dir)
        self.spool = Spool(config.spool, config.spare_bytes)
        self.book = JobBook(self.out, time.time)
        scheduler = Scheduler(config.policy, config.devices, now)
        self.floor = Floor(scheduler, self.book, self.out, config.site, str(self.spool.folder))
        host = host_socket.gethostname()
        welcome = Welcome(
            PROTOCOL_MAJOR, PROTOCOL_MINOR, config.boot_id, config.version, host, config.limits, config.devices
        )
        sessions = Sessions(welcome, config.limits.beat_s, config.limits.beats_lost)
        about = About(config.boot_id, config.version, host, config.pid, now, config.lease_s)
        checks = Checks(self.floor, self.out)
        pixels = Pixels(sessions, self.book, self.floor, self.out)
        self.desk = Desk(about, config.limits, sessions, self.book, self.floor, self.out, pixels, checks)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets = Sockets(self.context, self._incoming, self._lost)
        self.giving = Giving(self.spool, self._send, self.sockets.busy)
        self.engines = Engines(config, self._from_engine, self._engine_died)
        self.helper = PathHelper(config, self._checked, self._unanswered)
        self.endpoints: list[str] = []
        self.stuck = ""
        """Why nothing can be committed at present; empty while the journal can be written."""
        self._dirty = asyncio.Event()
        self._uploads: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._busy_at = now
        self._metrics: asyncio.Server | None = None
        self._fault: BaseException | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    async def bind(self) -> list[str]:
        """Listen on the local endpoint, every ``--bind`` and the metrics port; the endpoints as they came out."""
        config = self.config
        if config.metrics_port is not None:
            self._metrics = await serve_metrics(self, config.metrics_port)
        self._task(answer_zap(zap_socket(zmq.asyncio.Context(self.context)), config.allowed))
        for endpoint in (config.local, *config.binds):
            keys = None if endpoint.startswith("ipc://") else config.keys
            self.endpoints.append(self.sockets.bind(endpoint, keys))
        return self.endpoints

    def recover(self) -> None:
        """Bring back what the journal has, before anybody is told of this server. Raises `EngineFailed`: damaged."""
        with self.journal.whole():
            recover(self.loop.time(), self.config, self.journal, self.book, self.floor, self.spool)

    async def run(self) -> None:
        """Serve until told to stop and drained. Raises what broke the loop, after the children are gone."""
        self.sockets.listen()
        self.helper.warm()
        for work in (self._flush_forever(), self._tick_forever(), self._prune_forever()):
            self._task(work)
        self._dirty.set()
        await self._stopped.wait()
        await self._close()
        if self._fault is not None:
            raise self._fault

    def stop(self, now: bool = False) -> None:
        """Drain and end; a second call, or ``now``, does not wait for the step that runs."""
        fast = now or self.floor.scheduler.draining
        self.desk.stopping = "now" if fast else "drain"
        self._begin_drain(fast)

    def _begin_drain(self, fast: bool) -> None:
        scheduler = self.floor.scheduler
        if not scheduler.draining:
            log.info("draining: %d jobs are kept for the next start", len(scheduler.jobs))
            self.loop.call_later(self.config.drain_s, self._begin_drain, True)
        self.floor.apply(scheduler.drain(fast))
        self._dirty.set()

    async def _close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.giving.close()
        await self.sockets.close()
        await asyncio.gather(self.engines.close(3.0), self.helper.close())
        self.journal.close()
        self.context.destroy(linger=200)

    # -- in --------------------------------------------------------------------------------------------------------

    def _incoming(self, peer: do.Peer, parts: list[bytes]) -> None:
        self.heard()
        allowed = self.config.allowed
        local = peer.user == do.LOCAL_USER
        if not local and not allowed.allows(peer.user):
            error = AuthRefused("this client's key was taken off the allow-list")
            self.desk.refused[error.code] += 1
            self.desk.gone(self.loop.time(), peer)
            self.out.send(peer, Rejected(0, ErrorInfo.of(error)))
        else:
            self.desk.received(self.loop.time(), peer, parts, admin=local or allowed.admin(peer.user))
        if self.desk.stopping and not self.floor.scheduler.draining:
            self._begin_drain(self.desk.stopping == "now")
        elif self.desk.stopping == "now" and not self.floor.scheduler.drained():
            self._begin_drain(True)
        self._dirty.set()

    def _lost(self, peer: do.Peer) -> None:
        self.desk.gone(self.loop.time(), peer)
        self._dirty.set()

    def _from_engine(self, device: str, message: msgspec.Struct) -> None:
        self.floor.received(self.loop.time(), device, message)
        self.desk.models_told()
        self._dirty.set()

    def _engine_died(self, device: str, why: str) -> None:
        level = logging.INFO if self.floor.scheduler.draining else logging.ERROR
        log.log(level, "engine for %s ended: %s", device, why, extra={"device": device})
        self.floor.died(self.loop.time(), device, why)
        self._dirty.set()

    def _checked(self, answer: wire.JobChecked) -> None:
        self.desk.checks.answered(
            answer.number, answer.problems, answer.warnings, answer.frames, answer.fresh, dict(answer.facts)
        )
        self._dirty.set()

    def _unanswered(self, number: int, why: str) -> None:
        self.desk.checks.unanswered(number, why)
        self._dirty.set()

    # -- time ------------------------------------------------------------------------------------------------------

    async def _tick_forever(self) -> None:
        ticked = self.loop.time()
        while True:
            now = self.loop.time()
            if now - ticked > AWAY_S:
                log.warning("this process was stopped, or held up, for %.1f s", now - ticked)
                self.floor.scheduler.away(now, now - ticked)
            ticked = now
            self.config.allowed.refresh()
            self.desk.tick(now)
            self.floor.apply(self.floor.scheduler.tick(now))
            self._dirty.set()
            self._check_idle(now)
            due = self.floor.scheduler.next_due()
            await asyncio.sleep(TICK_S if due is None else min(max(due - now, 0.01), TICK_S))

    def _check_idle(self, now: float) -> None:
        if self.floor.scheduler.jobs or len(self.desk.sessions):
            self._busy_at = now
        elif self.config.idle_exit_s and now - self._busy_at >= self.config.idle_exit_s:
            log.info("nobody was here for %g s", self.config.idle_exit_s)
            self.stop()

    async def _prune_forever(self) -> None:
        while True:
            await asyncio.sleep(self.config.prune_every_s)
            prune(self.config, self.book, time.time())
            self._dirty.set()

    # -- out -------------------------------------------------------------------------------------------------------

    async def _flush_forever(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            changes, effects = self.out.take()
            if changes:
                await self._commit(changes)
            for effect in effects:
                await self._perform(effect)
            if self.floor.scheduler.drained() and not self.out.effects and not self.out.changes:
                self._stopped.set()

    async def _commit(self, changes: Sequence[Change]) -> None:
        """Make the changes durable, however long the disk refuses them: until then nobody is told anything.

        Raises `OutputFailed` where the disk still refuses once the server is to stop; what was told is on the disk.
        """
        while True:
            try:
                await asyncio.to_thread(self.journal.commit, changes)
            except OutputFailed as error:
                if self.floor.scheduler.draining:
                    raise
                if not self.stuck:
                    log.error("everything waits: %s", error, extra={"code": error.code})
                self.stuck = str(error)
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                if self.stuck:
                    log.info("the journal can be written again; everything goes on")
                self.stuck = ""
                return

    async def _perform(self, effect: do.Effect) -> None:
        if isinstance(effect, do.Send):
            self._send(effect.peer, effect.message, effect.blobs)
        elif isinstance(effect, do.Tell):
            self.engines.tell(effect.engine, effect.message)
        elif isinstance(effect, do.Replay):
            await self._replay(effect)
        elif isinstance(effect, do.Offer):
            self.giving.offer(effect)
        elif isinstance(effect, do.SendLast):
            self.giving.send_last(effect)
        elif isinstance(effect, do.Grant):
            self.giving.grant(effect)
        elif isinstance(effect, do.StorePart):
            self._task(self._store(effect))
        elif isinstance(effect, do.Taken):
            row = effect.result
            await asyncio.to_thread(self.spool.drop_result, row.key, row.role, row.name)
        elif isinstance(effect, do.Forget):
            await self._forget(effect.key)
        elif isinstance(effect, do.Leave):
            self.giving.leave(effect.peer)
            self.sockets.forget(effect.peer)
        elif isinstance(effect, do.Spawn):
            self.engines.spawn(effect.engine)
        elif isinstance(effect, do.Kill):
            self.engines.kill(effect.engine, effect.why)
        else:
            self.helper.ask(effect)

    def _send(self, peer: do.Peer, message: Any, blobs: Sequence[bytes] = ()) -> None:
        reach("event-before-send", getattr(message, "frame", None))
        self.sockets.send(peer, [*encode(message), *blobs])
        reach("event-after-send", getattr(message, "frame", None))

    async def _replay(self, effect: do.Replay) -> None:
        """Events out of the journal, a few hundred at a time; the terminal one waits for the job's pictures."""
        record = self.book.records.get(effect.key)
        after = effect.after
        while record is not None and after < effect.upto:
            upto = min(after + REPLAY_ROWS, effect.upto)
            for row in await asyncio.to_thread(_rows, self.journal, effect.key, after, upto):
                event, blobs = decode_event(row.tag, row.body), (row.blob,) if row.blob else ()
                if isinstance(event, TERMINAL) and through_socket(record.request):
                    self.giving.send_last(do.SendLast(effect.peer, effect.key, event, blobs))
                else:
                    self._send(effect.peer, event, blobs)
            after = upto

    async def _store(self, effect: do.StorePart) -> None:
        """Write one part of an upload; parts of one job in the order they came."""
        put, whole, fault = effect.put, False, None
        async with self._uploads.setdefault(put.key, asyncio.Lock()):
            record = self.book.records.get(put.key)
            if record is not None and not record.ended:  # else its folder is gone, or goes now
                try:
                    whole = await asyncio.to_thread(self.spool.store, put, effect.blob)
                except MatteBridgeError as error:
                    fault = error
        self.desk.pixels.stored(self.loop.time(), effect.peer, put, len(effect.blob), whole, fault)
        self._dirty.set()

    async def _forget(self, key: str) -> None:
        """Drop the spool folder of a job that ended, after the part that is being written to it."""
        async with self._uploads.setdefault(key, asyncio.Lock()):
            await asyncio.to_thread(self.spool.forget, key)
        self._uploads.pop(key, None)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A task that broke ends the broker: half a broker would keep clients waiting for ever."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            log.critical("the broker ends: %s", self._fault, exc_info=self._fault)
            self._stopped.set()


def _rows(journal: Journal, key: str, after: int, upto: int) -> list[Any]:
    with journal.whole():
        return list(journal.events(key, after, upto))
