"""What a job sends when there is no shared storage: its pictures, in parts, within the server's byte credit.

One thread per job does it, because a hung mount must not stop the beats. A new connection begins with what the server
has stored (ACCEPTED); a picture that was cut off is sent from its start.
"""

from __future__ import annotations

import hashlib
import io
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Optional

from .config_digest import config_files, is_config_path, is_safe_name
from .errors import FrameError, InputError, MatteBridgeError, MissingFrames
from .frames import FrameSet
from .messages import BLOB_BYTES, UPLOAD_ROLES, Accepted, JobRequest, Put, PutsDone
from .planes import Planes
from .sequence import Sequence


@dataclass(frozen=True)
class Picture:
    """One thing to upload. ``open`` gives its content from the start, each time anew."""

    role: str
    frame: int
    name: str
    open: Callable[[], BinaryIO]
    file: str = ""

    @property
    def stored_as(self) -> str:
        """How ACCEPTED lists it."""
        return f"{self.role}/{self.name}" if self.role == "config" else f"{self.role}/{self.frame}"


def pictures_of_files(request: JobRequest) -> list[Picture]:
    """Every file that a job of delivery ``exr`` reads, for the frames of its shot.

    Raises `MissingFrames` when the plate has holes; other roles may be absent on some frames, not on all. Raises
    `InputError` for an OCIO config that cannot be sent.
    """
    plate = Sequence.parse(request.plate)
    wanted = request.shot or request.frames
    shot = FrameSet.parse(wanted) if wanted else plate.existing(request.view)
    if not shot:
        raise MissingFrames("the plate has no frames", file=request.plate, remedy=plate.remedy(request.view))
    found = list(_config_pictures(request))
    for role, field in UPLOAD_ROLES.items():
        pattern = getattr(request, field)
        if pattern:
            found += _sequence_pictures(role, Sequence.parse(pattern), shot, request.view)
    return found


def pictures_of_planes(given: Mapping[str, Mapping[int, Planes]], request: JobRequest) -> list[Picture]:
    """Pictures for delivery ``planes``: role → frame → `Planes`. A lazy mapping is asked when its turn comes.

    Frames may be numpy's integers, which no message can carry.
    """
    found = list(_config_pictures(request))
    for role, field in UPLOAD_ROLES.items():
        sequence = Sequence.parse(getattr(request, field) or f"{role}.####.planes")
        for frame, name in ((frame, Path(sequence.path(frame, request.view)).name) for frame in given.get(role, ())):
            found.append(Picture(role, operator.index(frame), name, _opener_of_planes(given[role], frame)))
    return found


class Uploader:
    """Sends a job's pictures. ``post(message, blobs, epoch)`` puts a message on the connection of that epoch.

    `begin`, `credited` and `close` may be called from any thread and return at once. ``fail`` is called with the error
    when a picture cannot be read.
    """

    def __init__(
        self,
        key: str,
        pictures: Iterable[Picture],
        post: Callable[[Any, tuple[Any, ...], int], None],
        fail: Callable[[MatteBridgeError], None],
    ) -> None:
        self._key = key
        self._pictures = list(pictures)
        self._post = post
        self._fail = fail
        self._changed = threading.Condition()
        self._epoch = 0
        self._credit = 0
        self._stored: frozenset[str] = frozenset()
        self._begun = False
        self._closed = False
        self._thread: Optional[threading.Thread] = None

    def begin(self, accepted: Accepted, epoch: int) -> None:
        """A connection took the job up. Uploads start (again) when the job still waits for them."""
        with self._changed:
            self._epoch, self._credit, self._stored = epoch, accepted.credit_bytes, frozenset(accepted.stored)
            self._begun = accepted.state == "uploading"
            if self._begun and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="mattebridge-upload", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def credited(self, add_bytes: int, epoch: int) -> None:
        with self._changed:
            if epoch == self._epoch:
                self._credit += add_bytes
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._begun or self._closed)
                if self._closed:
                    return
                self._begun = False
                epoch, stored = self._epoch, self._stored
            try:
                whole = all(self._send(each, epoch) for each in self._pictures if each.stored_as not in stored)
            except MatteBridgeError as error:
                self._fail(error)
                return
            except Exception as error:  # of the caller's own mapping: the job must not wait for a dead thread
                self._fail(FrameError(f"a picture could not be had: {type(error).__name__}: {error}"))
                return
            if whole:
                self._post(PutsDone(self._key), (), epoch)

    def _send(self, picture: Picture, epoch: int) -> bool:
        """All parts of one picture; False when the connection changed under way."""
        try:
            with picture.open() as content:
                total = content.seek(0, io.SEEK_END)
                content.seek(0)
                return self._send_parts(picture, content, total, epoch)
        except OSError as error:
            raise FrameError(
                f"the {picture.role} cannot be read: {error.strerror or error}", file=picture.file, frame=picture.frame
            ) from None

    def _send_parts(self, picture: Picture, content: BinaryIO, total: int, epoch: int) -> bool:
        digest, offset = hashlib.sha256(), 0
        while True:
            room = self._room(epoch)
            if not room:
                return False
            blob = content.read(min(room, BLOB_BYTES, total - offset))
            if not blob and offset < total:
                raise FrameError(f"the {picture.role} shrank while it was read", file=picture.file, frame=picture.frame)
            digest.update(blob)
            last = offset + len(blob) == total
            put = Put(
                self._key, picture.role, picture.frame, picture.name, offset, total, digest.hexdigest() if last else ""
            )
            self._spend(len(blob), epoch)
            self._post(put, (blob,), epoch)
            offset += len(blob)
            if last:
                return True

    def _room(self, epoch: int) -> int:
        """Bytes that may be sent, once there are any; 0 when the connection of that epoch is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._credit > 0 or self._epoch != epoch or self._closed)
            return 0 if self._closed or self._epoch != epoch else self._credit

    def _spend(self, size: int, epoch: int) -> None:
        with self._changed:
            if self._epoch == epoch:
                self._credit -= size


def _sequence_pictures(role: str, sequence: Sequence, shot: FrameSet, view: str) -> Iterator[Picture]:
    if not sequence.has_frame:
        path = sequence.path(0, view)
        yield Picture(role, 0, Path(path).name, _opener_of_file(path), path)
        return
    missing = sequence.missing(shot, view)
    if missing and (role == "plate" or missing == shot):
        remedy = sequence.remedy(view) if missing == shot else ""
        raise MissingFrames(
            f"the {role} has no file for frames {missing}", file=sequence.pattern, frame=missing.first, remedy=remedy
        )
    for frame in shot - missing:
        path = sequence.path(frame, view)
        yield Picture(role, frame, Path(path).name, _opener_of_file(path), path)


def _config_pictures(request: JobRequest) -> Iterator[Picture]:
    if not is_config_path(request.config):
        return
    for name, path in sorted(config_files(request.config, request.context).paths.items()):
        if not is_safe_name(name):
            raise InputError(
                f"the OCIO config {request.config} names a file outside its search paths, which cannot be sent with it",
                file=str(path),
                remedy="Add the file's folder to the config's search_path, and name the file within it.",
            )
        yield Picture("config", 0, name, _opener_of_file(str(path)), str(path))


def _opener_of_file(path: str) -> Callable[[], BinaryIO]:
    return lambda: Path(path).open("rb")


def _opener_of_planes(frames: Mapping[int, Planes], frame: int) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(frames[frame].pack())
