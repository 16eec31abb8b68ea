"""What a task says on standard output, line by line, in the language of whoever reads it.

OpenJD reads lines that begin with ``openjd_``; a malformed one, or a user's text that looks like one, kills the task.
So every line that is not ours to say begins with two blanks, and every message is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mattebridge.cli.output import as_json
from mattebridge.errors import MatteBridgeError
from mattebridge.messages import FrameDone, Progress, Queued, Started, Warning_

Say = Callable[[str], None]

LONGEST_MESSAGE = 1000


def one_line(text: str) -> str:
    """Any text as one line of printable characters."""
    clean = re.sub(r"\s+", " ", "".join(c if c.isprintable() or c.isspace() else "?" for c in text)).strip()
    return clean if len(clean) <= LONGEST_MESSAGE else clean[: LONGEST_MESSAGE - 3] + "..."


def remark(text: str) -> str:
    """A line for people that no scheduler takes for a word of its own."""
    return "  " + one_line(text)


def failure(error: MatteBridgeError) -> str:
    """Frame, code and cause, and what to do: ``frame 1017 BAD_FRAME the plate is truncated ...``."""
    frame = f"frame {error.frame} " if error.frame is not None else ""
    return one_line(f"{frame}{error.code} {error}")


@dataclass
class OpenJdReport:
    """Progress, status and failure as OpenJD's openjd_ lines; everything else as remarks."""

    say: Say
    total: int = 0
    done: int = 0
    fps: float = 0.0

    def event(self, event: Any) -> None:
        """Take one event of the job."""
        if isinstance(event, Started):
            self.total = event.frames + event.fresh
            self.status(f"{event.frames} frames to matte, {event.fresh} finished before")
        elif isinstance(event, FrameDone):
            self.done += 1
            self.say(f"openjd_progress: {100.0 * self.done / max(self.total, self.done):.1f}")
            kept = "kept" if event.kept else "written"
            rate = f", {self.fps:.2f} fps" if self.fps else ""
            self.status(f"frame {event.frame} {kept}, {self.done} of {self.total}{rate}")
        elif isinstance(event, Progress):
            self.fps = event.fps or self.fps
        elif isinstance(event, Warning_):
            frame = f"frame {event.frame}: " if event.frame is not None else ""
            self.note(f"warning: {frame}{event.message} [{event.code}]")
        elif isinstance(event, Queued) and event.position:
            self.status(f"queued, {event.position} ahead")

    def status(self, text: str) -> None:
        """What goes on now."""
        self.say(f"openjd_status: {one_line(text)}")

    def note(self, text: str) -> None:
        """What a person may want to read."""
        self.say(remark(text))

    def progress(self, percent: float) -> None:
        """How far it is, 0 to 100."""
        self.say(f"openjd_progress: {percent:.1f}")

    def failed(self, error: MatteBridgeError) -> None:
        """Why it ended."""
        self.say(f"openjd_fail: {failure(error)}")


@dataclass
class PlainReport:
    """The same for people and for the logs of other schedulers: one line for each frame, no control words."""

    say: Say
    total: int = 0
    done: int = 0

    def event(self, event: Any) -> None:
        """Take one event of the job."""
        if isinstance(event, Started):
            self.total = event.frames + event.fresh
            self.status(f"{event.frames} frames to matte, {event.fresh} finished before")
        elif isinstance(event, FrameDone):
            self.done += 1
            self.status(f"frame {event.frame} {'kept' if event.kept else 'written'}, {self.done} of {self.total}")
        elif isinstance(event, Warning_):
            frame = f"frame {event.frame}: " if event.frame is not None else ""
            self.status(f"warning: {frame}{event.message} [{event.code}]")

    def status(self, text: str) -> None:
        """What goes on now."""
        self.say(one_line(text))

    def note(self, text: str) -> None:
        """What a person may want to read."""
        self.say(remark(text))

    def progress(self, percent: float) -> None:
        """Nothing: frames tell enough."""

    def failed(self, error: MatteBridgeError) -> None:
        """Nothing: the command line prints the error once."""


@dataclass
class JsonReport:
    """Events as JSON lines, as `mattebridge matte --json` writes them."""

    say: Say

    def event(self, event: Any) -> None:
        """Take one event of the job."""
        self.say(as_json(event))

    def status(self, text: str) -> None:
        """What goes on now, as an event NOTE."""
        self.say(json.dumps({"event": "NOTE", "message": one_line(text)}))

    def note(self, text: str) -> None:
        """What a person may want to read, as an event NOTE."""
        self.status(text)

    def progress(self, percent: float) -> None:
        """Nothing: PROGRESS events tell it."""

    def failed(self, error: MatteBridgeError) -> None:
        """Nothing: the job's own FAILED event, or the command line's ERROR, tells it."""


Report = OpenJdReport | PlainReport | JsonReport
REPORTS: dict[str, Callable[[Say], Report]] = {"openjd": OpenJdReport, "plain": PlainReport, "json": JsonReport}
