"""A worker session's own server: started once, found by every task, gone when the session is over.

Everything of the server lies in a folder of the session's working folder: rendezvous, keys, journal, log. Two sessions
on one host do not meet, and nothing of the user's own server is touched. The server watches its owner (that folder, and
the process whose session it is) and ends with it, whatever happens to the commands here; being idle for long ends it
too. A server that died is started again by the next task, so that a retry on the same worker can succeed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mattebridge.client import Client
from mattebridge.errors import Refused, ServerError, UsageError
from mattebridge.launch import log_tail, serve_detached
from mattebridge.rendezvous import Rendezvous, process_alive, read_alive
from mattebridge.settings import Settings, private_folder

from ..broker.lock import DYING_S, FileLock, Holder, broker_lock
from ..broker.owner import ancestors

FOLDER = "mattebridge"
RECIPE = "serve.json"
SERVER_EVENTS = "server.jsonl"
START_TIMEOUT_S = 120.0
IDLE_EXIT_S = 900.0
ASK_S = 5.0
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
        words += ["--owner-folder", str(session / FOLDER)]
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
    try:
        folder = private_folder(session / FOLDER)
        (folder / RECIPE).write_text(json.dumps(dataclasses.asdict(recipe)), encoding="utf-8")
    except (OSError, Refused) as error:
        why = error.strerror if isinstance(error, OSError) else error.message
        raise ServerError(
            f"the session's folder cannot be written: {why}",
            file=str(session),
            remedy="Free space on this worker's disk, or use another worker.",
        ) from None
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


def last_words(session: Path) -> list[str]:
    """The last lines of the server's logs, for a failure of the server: the farm removes the session's folder."""
    settings = session_settings(session)
    logs = (settings.server_log, settings.runtime_dir / SERVER_EVENTS)
    return [f"{log.name}: {line}" for log in logs for line in log_tail(log).splitlines()]


def end(session: Path, drain_s: float = DRAIN_S) -> str:
    """Stop the session's server and take its files away; says what happened. A server that is gone is a success.

    It is asked to drain, then to stop now, then ended; one that is still starting ends because its folder is gone.
    Raises `ServerError` for one that survives all that.
    """
    settings = session_settings(session)
    pid = _server_process(broker_lock(settings.runtime_dir)) if (session / FOLDER).is_dir() else 0
    told = _stop(settings, pid, drain_s) if pid else "the server was gone already"
    shutil.rmtree(session / FOLDER, ignore_errors=True)
    return told


def _server_process(lock: FileLock) -> int:
    """Who holds the server's lock; 0 where nobody does: the id in a file alone might be somebody else's by now."""
    try:
        lock.acquire(Holder(), DYING_S)
    except Refused:
        return lock.holder().pid
    except OSError:
        pass  # a full disk takes no name for it, and so tells as well that it was free
    lock.release()
    return 0


def _stop(settings: Settings, pid: int, drain_s: float) -> str:
    for now, patience_s in ((False, drain_s), (True, TERMINATE_S)):
        with contextlib.suppress(ServerError):
            with Client.connect(settings=settings, timeout_s=ASK_S) as client:
                client.stop(now)
            if _gone(pid, patience_s):
                return f"the server (process {pid}) stopped"
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with contextlib.suppress(OSError):
            os.kill(pid, number)
        if _gone(pid, TERMINATE_S):
            return f"the server (process {pid}) did not answer and was ended"
    raise ServerError(f"the server (process {pid}) cannot be ended", file=str(settings.server_log))


def _gone(pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while process_alive(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
