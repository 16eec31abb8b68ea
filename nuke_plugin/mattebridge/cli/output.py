"""How events look: as JSON for scripts, as one line for people, and as a progress line on a terminal."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Optional, TextIO

from ..messages import (
    TAGS,
    CancelledEvent,
    Done,
    Failed,
    FrameDone,
    JobRequest,
    Progress,
    Queued,
    Started,
    Warning_,
)
from ..sequence import VERSION, VERSION_DIGITS
from . import silence

NOTES = frozenset({"PLAN", "TRACKED"})
"""Codes that tell of a choice; nothing is wrong."""
PLAIN_EVERY_S = 5.0
REDRAW_EVERY_S = 0.1
SHORTEST_RATE_S = 0.5


def as_json(event: Any) -> str:
    """One event as one line: its fields, and ``event`` with its name in the protocol."""
    return json.dumps({"event": TAGS[type(event)].decode(), **dataclasses.asdict(event)})


def frames(count: int) -> str:
    """1 frame, 12 frames."""
    return counted(count, "frame")


def counted(count: int, noun: str) -> str:
    """1 job, 12 jobs."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


class Teller:
    """Shows a job to a person: notes as lines, progress as one line that is redrawn (on a terminal) or now and then.

    Everything goes to ``stream`` (standard error), so that standard output stays for results.
    """

    def __init__(
        self,
        stream: Optional[TextIO] = None,
        terminal: Optional[bool] = None,
        columns: Optional[int] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._columns = columns
        self._clock = clock
        self._total = 0
        self._done = 0
        self._began = clock()
        self._drawn_at: Optional[float] = None
        self._stage = ""
        self._line = ""
        self._text = ""
        self.warnings = 0

    def event(self, event: Any) -> None:
        """Show one event."""
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, FrameDone):
            self._done += not event.kept
            self._draw(self._frames_text(self._stage, event.frame, 0.0, 0.0))
        elif isinstance(event, Queued):
            self._total = self._done = 0  # it may be queued again, where a server or an engine was lost
            self._stage = self._text = ""
            ahead = f", {event.position} ahead" if event.position else ""
            self.note(f"queued{ahead}" + (f" (running: {event.ahead})" if event.ahead else ""))
        elif isinstance(event, Started):
            self._total, self._done, self._began = event.frames, 0, self._clock()
            kept = f", {event.fresh} more were finished before" if event.fresh else ""
            why = f" ({event.why})" if event.why else ""
            what = f"{frames(event.frames)} with {event.model or 'a model'} on {event.device or 'a device'}"
            self.note(f"{what}{why}{kept}")
        elif isinstance(event, Warning_):
            said = "note" if event.code in NOTES else "warning"
            self.warnings += said == "warning"
            frame = f"frame {event.frame}: " if event.frame is not None else ""
            self.note(f"{said}: {frame}{event.message} [{event.code}]")
        elif isinstance(event, (Done, Failed, CancelledEvent)):
            self.clear()

    def note(self, text: str) -> None:
        """A line that stays, above the progress line."""
        text_below = self._text if self._line else ""
        self.clear()
        self._write(text + "\n")
        if text_below:
            self._redraw(text_below)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._terminal and self._line:
            self._write("\r" + " " * len(self._line) + "\r")
        self._line = ""

    def _progress(self, event: Progress) -> None:
        if event.position and not event.total:
            self._draw(f"{event.stage}: {event.position} ahead")
            return
        self._total = event.total or self._total
        self._done = max(self._done, event.done)
        began, self._stage = event.stage != self._stage, event.stage
        if event.total:
            self._draw(self._frames_text(event.stage, event.frame, event.fps, event.eta_s))
        else:  # a model is loaded, or the server is looked for: no time that is left could be true
            self._draw("  ".join(self._where(event.stage, event.frame)), at_once=began)

    def _frames_text(self, stage: str, frame: Optional[int], fps: float, eta_s: float) -> str:
        elapsed = self._clock() - self._began
        fps = fps or (self._done / elapsed if self._done and elapsed > SHORTEST_RATE_S else 0.0)
        left = eta_s or ((self._total - self._done) / fps if fps and self._total > self._done else 0.0)
        parts = self._where(stage, frame)
        if fps:
            parts.append(f"{fps:.1f} fps" if fps >= 1 else f"{1 / fps:.1f} s a frame")
        if left:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _where(self, stage: str, frame: Optional[int]) -> list[str]:
        if not self._total:
            return [stage or "working"]
        at = f" {frame}" if frame is not None else ""
        return [f"frame {self._done} of {self._total}", *([stage + at] if stage else [])]

    def _draw(self, text: str, at_once: bool = False) -> None:
        self._text = text
        now = self._clock()
        every = REDRAW_EVERY_S if self._terminal else PLAIN_EVERY_S
        if self._drawn_at is not None and now - self._drawn_at < every and not at_once:
            return
        self._drawn_at = now
        if self._terminal:
            self._redraw(text)
        else:
            self._write(text + "\n")

    def _redraw(self, text: str) -> None:
        shown = text[: self._width() - 1]
        self._write("\r" + shown.ljust(len(self._line)))
        self._line = shown

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:  # the job goes on, and the exit status still tells how it ended
            silence(self._stream)

    def _width(self) -> int:
        if self._columns is not None:
            return self._columns
        import shutil

        return shutil.get_terminal_size().columns


def summary(done: Done, request: JobRequest, seconds: float, warnings: int) -> str:
    """What was made and where it is."""
    kept = f", {done.kept} kept from before" if done.kept else ""
    rate = f", {done.written / seconds:.2f} fps" if done.written and seconds > 0 else ""
    version = f"v{int(done.facts.get('version', 0)):0{VERSION_DIGITS}d}"
    lines = [f"done: {frames(done.written + done.kept)} ({done.written} written{kept}) in {duration(seconds)}{rate}"]
    for name, where in (
        ("alpha", request.out),
        ("foreground", request.fgr),
        ("comp", request.comp),
        ("clean plate", request.cleanplate),
    ):
        if where:
            lines.append(f"  {name:<12}{where.replace(VERSION, version)}")
    if warnings:
        lines.append(f"  {counted(warnings, 'warning')}, listed above")
    shown = {name: value for name, value in done.facts.items() if name in ("licence", "model", "seam", "plan_digest")}
    lines += [f"  {name.replace('_', ' '):<12}{value}" for name, value in shown.items()]
    return "\n".join(lines)
