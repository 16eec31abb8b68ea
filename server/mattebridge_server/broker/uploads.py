"""The spool: one folder for each job whose pictures travel through the socket. Blocking file work, called on a thread.

spool/KEY/ROLE/NAME        an uploaded picture that is whole, or a result of the engine
spool/KEY/ROLE/NAME.part   one that is still coming; worth nothing after a cut
spool/KEY/stored.jsonl     one line for each whole picture: what a client need not send again after a restart
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mattebridge.config_digest import is_safe_name
from mattebridge.errors import InputError, MatteBridgeError, OutputFailed
from mattebridge.messages import Put

from ..crashpoints import reach

SPARE_BYTES = 1 * 2**30
_INDEX = "stored.jsonl"
_PART = ".part"
MOST_NAME_BYTES = 240
"""Of a file's name: file systems take 255 bytes, whatever the letters, and a picture that still comes adds its own."""


def name_problem(role: str, name: str) -> str:
    """Why an uploaded picture cannot have this name; empty where it can."""
    parts = name.split("/")
    too_long = len(name) > MOST_NAME_BYTES or any(len(part.encode()) > MOST_NAME_BYTES for part in parts)
    taken = any(part.endswith(_PART) for part in parts)
    if not is_safe_name(name) or too_long or taken or any(ord(letter) < 32 for letter in name):
        return "the picture's name is not a plain file name"
    if role != "config" and "/" in name:
        return "the picture's name holds a folder"
    return ""


def stored_label(put: Put) -> str:
    """A picture's name in ACCEPTED's ``stored``: role/frame, or config/name."""
    return f"{put.role}/{put.name if put.role == 'config' else put.frame}"


@dataclass
class _Incoming:
    """A picture that is coming in: how much of it is on disk, and its digest so far."""

    total: int
    size: int = 0
    state: Any = field(default_factory=hashlib.sha256)


class Spool:
    """All jobs' folders under one. Never grows into the disk's last `spare_bytes`."""

    def __init__(self, folder: Path, spare_bytes: int = SPARE_BYTES) -> None:
        self.folder = folder
        self.spare_bytes = spare_bytes
        self._incoming: dict[tuple[str, str, str], _Incoming] = {}

    def store(self, put: Put, blob: bytes) -> bool:
        """Write one part; True when it made the picture whole. Raises `InputError` or `OutputFailed`.

        Parts come in order; offset 0 begins the picture anew. After an error the picture has to begin anew.
        """
        place = (put.key, put.role, put.name)
        try:
            return self._store(place, put, blob)
        except (MatteBridgeError, OSError) as error:
            self._incoming.pop(place, None)
            with contextlib.suppress(OSError):  # a name that cannot be made cannot be removed either
                self._part(put).unlink()
            if isinstance(error, MatteBridgeError):
                raise
            raise OutputFailed(
                f"the server could not keep the picture: {error.strerror}",
                remedy="Free space on the server's state folder.",
                file=put.name,
                frame=put.frame,
            ) from error

    def _store(self, place: tuple[str, str, str], put: Put, blob: bytes) -> bool:
        if put.offset == 0:
            self._begin(place, put)
        incoming = self._incoming.get(place)
        if incoming is None or put.offset != incoming.size or put.total_bytes != incoming.total:
            raise InputError("a part is missing before this one", remedy="Send the picture anew.", file=put.name)
        part = self._part(put)
        with part.open("ab") as stream:
            stream.write(blob)
            incoming.state.update(blob)
            incoming.size += len(blob)
            if incoming.size < incoming.total:
                return False
            stream.flush()
            os.fsync(stream.fileno())
        del self._incoming[place]
        if put.sha256 and put.sha256.lower() != incoming.state.hexdigest():
            raise InputError("the picture's SHA-256 is not that of its bytes", file=put.name, frame=put.frame)
        reach("upload-before-rename", put.frame)
        part.replace(part.with_name(part.name.removesuffix(_PART)))
        self._note(put)
        return True

    def _begin(self, place: tuple[str, str, str], put: Put) -> None:
        part = self._part(put)
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(part.parent).free
        if free - put.total_bytes < self.spare_bytes:
            raise OutputFailed(
                f"the server's disk has {free / 2**30:.1f} GiB left, too little for this picture",
                remedy="Free space on the server's state folder.",
                file=put.name,
                frame=put.frame,
            )
        part.write_bytes(b"")
        self._incoming[place] = _Incoming(put.total_bytes)

    def _part(self, put: Put) -> Path:
        return self.folder / put.key / put.role / (put.name + _PART)

    def _note(self, put: Put) -> None:
        with (self.folder / put.key / _INDEX).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([stored_label(put), put.name]) + "\n")

    def stored(self, key: str) -> Mapping[str, str]:
        """Whole pictures of a job, ``role/frame`` → name, as far as they are still on the disk."""
        try:
            lines = (self.folder / key / _INDEX).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        found: dict[str, str] = {}
        for line in lines:
            try:
                label, name = json.loads(line)
            except ValueError:
                continue  # the last line of a server that was killed while it wrote
            if (self.folder / key / label.partition("/")[0] / name).is_file():
                found[label] = name
        return found

    def result(self, key: str, role: str, name: str) -> Path:
        """Where the engine put a result. Raises `InputError` for a name that leads elsewhere."""
        if name_problem(role, name):
            raise InputError("the result's name is not a plain file name", file=name)
        return self.folder / key / role / name

    def drop_result(self, key: str, role: str, name: str) -> None:
        """The client has it."""
        self.result(key, role, name).unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Remove the job's folder."""
        for place in [place for place in self._incoming if place[0] == key]:
            del self._incoming[place]
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def keep_only(self, keys: set[str]) -> None:
        """Remove folders of jobs that nobody knows any more."""
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if folder.name not in keys and not folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
