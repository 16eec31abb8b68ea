"""The pictures of jobs whose pixels travel through the socket: PUT, PUTS_DONE, TAKEN, CREDIT, decided here. No IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mattebridge import messages as m
from mattebridge.errors import InputError, MatteBridgeError, OutputFailed, ProtocolError

from .effects import Forget, Grant, Outbox, Peer, StorePart, Taken
from .floor import Floor
from .jobs import JobBook, Record
from .session import Session, Sessions
from .uploads import name_problem, stored_label

MOST_PARTS = 16384
"""Of one job's pictures on their way to the disk: a part costs memory beyond its bytes, which credit does not count."""

PictureMessage = m.Credit | m.Put | m.PutsDone | m.Taken


@dataclass
class Pixels:
    """Uploads and results of every job. ``picture_bytes`` is the size of the largest picture that is taken."""

    sessions: Sessions
    book: JobBook
    floor: Floor
    out: Outbox
    picture_bytes: int = 4 * 2**30
    bytes_stored: int = 0

    def received(
        self, now: float, session: Session, record: Record, message: PictureMessage, blobs: Sequence[bytes]
    ) -> None:
        """One message about a job's pictures, from a client that may speak for the job."""
        if isinstance(message, m.Credit):
            self.out.do(Grant(session.peer, record.key, message.add_bytes))
        elif isinstance(message, m.Put):
            self._put(session, record, message, blobs)
        elif isinstance(message, m.PutsDone):
            record.puts_done = record.state == "uploading"
            self._settle(now, record)
        else:
            self._taken(record, message)

    def _put(self, session: Session, record: Record, put: m.Put, blobs: Sequence[bytes]) -> None:
        size = len(blobs[0]) if len(blobs) == 1 else 0
        if len(blobs) != 1 or put.role not in (*m.UPLOAD_ROLES, "config"):
            raise ProtocolError("a PUT carries one blob for a known role")
        if record.storing >= MOST_PARTS:
            raise ProtocolError(f"{record.storing} parts are under way; send more when some have been stored")
        if not session.spend(record.key, size):
            raise ProtocolError("more bytes were sent than credit was granted")
        problem = name_problem(put.role, put.name)
        if record.state != "uploading":
            problem = "the job takes no pictures now"
        elif put.offset + size > put.total_bytes:
            problem = "the part is longer than the picture"
        elif put.total_bytes > self.picture_bytes:
            problem = f"a picture of {put.total_bytes} bytes is over the limit of {self.picture_bytes}"
        if problem:
            self._returned(session.peer, record.key, size)
            error = InputError(problem, file=put.name, frame=put.frame)
            record.refused.setdefault(stored_label(put), error)
            raise error
        record.storing += 1
        self.out.do(StorePart(session.peer, put, blobs[0]))

    def stored(
        self, now: float, peer: Peer, put: m.Put, size: int, whole: bool, error: MatteBridgeError | None
    ) -> None:
        """How a `StorePart` went. ``whole`` says that the picture is complete and its digest right."""
        self._returned(peer, put.key, size)
        record = self.book.records.get(put.key)
        if record is None:
            return
        record.storing -= 1
        if error is not None:
            record.refused.setdefault(stored_label(put), error)
            self.out.send(peer, m.Rejected(0, m.ErrorInfo.of(error)))
        elif whole:
            self.bytes_stored += put.total_bytes
            record.stored[stored_label(put)] = put.name
            record.refused.pop(stored_label(put), None)
            self.out.send(peer, m.Stored(put.key, put.role, put.frame))
        self._settle(now, record)

    def _settle(self, now: float, record: Record) -> None:
        """Queue the job once the client said that all was sent, and all that was sent is on the disk.

        A picture that was refused and not sent anew would be missing without a word: the job fails with the reason. One
        that our own disk refused will not be taken a moment later either.
        """
        if record.state != "uploading":
            return
        settled = record.puts_done and not record.storing
        for reason in record.refused.values():
            if settled or isinstance(reason, OutputFailed):
                self.floor.apply(self.floor.scheduler.cancel(now, record.key, reason))
                return
        if settled:
            self.floor.uploaded(now, record)

    def _returned(self, peer: Peer, key: str, size: int) -> None:
        """An upload's bytes are out of memory again: the client may send as many more."""
        session = self.sessions.find(peer)
        if session is not None and key in session.upload_credit and size:
            session.upload_credit[key] += size
            self.out.send(peer, m.Credit(key, size))

    def _taken(self, record: Record, message: m.Taken) -> None:
        """Drop what the client has; while the job runs it stays, or the next run would make the frame again."""
        row = self.book.taken(record, message.role, message.frame)
        if row is not None and record.ended:
            self.out.do(Taken(row))
        if record.ended and not record.results:
            self.out.do(Forget(record.key))
