"""Starting a server in the background: outside the caller's process tree, with a clean environment, at most one.

`start_server` (a client, Nuke) runs ``mattebridge serve --detach`` and waits for it; that process (`serve_detached`)
starts the server in a session of its own, waits until it can be found, and ends, so that the server has no parent that
might take it along. Two callers at once start two servers; the server's lock lets one live, and both callers find it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from .errors import InputError, MatteBridgeError, Refused, ServerError, UsageError
from .extras import install_command
from .rendezvous import Rendezvous, read_alive
from .settings import Settings, private_folder

START_TIMEOUT_S = 60.0
LOG_TAIL_LINES = 15
POLL_S = 0.05
LOCK_GRACE_S = 10.0
LOG_BYTES = 10 * 1024 * 1024
LITTLE_BYTES = 64 * 1024
LOCKED_STATUS = 7
"""Exit status of a server that finds another one of this user on this host (`Refused`)."""

HOST_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONEXECUTABLE",
    "PYTHONSTARTUP",
    "PYTHONNOUSERSITE",
    "__PYVENV_LAUNCHER__",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "DYLD_FRAMEWORK_PATH",
    "DYLD_INSERT_LIBRARIES",
    "QT_PLUGIN_PATH",
    "QT_QPA_PLATFORM_PLUGIN_PATH",
)
"""What a host application sets for itself, and what breaks another Python that inherits it."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a server: without what a host application set for its own Python and libraries."""
    return {name: value for name, value in environment.items() if name not in HOST_VARIABLES}


def server_command(settings: Settings) -> list[str]:
    """The command that is ``mattebridge`` in the server's own Python.

    ``MATTEBRIDGE_SERVER_PYTHON`` if set; else this interpreter, unless it is a host application's or older than a
    server needs; else the ``mattebridge`` command on PATH. Raises `ServerError` where there is none.
    """
    if settings.server_python:
        return [settings.server_python, "-m", "mattebridge"]
    if "python" in Path(sys.executable or "").name.lower() and sys.version_info >= (3, 11):
        return [sys.executable, "-m", "mattebridge"]
    found = shutil.which("mattebridge")
    if found:
        return [found]
    raise ServerError(
        "no Python is known that could run the server",
        remedy=f"Install the server side into a Python of 3.11 or later ({install_command('server')}), and set "
        "MATTEBRIDGE_SERVER_PYTHON to that Python.",
    )


def start_server(settings: Settings, arguments: Sequence[str] = (), timeout_s: float = START_TIMEOUT_S) -> Rendezvous:
    """Start this user's server if none runs, and wait until it can be found.

    Raises, with the log's end, `UsageError`, `InputError` or `Refused` where the server ended with their exit status,
    and otherwise `ServerError`. ``arguments`` are those of ``mattebridge serve``.
    """
    found = read_alive(settings.runtime_dir)
    if found is not None:
        return found
    command = [*server_command(settings), "serve", "--detach", *arguments]
    environment = clean_environment(os.environ)
    environment.update(_folders(settings))
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s + LOCK_GRACE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"the server could not be started: {error}", file=str(settings.server_log)) from None
    found = read_alive(settings.runtime_dir)
    if found is None:
        said = ended.stderr.decode("utf-8", "replace").strip()
        raise _ended_with(ended.returncode, f"the server did not start: {said or ended.returncode}", settings)
    return found


def serve_detached(settings: Settings, arguments: Sequence[str], timeout_s: float = START_TIMEOUT_S) -> Rendezvous:
    """Start ``mattebridge serve`` with ``arguments`` in a session of its own; wait until it can be found.

    Its output is appended to `Settings.server_log`. Raises as `start_server` does when it ends early or is not found
    in time.
    """
    private_folder(settings.runtime_dir)
    log = settings.server_log
    if log.exists() and log.stat().st_size > LOG_BYTES:
        os.replace(log, log.with_name(log.name + ".1"))
    with log.open("ab") as output:
        start = output.tell()
        server = subprocess.Popen(
            [sys.executable, "-m", "mattebridge", "serve", *arguments],
            env={**os.environ, **_folders(settings)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            **_own_session(),
        )
    return _wait_for(settings, server, start, timeout_s)


def log_tail(log: Path, start: int = 0, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of what a log holds from byte ``start``; empty where there is none."""
    try:
        return "\n".join(log.read_bytes()[start:].decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def _wait_for(settings: Settings, server: subprocess.Popen[bytes], start: int, timeout_s: float) -> Rendezvous:
    deadline = time.monotonic() + timeout_s
    died_at: Optional[float] = None
    while time.monotonic() < deadline:
        found = read_alive(settings.runtime_dir)
        if found is not None:
            server.returncode = server.returncode or 0  # it lives on: nobody is to wait for it here
            return found
        if server.poll() is not None and died_at is None:
            died_at = time.monotonic()
        # A server that lost the lock to another ends at once; that other one may still be on its way.
        if died_at is not None and time.monotonic() - died_at > (
            LOCK_GRACE_S if server.returncode == LOCKED_STATUS else 0.0
        ):
            words = log_tail(settings.server_log, start) or _why_silent(settings.server_log)
            said = f"the server ended at once with status {server.returncode}:\n{words}"
            raise _ended_with(server.returncode, said, settings)
        time.sleep(POLL_S)
    raise ServerError(
        f"the server could not be found after {timeout_s:.0f} s:\n{log_tail(settings.server_log, start)}",
        file=str(settings.server_log),
    )


def _why_silent(log: Path) -> str:
    full = shutil.disk_usage(log.parent).free < LITTLE_BYTES
    return "it said nothing, for the disk of its log is full" if full else "it said nothing"


def _ended_with(status: Optional[int], said: str, settings: Settings) -> MatteBridgeError:
    """The error of a server that does not start, of the class that its exit status stands for: a wrong site file is no
    reason to try again."""
    named = {cls.exit_status: cls for cls in (UsageError, InputError, Refused)}
    return named.get(status or 0, ServerError)(
        said,
        file=str(settings.server_log),
        remedy="Correct what its log says, or run `mattebridge serve` in a terminal to see it.",
    )


def _folders(settings: Settings) -> dict[str, str]:
    return {
        "MATTEBRIDGE_RUNTIME": str(settings.runtime_dir),
        "MATTEBRIDGE_CONFIG": str(settings.config_dir),
        "MATTEBRIDGE_STATE": str(settings.state_dir),
    }


def _own_session() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
