"""`mattebridge` on the command line of the server's Python: plans and bundles need packages that Nuke does not have."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from typing import Optional

from mattebridge.errors import Cancelled, InputError, MatteBridgeError, ServerError
from mattebridge.launch import clean_environment, server_command

from . import bridge

SUBMITTER = "deadline"
SPEAKER = "mattebridge: "
"""How the command line begins its last word."""


class CommandLine:
    """One command after the other, from any thread; nothing here touches Nuke."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._child: Optional[subprocess.Popen[str]] = None

    def cancel(self) -> None:
        """From any thread: end the command that runs, and begin no other."""
        self._cancelled.set()
        child = self._child
        if child is not None:
            child.terminate()

    def run(self, *words: str) -> str:
        """What it printed. Raises `InputError` with what the command said, `Cancelled`, `ServerError` without one."""
        status, out, errors = self._finish(words)
        if status:
            raise _said(errors.rpartition(SPEAKER)[2]) or InputError(f"`mattebridge {words[0]}` ended with {status}")
        return out

    def submit(self, bundle: str) -> str:
        """Hand a bundle to the farm, without questions; its command's last line. Raises `ServerError`, `Cancelled`."""
        status, out, errors = self._finish(("farm", "submit", bundle, "--", "--yes"))
        if not status:
            return _last_line(out)
        theirs, _, ours = errors.rpartition(SPEAKER)
        raise ServerError(
            f"the farm did not take the job: {_last_line(theirs) or _last_line(out) or ours.strip()}",
            remedy=f"In a shell: {submit_line(bundle)}",
        )

    def _finish(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Run it to its end: status, output, errors."""
        command = [*server_command(bridge.settings()), *words]
        self._refuse_cancelled()
        child = self._child = subprocess.Popen(
            command,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._cancelled.is_set():
            child.terminate()
        out, errors = child.communicate()
        self._child = None
        if child.returncode:
            self._refuse_cancelled()
        return child.returncode, out, errors

    def _refuse_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("cancelled", remedy="Press again to go on.")


def _said(text: str) -> Optional[MatteBridgeError]:
    """What the command line says names cause and remedy both."""
    if not text.strip():
        return None
    reason = InputError(text.strip())
    reason.remedy = ""
    return reason


def _last_line(text: str) -> str:
    return next(iter(reversed(text.strip().splitlines())), "")


def has_submitter() -> bool:
    """Whether ``mattebridge farm submit`` would find the command of AWS Deadline Cloud."""
    return shutil.which(SUBMITTER, path=clean_environment(os.environ).get("PATH")) is not None


def submit_line(bundle: str) -> str:
    """The command for a shell."""
    return f"mattebridge farm submit {shlex.quote(bundle)}"
