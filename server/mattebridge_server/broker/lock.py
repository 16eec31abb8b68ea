"""Locks between processes: one broker per user and host, one engine per device. Held by an open file, so never stale.

A lock's file stays behind and means nothing; only the operating system's lock on it counts. The file's text says who
holds it, for people.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mattebridge.errors import Refused
from mattebridge.rendezvous import process_alive

POLL_S = 0.01
DYING_S = 10.0
"""How long the server's lock is waited for when its holder was killed; threads that wait for a disk die last."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as they wrote it themselves."""

    pid: int = 0
    host: str = ""
    endpoint: str = ""

    def __str__(self) -> str:
        where = f", listening on {self.endpoint}" if self.endpoint else ""
        return f"process {self.pid} on {self.host}{where}" if self.pid else "another process"


class FileLock:
    """An exclusive lock, taken by `acquire` and given back by `release` or by the end of the process.

    On POSIX a child that inherits `fileno` holds the lock too: an engine keeps its device locked when its broker is
    killed, until it has ended itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self, holder: Holder, dying_s: float = 0.0) -> None:
        """Take the lock. Raises `Refused`, naming the holder, when somebody else has it.

        A process that was killed counts as gone before its last thread is, and holds its locks until then: for a
        holder that is gone so, ``dying_s`` seconds are waited.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        deadline = time.monotonic() + dying_s
        while not (locked := _try_lock(file)) and time.monotonic() < deadline and not process_alive(self.holder().pid):
            time.sleep(POLL_S)
        if not locked:
            file.close()
            raise Refused(
                f"it is locked: {self.holder()} has it",
                remedy="Use that server, or stop it first with `mattebridge stop`.",
                file=str(self.path),
            )
        self._file = file
        self.describe(holder)

    def describe(self, holder: Holder) -> None:
        """Write who holds the lock. Raises `OSError` that names the file."""
        if self._file is not None:
            text = json.dumps({"pid": holder.pid, "host": holder.host, "endpoint": holder.endpoint})
            try:
                self._file.seek(0)
                self._file.truncate()
                os.write(self._file.fileno(), text.encode())  # at once: on a full disk `release` has nothing to write
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self.path)) from None

    @property
    def held(self) -> bool:
        return self._file is not None

    def fileno(self) -> int:
        """The descriptor to hand on to a child."""
        if self._file is None:
            raise ValueError("the lock is not held")
        return self._file.fileno()

    def holder(self) -> Holder:
        """What the holder wrote; an empty `Holder` where it cannot be read."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            return Holder(int(data["pid"]), str(data["host"]), str(data["endpoint"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Holder()

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def end_orphans(lock: FileLock) -> list[int]:
    """Kill processes that hold an engine's lock though their broker is gone; their ids. Linux only, else none.

    Only for the holder of the broker's lock: whoever else has a device of this user is an engine that was left behind
    and cannot end itself, because it is stopped or hangs in a driver.
    """
    ended: list[int] = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        pid = int(folder.parent.name)
        if pid != os.getpid() and _holds(folder, lock.path):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)
    return ended


def _holds(descriptors: Path, path: Path) -> bool:
    wanted = os.path.realpath(path)
    try:
        return any(os.path.realpath(entry) == wanted for entry in descriptors.iterdir())
    except OSError:
        return False  # it has ended, or it is another user's


def broker_lock(folder: Path) -> FileLock:
    """The lock of this user's server on this host, in the user's runtime folder, which hosts may share."""
    return FileLock(folder / f"broker.{socket.gethostname()}.lock")


def device_lock(folder: Path, device: str) -> FileLock:
    """The lock of one of this user's devices on this host, in the user's runtime folder, which hosts may share."""
    name = f"device-{device.replace(':', '-')}.{socket.gethostname()}.lock"
    return FileLock(folder / name)


def _try_lock(file: IO[str]) -> bool:
    platform: str = sys.platform
    if platform == "win32":
        import msvcrt

        try:
            # A byte far beyond the text, so that others can still read who holds the lock.
            os.lseek(file.fileno(), 1 << 20, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
