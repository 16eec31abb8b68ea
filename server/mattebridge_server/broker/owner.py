"""A server that belongs to somebody: it ends when its owner is gone, so that a farm session leaves nothing behind.

Two signs are watched. The owner's folder: a farm removes a session's working folder when the session is over. And the
owner's process: whoever asked for the server names itself and its ancestors, nearest first. Some of them are wrappers
(a shell, sudo) that end with the command that started us, and which ones nobody can tell beforehand; so those that are
gone `SETTLE_S` after that command's end were wrappers, and the nearest one left is the owner. While that command still
runs (loading a large model takes minutes) its wrappers wait for it: an ancestor that dies before it was no wrapper. A
process is known by its id and its start time, because ids are given out again.

The watch is a thread beside the loop: it works although the loop hangs. It asks politely first, as any signal does.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        return cls(pid, _start_time(pid))

    @property
    def alive(self) -> bool:
        return process_alive(self.pid) and _start_time(self.pid) == self.started


@dataclass(frozen=True)
class Owner:
    """Who a server belongs to. Empty: nobody in particular, it runs until it is stopped."""

    processes: tuple[Process, ...] = ()
    folder: str = ""

    def __bool__(self) -> bool:
        return bool(self.processes or self.folder)

    def settled(self) -> Owner:
        """The owner once the wrappers have ended: the nearest process that still lives; none: the farthest, dead."""
        alive = tuple(process for process in self.processes if process.alive)
        return Owner(alive[:1] or self.processes[-1:], self.folder)

    def gone(self) -> str:
        """Why the owner counts as gone; empty while it is there."""
        if self.folder and not Path(self.folder).is_dir():
            return f"the folder {self.folder} is gone"
        dead = [process.pid for process in self.processes if not process.alive]
        return f"the process {dead[0]} is gone" if dead else ""


def owner_of(pids: Sequence[int], folder: str) -> Owner:
    """The owner that a command line names; processes that are gone already count as wrappers."""
    return Owner(tuple(process for process in map(Process.of, pids) if process.alive), folder)


def watch(owner: Owner, stop: Callable[[int], None] | None = None) -> threading.Event:
    """Watch in the background; the returned event ends the watch. ``stop`` gets a signal number (default: to us)."""
    over = threading.Event()
    if owner:
        act = stop or (lambda number: os.kill(os.getpid(), number))
        threading.Thread(target=_watch, args=(owner, act, over), name="owner", daemon=True).start()
    return over


def _watch(owner: Owner, stop: Callable[[int], None], over: threading.Event) -> None:
    if len(owner.processes) > 1:
        starter, others = owner.processes[0], Owner(owner.processes[1:], owner.folder)
        while starter.alive and not others.gone():
            if over.wait(POLL_S):
                return
        if starter.alive:
            owner = others
        elif over.wait(SETTLE_S):
            return
        else:
            owner = owner.settled()
    while not (why := owner.gone()):
        if over.wait(POLL_S):
            return
    log.warning("stopping: the owner of this server is gone (%s)", why)
    for number in (signal.SIGTERM, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        stop(number)
        if over.wait(DRAIN_S):
            return


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 where there is no such file."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b") ")[2].split()[19])
