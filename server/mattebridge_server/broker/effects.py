"""What the broker's deciding part asks its shell to do. Changes are committed first, then the effects happen in order.

So nobody is told anything, and no engine is given anything, that a crash could make untrue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mattebridge.messages import JobRequest, Put

from .journal import Change, ResultRow

LOCAL_USER = "local"
"""Whoever reaches the ipc socket: this user, because its folder is closed to all others."""


@dataclass(frozen=True)
class Peer:
    """One connection: which of our sockets, and the peer's routing id. ``user``: its CURVE key or `LOCAL_USER`."""

    socket: str
    address: bytes
    user: str = LOCAL_USER


@dataclass(frozen=True)
class Send:
    """A message to a client."""

    peer: Peer
    message: Any
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Replay:
    """The job's events after ``after`` up to ``upto`` out of the journal, then its waiting results, to one client."""

    peer: Peer
    key: str
    after: int
    upto: int


@dataclass(frozen=True)
class Offer:
    """A result to be given to a client within its credit."""

    peer: Peer
    result: ResultRow


@dataclass(frozen=True)
class SendLast:
    """A terminal event: to be sent when every result offered to that client for that job was given."""

    peer: Peer
    key: str
    message: Any
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Grant:
    """A client can take ``add_bytes`` more of results."""

    peer: Peer
    key: str
    add_bytes: int


@dataclass(frozen=True)
class Taken:
    """A result may be dropped from the spool."""

    result: ResultRow


@dataclass(frozen=True)
class StorePart:
    """One part of an upload, to be written; the desk is told how it went."""

    peer: Peer
    put: Put
    blob: bytes


@dataclass(frozen=True)
class Forget:
    """Drop the job's spool folder."""

    key: str


@dataclass(frozen=True)
class Leave:
    """The connection is gone, or its credit is void: give nothing more to it."""

    peer: Peer


@dataclass(frozen=True)
class Tell:
    """A message to an engine child."""

    engine: str
    message: msgspec.Struct


@dataclass(frozen=True)
class Spawn:
    """Start an engine child."""

    engine: str


@dataclass(frozen=True)
class Kill:
    """Kill an engine child."""

    engine: str
    why: str


@dataclass(frozen=True)
class Ask:
    """A question for the path helper; the answer comes back under ``number``."""

    number: int
    request: JobRequest
    plan: bytes = b""


Effect = Send | Replay | Offer | SendLast | Grant | Taken | StorePart | Forget | Leave | Tell | Spawn | Kill | Ask


class Outbox:
    """Changes and effects in the order they were decided, until the shell takes them."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.effects: list[Effect] = []

    def change(self, *changes: Change) -> None:
        self.changes += changes

    def do(self, *effects: Effect) -> None:
        self.effects += effects

    def send(self, peer: Peer, message: Any, blobs: Iterable[bytes] = ()) -> None:
        self.effects.append(Send(peer, message, tuple(blobs)))

    def take(self) -> tuple[Sequence[Change], Sequence[Effect]]:
        """Everything so far, and an empty box again."""
        taken = (self.changes, self.effects)
        self.changes, self.effects = [], []
        return taken
