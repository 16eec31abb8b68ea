"""Results on their way to clients: for each client and job a list of pictures, a byte credit, and the last word.

A picture is read in parts no larger than the credit, one part at a time, so that a client which does not read costs
nobody else anything and the broker one part of memory. The job's terminal event goes out when its pictures have; where
one of them is lost, the client is told that instead of DONE.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mattebridge.errors import OutputFailed
from mattebridge.messages import BLOB_BYTES, Done, ErrorInfo, Failed, Give

from .effects import Grant, Offer, Peer, SendLast
from .journal import ResultRow
from .uploads import Spool

log = logging.getLogger("mattebridge.broker")

CREDIT_CAP_BYTES = 256 * 2**20
"""A client has never more credit than this for one job, however much it grants. What a client that grants and does not
read holds up is bounded by its socket's high-water mark."""

SendMessage = Callable[[Peer, Any, Sequence[bytes]], None]


class Giving:
    """Every pair of client and job that receives pictures. ``busy`` says that a peer has not read the last part yet."""

    def __init__(self, spool: Spool, send: SendMessage, busy: Callable[[Peer], bool]) -> None:
        self._spool, self._send, self._busy = spool, send, busy
        self._givers: dict[tuple[Peer, str], _Giver] = {}
        self.bytes_given = 0

    def offer(self, offer: Offer) -> None:
        self._giver(offer.peer, offer.result.key).offer(offer.result)

    def grant(self, grant: Grant) -> None:
        self._giver(grant.peer, grant.key).grant(grant.add_bytes)

    def send_last(self, last: SendLast) -> None:
        self._giver(last.peer, last.key).finish(last)

    def leave(self, peer: Peer) -> None:
        """The connection is gone, or begins afresh."""
        for place in [place for place in self._givers if place[0] == peer]:
            self._givers.pop(place).stop()

    def close(self) -> None:
        for giver in self._givers.values():
            giver.stop()
        self._givers.clear()

    def _giver(self, peer: Peer, key: str) -> _Giver:
        return self._givers.setdefault((peer, key), _Giver(self, peer))

    async def give(self, peer: Peer, row: ResultRow, take: Callable[[int], Any]) -> None:
        """Send one picture; ``take(wanted)`` waits for credit and returns how many bytes may go."""
        path = self._spool.result(row.key, row.role, row.name)
        total, offset, digest = path.stat().st_size, 0, hashlib.sha256()
        while offset < total:
            size = await take(min(BLOB_BYTES, total - offset))
            while self._busy(peer):
                await asyncio.sleep(0.01)
            blob = await asyncio.to_thread(_read_part, path, offset, size)
            digest.update(blob)
            offset += len(blob)
            checksum = digest.hexdigest() if offset >= total else ""
            give = Give(row.key, row.role, row.frame, row.name, offset - len(blob), total, checksum)
            self.bytes_given += len(blob)
            self._send(peer, give, (blob,))


class _Giver:
    """One client's pictures of one job, in order."""

    def __init__(self, giving: Giving, peer: Peer) -> None:
        self._giving, self._peer = giving, peer
        self._rows: deque[ResultRow] = deque()
        self._offered: set[tuple[str, int]] = set()
        self._credit = 0
        self._last: SendLast | None = None
        self._lost: OutputFailed | None = None
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def offer(self, row: ResultRow) -> None:
        """Give a picture, once: a client that takes its job up twice on one connection has what was given."""
        if (row.role, row.frame) not in self._offered:
            self._offered.add((row.role, row.frame))
            self._rows.append(row)
            self._wake()

    def grant(self, add_bytes: int) -> None:
        self._credit = min(self._credit + add_bytes, CREDIT_CAP_BYTES)
        self._more.set()

    def finish(self, last: SendLast) -> None:
        self._last = last
        self._wake()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._rows:
            row = self._rows[0]
            try:
                await self._giving.give(self._peer, row, self._take)
            except OSError as error:
                log.error("job %s: the result %s cannot be read: %s", row.key, row.name, error)
                self._lost = OutputFailed(
                    f"on the server, a finished result cannot be read any more: {error.strerror or error}",
                    remedy="Submit the request under another key, and ask who removes files from the state folder.",
                    file=row.name,
                    frame=row.frame,
                )
            self._rows.popleft()
        if self._last is not None:
            end, blobs = self._last.message, self._last.blobs
            if self._lost is not None and isinstance(end, Done):
                end, blobs = Failed(end.key, end.seq, end.at, ErrorInfo.of(self._lost)), ()
            self._giving._send(self._peer, end, blobs)
            self._last = None

    async def _take(self, wanted: int) -> int:
        while self._credit <= 0:
            self._more.clear()
            await self._more.wait()
        size = min(wanted, self._credit)
        self._credit -= size
        return size


def _read_part(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        blob = stream.read(size)
    if not blob:
        raise OSError("the file is shorter than it was")
    return blob
