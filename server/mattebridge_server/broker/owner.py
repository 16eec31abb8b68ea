"""A server that belongs to somebody: it ends when its owner is gone, so that a farm session leaves nothing behind.

Two signs are watched. The owner's folder: a farm removes a session's working folder when the session is over. And the
owner's process: whoever asked for the server names the processes above it, nearest first. The nearest of them are
wrappers (a shell, sudo, setsid) that wait for the command that starts us and end with it; which ones nobody can tell
beforehand. So while that command runs (loading a large model takes minutes) all of them have to live; and `SETTLE_S`
after its end, the nearest one left is the owner. Who connects before that comes from the owner, which goes on only when
the wrappers have ended: they are settled then, and an owner killed a moment later was one. A process is known by its id
and its start time, because ids are given out again.

The watch is a thread beside the loop: it works although the loop hangs. It asks politely first, as any signal does.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mattebridge.rendezvous import process_alive

log = logging.getLogger("mattebridge.broker")

POLL_S = 0.5
SETTLE_S = 2.0
DRAIN_S = 20.0


@dataclass(frozen=True)
class Process:
    """``started`` is the start time in clock ticks since boot, 0 where the platform does not tell."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, int((_stat(pid) or [b"0"] * 20)[19]))

    @property
    def alive(self) -> bool:
        return process_alive(self.pid) and Process.of(self.pid) == self


@dataclass(frozen=True)
class Owner:
    """Who a server belongs to: ``processes`` nearest first, and ``folder``. Empty: it runs until it is stopped."""

    processes: tuple[Process, ...] = ()
    folder: str = ""

    def __bool__(self) -> bool:
        return bool(self.processes or self.folder)

    def settled(self) -> Owner:
        """The owner once the wrappers have ended: the nearest process that still lives; none: the farthest, dead."""
        alive = tuple(process for process in self.processes if process.alive)
        return replace(self, processes=alive[:1] or self.processes[-1:])

    def gone(self) -> str:
        """Why the owner counts as gone; empty while it is there."""
        if self.folder and not Path(self.folder).is_dir():
            return f"the folder {self.folder} is gone"
        dead = [process.pid for process in self.processes if not process.alive]
        return f"the process {dead[0]} is gone" if dead else ""


def owner_of(pids: Sequence[int], folder: str) -> Owner:
    """The owner that a command line names."""
    return Owner(tuple(map(Process.of, pids)), folder)


def ancestors() -> tuple[int, ...]:
    """The processes above this one, nearest first, down to the system's first, which may itself be the owner.

    The first of a container is often the farm's worker. Empty where they cannot be followed to the end (a platform
    without /proc, or one that hides other users' processes): only what is known to be there may be watched.
    """
    found: list[int] = []
    pid = os.getppid()
    while pid > 1 and sys.platform == "linux":
        found.append(pid)
        pid = int((_stat(pid) or [b"0"] * 2)[1])
    return (*found, pid) if pid == 1 and sys.platform == "linux" else ()


class Watch:
    """A watch in the background. ``stop`` gets a signal number (default: it is sent to this process).

    ``starter`` is the command that started this process, our parent: wrappers among the owner's processes end with it.
    """

    def __init__(self, owner: Owner, starter: Process, stop: Callable[[int], None] | None = None) -> None:
        self._starter = starter
        self._stop = stop or (lambda number: os.kill(os.getpid(), number))
        self._settled, self._over = threading.Event(), threading.Event()
        if owner:
            threading.Thread(target=self._run, args=(owner,), name="owner", daemon=True).start()
        else:
            self._settled.set()

    def heard(self) -> None:
        """A client is there. Once the starter has ended, that is what the owner runs next: no wrapper is left."""
        if not self._settled.is_set() and not self._starter.alive:
            self._settled.set()

    def end(self) -> None:
        """Watch no longer."""
        self._over.set()
        self._settled.set()

    def _run(self, owner: Owner) -> None:
        while self._starter.alive and not owner.gone() and not self._settled.is_set():
            self._settled.wait(POLL_S)
        if not self._starter.alive:
            self._settled.wait(SETTLE_S)
            self._settled.set()
            owner = owner.settled()
        while not (why := owner.gone()) and not self._over.wait(POLL_S):
            pass
        if self._over.is_set():
            return
        log.warning("stopping: the owner of this server is gone (%s)", why)
        for number in (signal.SIGTERM, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            self._stop(number)
            if self._over.wait(DRAIN_S):
                return


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third (the state) on; empty where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return []
