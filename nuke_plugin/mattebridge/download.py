"""What a job gets back when there is no shared storage: results in parts, whole under their final name or not at all.

Results are written by one thread per job, in the order in which they came; the credit that a part used is returned when
it is on disk, so that a slow disk slows its own job and nothing else. The job's FRAME and terminal events pass through
here too: whoever sees them finds the files in place.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from .errors import MatteBridgeError, OutputExists, OutputFailed, ProtocolError
from .messages import INITIAL_CREDIT_BYTES, RESULT_ROLES, TERMINAL, Credit, FrameDone, Give, JobRequest, Taken
from .planes import Planes
from .sequence import Sequence

Sink = Callable[[str, int, bytes], str]
"""Keeps one whole result (role, frame, content) and says where it is now."""


class FileSink:
    """Writes results to the request's own paths, atomically. The server's file names are not used."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request

    def __call__(self, role: str, frame: int, content: bytes) -> str:
        """Raises `OutputExists` for another file in the way, `OutputFailed` when the disk refuses."""
        pattern = getattr(self._request, RESULT_ROLES[role])
        if not pattern:
            raise ProtocolError(f"the server gave a result that was not asked for: {role}")
        path = Path(Sequence.parse(pattern).path(frame, self._request.view))
        try:
            if path.exists() and not self._request.overwrite:
                if path.read_bytes() == content:
                    return str(path)
                raise OutputExists("a file with other content is in the way", file=str(path), frame=frame)
            write_whole(path, content)
        except OSError as error:
            raise OutputFailed(f"cannot be written: {error.strerror or error}", file=str(path), frame=frame) from None
        return str(path)


class PlanesSink:
    """Hands results to a callback as `Planes`."""

    def __init__(self, take: Callable[[str, int, Planes], None]) -> None:
        self._take = take

    def __call__(self, role: str, frame: int, content: bytes) -> str:
        self._take(role, frame, Planes.unpack(content))
        return ""


def write_whole(path: Path, content: bytes) -> None:
    """Temporary file beside ``path``, fsync, rename: nobody ever sees half of it. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with temporary.open("xb") as file:  # not `tempfile`: its files are for their owner only, a result is not
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class NoSink:
    """For a job that was submitted elsewhere: results pass by and stay on the server for whoever asked for them."""

    def __call__(self, *_result: object) -> str:
        return ""


class Downloader:
    """Assembles GIVE parts, keeps the results and then tells. All methods may be called from any thread.

    ``emit`` receives the events once they are true on this side; ``fail`` the error when a result cannot be kept.
    """

    def __init__(
        self,
        key: str,
        sink: Sink,
        post: Callable[[Any, tuple[Any, ...], int], None],
        emit: Callable[[Any, tuple[bytes, ...]], None],
        fail: Callable[[MatteBridgeError], None],
    ) -> None:
        self._key = key
        self._sink = sink
        self._post = post
        self._emit = emit
        self._fail = fail
        self._parts: dict[tuple[str, int], bytearray] = {}
        self._places: dict[tuple[str, int], str] = {}
        self._held: dict[int, FrameDone] = {}
        self._queue: queue.SimpleQueue[Optional[tuple[Any, tuple[bytes, ...], int]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mattebridge-download", daemon=True)
        self._thread.start()

    def begin(self, epoch: int) -> None:
        """A connection took the job up: grant it the first credit."""
        self._post(Credit(self._key, INITIAL_CREDIT_BYTES), (), epoch)

    def take(self, message: Any, blobs: tuple[bytes, ...], epoch: int = 0) -> None:
        """A GIVE, or an event of the job, in the order of their arrival."""
        self._queue.put((message, blobs, epoch))

    def close(self) -> None:
        self._queue.put(None)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            message, blobs, epoch = item
            try:
                if isinstance(message, Give):
                    self._part(message, blobs[0] if blobs else b"", epoch)
                elif isinstance(message, FrameDone):
                    self._frame(message)
                else:
                    self._flush(message)
                    self._emit(message, blobs)
            except MatteBridgeError as error:
                self._fail(error)
                return
            except Exception as error:  # of the caller's own function: the job must not wait for a dead thread
                self._fail(OutputFailed(f"the result could not be taken: {type(error).__name__}: {error}"))
                return

    def _part(self, give: Give, blob: bytes, epoch: int) -> None:
        which = (give.role, give.frame)
        if give.offset == 0:
            self._parts[which] = bytearray()
        if give.offset != len(self._parts.get(which, b"")):
            raise ProtocolError(f"a part of {give.role} {give.frame} is missing before byte {give.offset}")
        self._parts[which] += blob
        if len(self._parts[which]) == give.total_bytes:
            self._whole(give, bytes(self._parts.pop(which)), epoch)
        if blob:
            self._post(Credit(self._key, len(blob)), (), epoch)

    def _whole(self, give: Give, content: bytes, epoch: int) -> None:
        if give.sha256 and hashlib.sha256(content).hexdigest() != give.sha256:
            raise ProtocolError(f"{give.role} {give.frame} arrived damaged")
        if (give.role, give.frame) not in self._places:
            if give.role not in RESULT_ROLES:
                raise ProtocolError(f"the server gave a result of unknown kind: {give.role[:40]}")
            self._places[give.role, give.frame] = self._sink(give.role, give.frame, content)
        if not isinstance(self._sink, NoSink):
            self._post(Taken(self._key, give.role, give.frame), (), epoch)
        held = self._held.pop(give.frame, None) if give.role == "alpha" else None
        if held is not None:
            self._frame(held)

    def _frame(self, event: FrameDone) -> None:
        place = self._places.get(("alpha", event.frame))
        if isinstance(self._sink, NoSink):
            self._emit(event, ())
        elif place is None:
            self._held[event.frame] = event  # its pixels are still to come
        else:
            self._emit(replace(event, path=place), ())

    def _flush(self, message: Any) -> None:
        """At the end, frames whose pixels were given to an earlier connection are told too."""
        if isinstance(message, TERMINAL):
            for event in self._held.values():
                self._emit(replace(event, path=""), ())
            self._held.clear()
