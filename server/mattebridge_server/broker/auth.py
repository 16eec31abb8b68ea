"""Who may talk to the server. TCP is always CURVE with a ZAP handler; without one libzmq accepts any client key.

Only keys on the allow-list pass: this user's own client key, and those of the files named by ``--allow-client``. The
files are read again when they change, and a key that is taken out loses its connections too: the broker asks `allows`
for every message, because ZAP is asked only at the handshake.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.asyncio
from zmq.utils import z85

from mattebridge.errors import MatteBridgeError
from mattebridge.keys import AllowedKey, is_key, read_allowed

log = logging.getLogger("mattebridge.broker")
ZAP_DOMAIN = b"mattebridge"


@dataclass
class AllowList:
    """Public keys that may connect. ``own`` is always one of them and may stop the server."""

    own: str
    sources: Sequence[str] = ()
    refused: int = 0
    _keys: dict[str, AllowedKey] = field(default_factory=dict)
    _stamps: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def load(self) -> None:
        """Read every source. Raises `UsageError` for one that is no key and no readable list."""
        stamps = {source: _stamp(source) for source in self.sources}  # before they are read: they may change meanwhile
        keys = {self.own: AllowedKey(self.own, "this user", admin=True)} if self.own else {}
        for source in self.sources:
            for allowed in read_allowed(source):
                keys.setdefault(allowed.public, allowed)
        self._keys, self._stamps = keys, stamps

    def refresh(self) -> None:
        """Read the files again if one changed. A file that cannot be read any more allows nobody."""
        if all(_stamp(source) == stamp for source, stamp in self._stamps.items()):
            return
        kept, stamps = list(self.sources), {source: _stamp(source) for source in self.sources}
        try:
            self.load()
        except MatteBridgeError as error:
            log.error("the allow-list is unusable, only this user's key is allowed now: %s", error)
            self.sources = ()
            self.load()
            self.sources = kept
            self._stamps = stamps

    def allows(self, public: str) -> bool:
        return public in self._keys

    def admin(self, public: str) -> bool:
        key = self._keys.get(public)
        return key is not None and key.admin

    def __len__(self) -> int:
        return len(self._keys)


def zap_socket(context: zmq.asyncio.Context) -> zmq.asyncio.Socket:
    """The socket that libzmq asks about keys. It has to be bound before a CURVE socket is: handshakes begin at once."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.bind("inproc://zeromq.zap.01")
    return socket


async def answer_zap(socket: zmq.asyncio.Socket, allowed: AllowList) -> None:
    """Serve ZAP (ZeroMQ RFC 27) until cancelled."""
    try:
        while True:
            parts = await socket.recv_multipart()
            reply = _zap_reply(parts, allowed)
            if reply is not None:
                await socket.send_multipart(reply)
    finally:
        socket.close()


def _zap_reply(parts: Sequence[bytes], allowed: AllowList) -> list[bytes] | None:
    """Answer one request: address, empty, version, id, domain, peer address, identity, mechanism, credentials."""
    if len(parts) < 8 or parts[2] != b"1.0":
        return None
    envelope, request, mechanism, credentials = list(parts[:2]), parts[3], parts[7], parts[8:]
    public = ""
    if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
        public = z85.encode(credentials[0]).decode("ascii")
    if public and allowed.allows(public):
        return [*envelope, b"1.0", request, b"200", b"OK", public.encode(), b""]
    allowed.refused += 1
    log.warning("a client at %s was refused: its key is not allowed", parts[5].decode("ascii", "replace"))
    return [*envelope, b"1.0", request, b"400", b"key not allowed", b"", b""]


def _stamp(source: str) -> tuple[int, ...]:
    """What changes with a file's content, also where a tool sets every file that it installs to one time."""
    if is_key(source):
        return ()
    try:
        info = Path(source).stat()
    except OSError:
        return (-1,)
    return (info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_size)
