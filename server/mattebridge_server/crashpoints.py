"""Named places where a test lets this process die, to prove that it may die there. Nothing happens outside tests.

``MATTEBRIDGE_CRASH_AT=NAME`` kills the process the first time it reaches NAME, ``NAME:7`` the seventh time and
``NAME@1013`` only when it is reached for frame 1013. The process ends by SIGKILL where there is one: nothing is
flushed, no handler runs. The variable is read once, when this module is imported: the only place below the command
line that looks at the environment.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

VARIABLE = "MATTEBRIDGE_CRASH_AT"


def parse(text: str) -> tuple[str, int, int | None]:
    """``NAME[@FRAME][:COUNT]`` as name, count and frame."""
    rest, _, count = text.partition(":")
    name, _, frame = rest.partition("@")
    return name, int(count or 1), int(frame) if frame else None


def reach(name: str, frame: int | None = None) -> None:
    """Tell that a named point was reached, for a frame where it has one; the process may end here."""
    if name == _name and (_frame is None or frame == _frame):
        _pass()


def _pass() -> None:
    global _left
    _left -= 1
    if _left == 0:
        _die()


def _die() -> NoReturn:
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)


_name, _left, _frame = parse(os.environ.get(VARIABLE, ""))
