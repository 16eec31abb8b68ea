"""The broker's sockets: a ROUTER for local clients and one for each ``--bind``, and a queue for each slow reader.

A ROUTER drops what a peer at its high-water mark does not read, so ours are MANDATORY: the error comes back, the
message waits in the peer's own queue, and a peer whose queue does not move is given up. Nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import zmq

from mattebridge.keys import KeyPair

from .auth import ZAP_DOMAIN
from .decode import MESSAGE_BYTES
from .effects import LOCAL_USER, Peer

log = logging.getLogger("mattebridge.broker")

HIGH_WATER_MESSAGES = 64
BACKLOG_MESSAGES = 20_000
RETRY_S = 0.01
STUCK_S = 60.0
READ_AT_ONCE = 64
"""Multiparts that are read before the loop's other work has its turn."""

Incoming = Callable[[Peer, list[bytes]], None]


class Sockets:
    """All listening sockets. ``incoming`` is called for each multipart, ``lost`` when a peer is given up."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], incoming: Incoming, lost: Callable[[Peer], None]
    ) -> None:
        self._context = context
        self._incoming, self._lost = incoming, lost
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._reading: set[str] = set()
        self._secure: set[str] = set()
        self._backlog: dict[Peer, deque[Sequence[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def bind(self, endpoint: str, keys: KeyPair | None) -> str:
        """Listen; with ``keys`` as a CURVE server. Returns the endpoint with the port that was chosen."""
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 200
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MESSAGES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20000)
        if keys is not None:
            # Without a handler libzmq lets every key in, unless told that the domain is to be enforced.
            socket.zap_domain = ZAP_DOMAIN
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            socket.curve_server = 1
            socket.curve_secretkey = keys.secret.encode()
            socket.curve_publickey = keys.public.encode()
        elif endpoint.startswith("ipc://") and hasattr(zmq, "IPC_FILTER_UID") and hasattr(os, "getuid"):
            _only_this_user(socket)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError:
            socket.close()
            raise
        bound = socket.getsockopt(zmq.LAST_ENDPOINT)
        name = bound.decode() if isinstance(bound, bytes) else endpoint
        self._sockets[name] = socket
        if keys is not None:
            self._secure.add(name)
        return name

    def listen(self) -> None:
        """Begin to receive on every socket."""
        loop = asyncio.get_running_loop()
        for name, socket in self._sockets.items():
            loop.add_reader(socket, self._read_soon, name)
            self._read_soon(name)

    def send(self, peer: Peer, parts: Sequence[bytes]) -> None:
        """Send now, or after what already waits for this peer."""
        waiting = self._backlog.get(peer)
        if waiting is not None:
            waiting.append(parts)
            if len(waiting) > BACKLOG_MESSAGES:
                self._give_up(peer)
        elif not self._try(peer, parts):
            self._backlog[peer] = deque([parts])
            self._start(self._drain(peer))

    def busy(self, peer: Peer) -> bool:
        """Whether messages wait because the peer does not read."""
        return peer in self._backlog

    def forget(self, peer: Peer) -> None:
        """Drop what waits for a peer."""
        self._backlog.pop(peer, None)

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        for socket in self._sockets.values():
            loop.remove_reader(socket)
            socket.close()
        self._sockets.clear()

    def _read_soon(self, name: str) -> None:
        if name not in self._reading:
            self._reading.add(name)
            asyncio.get_running_loop().call_soon(self._read, name)

    def _read(self, name: str) -> None:
        """Take what has come. The descriptor tells of changes only: nothing may be left unread without a new turn."""
        self._reading.discard(name)
        socket = self._sockets.get(name)
        if socket is None:
            return
        for _ in range(READ_AT_ONCE):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._read_soon(name)  # the rest has its turn whatever becomes of this one
            user = _user_of(frames[-1]) if name in self._secure else LOCAL_USER
            address, *parts = [frame.bytes for frame in frames]
            if user:
                self._incoming(Peer(name, address, user), parts)

    def _try(self, peer: Peer, parts: Sequence[bytes]) -> bool:
        """Send without waiting; False when the peer's pipe is full. A peer that is gone counts as sent."""
        socket = self._sockets.get(peer.socket)
        if socket is None:
            return True
        self._read_soon(peer.socket)  # sending may swallow the descriptor's word of what came in
        try:
            socket.send_multipart([peer.address, *parts], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self._lost(peer)
        return True

    async def _drain(self, peer: Peer) -> None:
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while waiting := self._backlog.get(peer):
            if self._try(peer, waiting[0]):
                waiting.popleft()
                moved = loop.time()
            elif loop.time() - moved > STUCK_S:
                self._give_up(peer)
            else:
                await asyncio.sleep(RETRY_S)
        self._backlog.pop(peer, None)

    def _give_up(self, peer: Peer) -> None:
        log.warning("a client does not read what is sent to it and was given up")
        self.forget(peer)
        self._lost(peer)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def local_endpoint(runtime_dir: Path) -> str:
    """Where local clients connect: ipc in the user's runtime folder where that is possible, else a loopback port."""
    longest = getattr(zmq, "IPC_PATH_MAX_LEN", 107)
    path = runtime_dir / "server.sock"
    if zmq.has("ipc") and os.name == "posix" and len(os.fsencode(path)) < longest:
        return f"ipc://{path}"
    return "tcp://127.0.0.1:*"


def is_loopback(endpoint: str) -> bool:
    """Whether only this host can reach the endpoint."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return endpoint.startswith("ipc://") or host in ("localhost", "::1") or host.startswith("127.")


def _only_this_user(socket: zmq.Socket[bytes]) -> None:
    with contextlib.suppress(zmq.ZMQError):  # this libzmq cannot; the folder is closed to others anyway
        socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())


def _user_of(frame: zmq.Frame) -> str:
    """The CURVE key that ZAP approved; empty, and so nobody, where ZAP was not asked."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
