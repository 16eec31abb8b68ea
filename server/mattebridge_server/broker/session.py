"""The server's side of one connection: handshake, liveness and credit. No IO.

    new     HELLO of our major version → WELCOME, ready      HELLO of another → INCOMPATIBLE     else → NEED_HELLO
    ready   any traffic is a beat; after a beat of silence PING; after `beats_lost` beats the connection is lost
    lost    forgotten; whatever comes later on the same address finds no session and gets NEED_HELLO

A second HELLO starts the connection afresh: credit granted before is void on both sides, and jobs have to be resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mattebridge.messages import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Hello,
    Incompatible,
    NeedHello,
    Ping,
    Welcome,
)

from .effects import Peer

UPLOAD_CREDIT_BYTES = 16 * 1024 * 1024
"""What a client may have under way for one job; the broker holds no more than this for each job that uploads."""


@dataclass
class Session:
    """One client after its HELLO. ``keys`` are the jobs it follows, ``upload_credit`` what it may send, by job."""

    peer: Peer
    hello: Hello
    heard: float
    pinged: float
    pings: int = 0
    admin: bool = False
    keys: set[str] = field(default_factory=set)
    upload_credit: dict[str, int] = field(default_factory=dict)

    @property
    def client(self) -> str:
        """Whose jobs count together for the per-client limit: one process of one user."""
        return f"{self.peer.user}/{self.hello.host}/{self.hello.pid}"

    def grant_uploads(self, key: str) -> int:
        """Credit for a job's uploads on this connection, granted once. Returns what is left of it."""
        return self.upload_credit.setdefault(key, UPLOAD_CREDIT_BYTES)

    def spend(self, key: str, size: int) -> bool:
        """Take an upload's bytes off the credit; False where it was not granted."""
        left = self.upload_credit.get(key, 0)
        if size > left:
            return False
        self.upload_credit[key] = left - size
        return True


class Sessions:
    """All connections that said HELLO."""

    def __init__(self, welcome: Welcome, beat_s: float, beats_lost: int) -> None:
        self.welcome = welcome
        self.beat_s = beat_s
        self.beats_lost = beats_lost
        self._by_peer: dict[Peer, Session] = {}
        self._at: dict[tuple[str, bytes], Peer] = {}

    def __len__(self) -> int:
        return len(self._by_peer)

    def find(self, peer: Peer) -> Session | None:
        return self._by_peer.get(peer)

    def heard(self, now: float, peer: Peer) -> Session | None:
        """The peer's session, with the beat noted; None for a peer that has not said HELLO."""
        session = self._by_peer.get(peer)
        if session is not None:
            session.heard = now
        return session

    def hello(self, now: float, peer: Peer, hello: Hello, admin: bool) -> Any:
        """The answer to HELLO. A peer that said it before begins afresh."""
        if hello.major != PROTOCOL_MAJOR:
            older = "client" if hello.major < PROTOCOL_MAJOR else "server"
            return Incompatible(
                PROTOCOL_MAJOR,
                PROTOCOL_MINOR,
                f"the server speaks protocol {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}, the client "
                f"{hello.major}.{hello.minor}; bring the {older} up to date",
            )
        self._by_peer[peer] = Session(peer, hello, heard=now, pinged=now, admin=admin)
        self._at[peer.socket, peer.address] = peer
        return self.welcome

    def need_hello(self) -> NeedHello:
        return NeedHello(self.welcome.boot_id)

    def remove(self, peer: Peer) -> Session | None:
        if self._at.get((peer.socket, peer.address)) == peer:
            del self._at[peer.socket, peer.address]
        return self._by_peer.pop(peer, None)

    def displaced(self, peer: Peer) -> Peer | None:
        """Another user's session at this address: clients choose their routing ids, and may choose one in use."""
        known = self._at.get((peer.socket, peer.address))
        return known if known is not None and known != peer else None

    def tick(self, now: float) -> tuple[list[tuple[Peer, Ping]], list[Peer]]:
        """Pings that are due, and peers that were silent too long (still to be removed)."""
        pings, lost = [], []
        for peer, session in self._by_peer.items():
            silent = now - session.heard
            if silent >= self.beat_s * self.beats_lost:
                lost.append(peer)
            elif silent >= self.beat_s and now - session.pinged >= self.beat_s:
                session.pings += 1
                session.pinged = now
                pings.append((peer, Ping(session.pings)))
        return pings, lost
