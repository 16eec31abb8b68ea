"""A worker session's own server: started once, found by every task, gone when the session is over.

Everything of the server lies in the session's working folder: rendezvous, keys, journal, log. Two sessions on one host
do not meet, and nothing of the user's own server is touched. The server watches its owner (the session's process and
its folder) and ends with it, whatever happens to the commands here; being idle for long ends it too. A server that died
is started again by the next task, so that a retry on the same worker can succeed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mattebridge.client import Client
from mattebridge.errors import ServerError, UsageError
from mattebridge.launch import serve_detached
from mattebridge.rendezvous import Rendezvous, process_alive, read_alive
from mattebridge.settings import Settings, private_folder

FOLDER = "mattebridge"
RECIPE = "serve.json"
START_TIMEOUT_S = 120.0
IDLE_EXIT_S = 900.0
DRAIN_S = 30.0
TERMINATE_S = 10.0
POLL_S = 0.05
LOST_S = 10.0
"""Until a task gives up a server that does not answer: nobody but the next task would start it again."""


@dataclass(frozen=True)
class Recipe:
    """How the session's server is started, so that any task can start it again."""

    device: str = "cpu:0"
    threads: int = 2
    models_folders: tuple[str, ...] = ()

    def arguments(self, session: Path) -> list[str]:
        """Arguments of `mattebridge serve`, ownership included."""
        words = ["--device", self.device, "--threads", str(self.threads), "--idle-exit", f"{IDLE_EXIT_S:g}"]
        words += [word for folder in self.models_folders for word in ("--models-dir", folder)]
        words += ["--owner-folder", str(session)]
        return words + [word for pid in ancestors() for word in ("--owner-pid", str(pid))]


@dataclass(frozen=True)
class Started:
    """The server that a session has, and whether it was started just now."""

    server: Rendezvous
    fresh: bool


def session_settings(session: Path) -> Settings:
    """The settings of clients and server of this session: folders of its own, its own server."""
    folder = session / FOLDER
    return dataclasses.replace(
        Settings.from_environment(),
        runtime_dir=folder / "run",
        config_dir=folder / "keys",
        state_dir=folder / "state",
        server="auto",
        server_key="",
        lost_timeout_s=LOST_S,
    )


def begin(session: Path, recipe: Recipe) -> Started:
    """Start the session's server and remember how. Raises `UsageError` and `ServerError`."""
    if not session.is_dir():
        raise UsageError("the session's folder does not exist", file=str(session), remedy="Name it: --session DIR.")
    folder = private_folder(session / FOLDER)
    (folder / RECIPE).write_text(json.dumps(dataclasses.asdict(recipe)), encoding="utf-8")
    return ensure(session)


def ensure(session: Path) -> Started:
    """The session's server; started again where it died. Raises `UsageError` for a folder that is no session."""
    settings = session_settings(session)
    found = read_alive(settings.runtime_dir)
    if found is not None:
        return Started(found, False)
    try:
        about = json.loads((session / FOLDER / RECIPE).read_text(encoding="utf-8"))
        recipe = Recipe(str(about["device"]), int(about["threads"]), tuple(about["models_folders"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"no server was started for this session: {error}",
            file=str(session),
            remedy="Run `mattebridge farm enter --session DIR` first, or leave --session out.",
        ) from None
    return Started(serve_detached(settings, recipe.arguments(session), START_TIMEOUT_S), True)


def end(session: Path, drain_s: float = DRAIN_S) -> str:
    """Stop the session's server and take its files away; says what happened. A server that is gone is a success.

    It is asked to drain, then to stop now, then ended. Never raises for a server that does not answer.
    """
    settings = session_settings(session)
    found = read_alive(settings.runtime_dir)
    told = "the server was gone already" if found is None else _stop(settings, found, drain_s)
    shutil.rmtree(session / FOLDER, ignore_errors=True)
    return told


def _stop(settings: Settings, server: Rendezvous, drain_s: float) -> str:
    for now, patience_s in ((False, drain_s), (True, TERMINATE_S)):
        with contextlib.suppress(ServerError), Client.connect(settings=settings, timeout_s=5.0) as client:
            client.stop(now)
        if _gone(server.pid, patience_s):
            return f"the server (process {server.pid}) stopped"
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(OSError):
            os.kill(server.pid, number)
        if _gone(server.pid, TERMINATE_S):
            return f"the server (process {server.pid}) did not answer and was ended"
    raise ServerError(f"the server (process {server.pid}) cannot be ended", file=str(settings.server_log))


def _gone(pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while process_alive(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def ancestors() -> Sequence[int]:
    """This process and those above it, nearest first, without the first of the system; elsewhere than on Linux two."""
    found: list[int] = [os.getpid()]
    pid = os.getppid()
    while pid > 1 and pid not in found:
        found.append(pid)
        pid = _parent(pid)
    return found


def _parent(pid: int) -> int:
    if sys.platform != "linux":
        return 0
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b") ")[2].split()[1])
