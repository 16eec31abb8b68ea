"""The broker's children in use: engines by device, and the path helper with its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

import msgspec

from mattebridge.errors import Refused

from ..engine import wire
from .children import Child
from .config import Config
from .effects import Ask
from .lock import FileLock, Holder, end_orphans

log = logging.getLogger("mattebridge.broker")

HELPER_START_S = 60.0

_from_engine: msgspec.msgpack.Decoder[wire.FromEngine] = msgspec.msgpack.Decoder(wire.FromEngine)
_from_helper: msgspec.msgpack.Decoder[wire.FromHelper] = msgspec.msgpack.Decoder(wire.FromHelper)


class Engines:
    """One child for each device. Messages and deaths are reported by device name."""

    def __init__(
        self,
        config: Config,
        received: Callable[[str, msgspec.Struct], None],
        died: Callable[[str, str], None],
    ) -> None:
        self._config, self._received, self._died = config, received, died
        self._children: dict[str, Child] = {}
        self._whys: dict[str, str] = {}

    def spawn(self, device: str) -> None:
        """Start the device's engine and tell it what it is for. A device that is locked counts as a death."""
        config = self._config
        lock = config.device_locks.get(device)
        try:
            if lock is not None and not lock.held:
                self._acquire(device, lock)
            keep = (lock.fileno(),) if lock is not None else ()
            self._children[device] = child = Child(
                f"engine {device}",
                config.engine_command,
                _from_engine,
                lambda message: self._received(device, message),
                lambda why: self._ended(device, why),
                keep,
            )
        except Exception as error:
            log.error("the engine for %s cannot be started: %s", device, error)
            asyncio.get_running_loop().call_soon(self._ended, device, f"it cannot be started: {error}")
            return
        log.info("engine for %s is process %d", device, child.pid)
        child.send(msgspec.structs.replace(config.setup, device=device))

    def _acquire(self, device: str, lock: FileLock) -> None:
        """Take the device, from an engine that a killed broker left behind if need be. Raises `Refused`."""
        try:
            lock.acquire(Holder(endpoint=device))
        except Refused:
            orphans = end_orphans(lock)
            if orphans:
                log.warning("killed what an earlier server left on %s: processes %s", device, orphans)
            raise

    def tell(self, device: str, message: msgspec.Struct) -> None:
        """Send a message; lost where the engine has just died, which is then reported."""
        child = self._children.get(device)
        if child is not None:
            child.send(message)

    def kill(self, device: str, why: str) -> None:
        """End the device's engine at once."""
        child = self._children.get(device)
        if child is not None:
            log.warning("engine for %s is killed: %s", device, why)
            self._whys[device] = why
            child.kill()

    async def close(self, grace_s: float) -> None:
        """Ask all to quit, then make them."""
        children = list(self._children.values())
        for child in children:
            child.send(wire.Quit())
            child.close()
        ended = await asyncio.gather(*(child.wait(grace_s) for child in children))
        for child, gone in zip(children, ended, strict=True):
            if not gone:
                child.kill()
                await child.wait(5.0)

    def _ended(self, device: str, why: str) -> None:
        self._children.pop(device, None)
        self._died(device, self._whys.pop(device, "") or why)


class PathHelper:
    """The process that looks at users' paths, one question at a time. A disk that hangs costs it its life, not ours."""

    def __init__(
        self,
        config: Config,
        answered: Callable[[wire.JobChecked], None],
        unanswered: Callable[[int, str], None],
    ) -> None:
        self._config, self._answered, self._unanswered = config, answered, unanswered
        self._child: Child | None = None
        self._ready = False
        self._waiting: deque[Ask] = deque()
        self._current: Ask | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.kills = 0

    def ask(self, ask: Ask) -> None:
        self._waiting.append(ask)
        self._next()

    def warm(self) -> None:
        """Start the process before the first question comes."""
        if self._child is None:
            with contextlib.suppress(OSError):  # the first question will say so
                self._start()

    async def close(self) -> None:
        if self._child is not None:
            self._child.close()
            if not await self._child.wait(1.0):
                self._child.kill()
                await self._child.wait(5.0)

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        self._current = ask = self._waiting.popleft()
        try:
            child = self._child or self._start()
        except OSError as error:
            self._fail(f"its helper cannot be started: {error}")
            return
        self._limit()
        child.send(wire.CheckJob(number=ask.number, request=ask.request, plan=ask.plan))

    def _start(self) -> Child:
        config = self._config
        child = Child("path helper", config.helper_command, _from_helper, self._received, self._died)
        child.send(config.setup)
        self._child, self._ready = child, False
        return child

    def _limit(self) -> None:
        """Give the current question its time. What a helper needs to start is not the disk's fault, and has its own."""
        if self._current is not None:
            limit = self._config.check_timeout_s + (0.0 if self._ready else HELPER_START_S)
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(limit, self._too_slow, self._current.number)

    def _received(self, message: msgspec.Struct) -> None:
        current = self._current
        if isinstance(message, wire.Ready):
            self._ready = True
            self._limit()
        elif isinstance(message, wire.JobChecked) and current is not None and message.number == current.number:
            self._done()
            self._answered(message)
            self._next()

    def _too_slow(self, number: int) -> None:
        if self._current is None or self._current.number != number:
            return
        self.kills += 1
        if self._child is not None:
            self._child.kill()
            self._child = None
        self._fail(f"nothing came back within {self._config.check_timeout_s:g} s")

    def _died(self, why: str) -> None:
        # A helper that was killed for being slow has a successor by now; only the current one's death counts.
        if self._child is None or self._child.alive:
            return
        self._child = None
        if self._current is not None:
            self._fail(f"the process that looked at it died ({why})")

    def _fail(self, why: str) -> None:
        ask = self._current
        self._done()
        if ask is not None:
            log.error("path helper: %s (plate %s)", why, ask.request.plate)
            self._unanswered(ask.number, why)
        self._next()

    def _done(self) -> None:
        self._current = None
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
