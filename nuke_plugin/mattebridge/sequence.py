"""File sequences: one pattern, many frames.

    plate.%04d.exr  plate.####.exr  plate.@@@@.exr     a frame number, padded with zeros to that many characters
    plate.%d.exr    plate.#.exr                        a frame number without padding
    %V  %v                                             the view's name (left), its first letter (l)
    {version}                                          v001, v002 …: see `next_version`

As in Nuke, one ``#`` or ``@`` is one character, and a minus sign counts as one of them (``%04d`` of -5 is ``-005``).
Frame numbers are looked for in the file's name only: ``#`` in a folder's name is a ``#``. A pattern without a frame
number is a single file. Paths stay as they were written (a Windows path on Linux too); nothing is made absolute, and
brackets and spaces are ordinary characters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from .errors import InputError, UsageError
from .frames import FrameSet

VERSION = "{version}"
VERSION_DIGITS = 3

_FRAME = re.compile(r"%(?:0?([1-9][0-9]?))?d|#+|@+")
_VIEW = re.compile(r"%[Vv]")
WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""How a path of Windows, or a UNC path, begins."""
_NUMBER_IN_NAME = re.compile(r"(-?[0-9]+)(?=[^0-9]*\Z)")


@dataclass(frozen=True)
class Sequence:
    """One pattern. ``folder`` keeps its last separator, so that ``folder + name == pattern``."""

    pattern: str
    folder: str
    name: str

    @classmethod
    def parse(cls, pattern: str) -> Sequence:
        """Read a pattern. Raises `UsageError` when it is empty, ends in a folder or holds a NUL."""
        cut = max(pattern.rfind(separator) for separator in _separators(pattern)) + 1
        folder, name = pattern[:cut], pattern[cut:]
        if not name or "\0" in pattern:
            raise UsageError(
                f"{pattern!r} names no file", file=pattern, remedy="Give a file or a pattern, such as plate.####.exr."
            )
        return cls(pattern, folder, name)

    @property
    def has_frame(self) -> bool:
        """Whether the name holds a frame number; without one every frame is the same file."""
        return _FRAME.search(self.name) is not None

    @property
    def has_view(self) -> bool:
        return _VIEW.search(self.pattern) is not None

    @property
    def has_version(self) -> bool:
        return VERSION in self.pattern

    @property
    def still_frame(self) -> int:
        """The frame that a single file stands for: the last number in its name, else 1."""
        match = _NUMBER_IN_NAME.search(self.name.rpartition(".")[0])
        return int(match[1].lstrip("-") or 1) if match else 1

    def path(self, frame: int, view: str = "") -> str:
        """The file of one frame. Raises `UsageError` when the pattern asks for a view and none was named."""
        return self._with_view(self.folder, view) + self._with_view(self._name_of(frame), view)

    def existing(self, view: str = "") -> FrameSet:
        """The frames on disk, from one listing of the folder; empty where there is no such folder.

        Only names with the right padding count. A single file that exists is frame `still_frame`. Raises `InputError`
        when the folder cannot be listed.
        """
        if not self.has_frame:
            there = os.path.lexists(self._with_view(self.pattern, view))
            return FrameSet([self.still_frame] if there else [])
        matcher = self._matcher(view)
        found = set()
        for name in _listing(self._with_view(self.folder, view)):
            match = matcher.match(name)
            if match and self._with_view(self._name_of(int(match[1])), view) == name:
                found.add(int(match[1]))
        return FrameSet(found)

    def missing(self, frames: Iterable[int], view: str = "") -> FrameSet:
        """Those of ``frames`` that have no file. For a single file: all of them, or none."""
        wanted = FrameSet(frames)
        there = self.existing(view)
        if not self.has_frame:
            return FrameSet() if there else wanted
        return wanted - there

    def remedy(self, view: str = "") -> str:
        """What to do where no wanted file is there, from what its folder holds; empty where that is hidden."""
        try:
            there = self.existing(view)
            names = sorted(name for name in _listing(self._with_view(self.folder, view)) if not name.startswith("."))
        except InputError:
            return ""
        if there:
            return f"On disk are frames {there}: ask for those, or render the others."
        if not self.has_frame:
            return "Correct the name; that of a sequence has its frame number as #### or %04d, such as plate.####.exr."
        if not names:
            return "Correct the folder: it is empty, or not there."
        nearest = max(names, key=lambda name: _alike(name, self.name))
        return f"Correct the name (the folder holds {nearest}), or render the frames."

    def with_version(self, version: int) -> Sequence:
        """The pattern of one version: ``{version}`` becomes ``v007``."""
        return Sequence.parse(self.pattern.replace(VERSION, f"v{version:0{VERSION_DIGITS}d}"))

    def versions(self, view: str = "") -> list[int]:
        """Versions on disk, ascending; a folder counts although it is empty. Empty without ``{version}``."""
        before, token, after = self.pattern.partition(VERSION)
        if not token:
            return []
        cut = max(before.rfind(separator) for separator in _separators(self.pattern)) + 1
        parent, prefix = before[:cut], before[cut:]
        ends = [at for at in (after.find(separator) for separator in _separators(self.pattern)) if at >= 0]
        suffix = after[: min(ends)] if ends else after
        body = f"{_loose(prefix)}v([0-9]+){_loose(suffix.replace(VERSION, 'v[0-9]+'), keep='v[0-9]+')}"
        matches = (re.fullmatch(body, name) for name in _listing(self._with_view(parent, view)))
        return sorted({int(match[1]) for match in matches if match})

    def next_version(self, view: str = "") -> int:
        """One more than the highest on disk; 1 where there is none."""
        return max(self.versions(view), default=0) + 1

    def __str__(self) -> str:
        return self.pattern

    def _name_of(self, frame: int) -> str:
        return _FRAME.sub(lambda match: _padded(frame, _width(match)), self.name)

    def _matcher(self, view: str) -> re.Pattern[str]:
        pieces, end = [], 0
        for index, match in enumerate(_FRAME.finditer(self.name)):
            pieces.append(re.escape(self._with_view(self.name[end : match.start()], view)))
            pieces.append(r"(-?[0-9]{1,8})" if index == 0 else r"-?[0-9]{1,8}")
            end = match.end()
        pieces.append(re.escape(self._with_view(self.name[end:], view)))
        return re.compile("".join(pieces) + r"\Z")

    def _with_view(self, text: str, view: str) -> str:
        if _VIEW.search(text) is None:
            return text
        if not view:
            raise UsageError(
                f"the path asks for a view and none was named: {self.pattern}",
                file=self.pattern,
                remedy="Name it: --view left.",
            )
        return _VIEW.sub(lambda match: view if match[0] == "%V" else view[0], text)


def _separators(pattern: str) -> str:
    return "/\\" if os.sep == "\\" or WINDOWS_ROOT.match(pattern) else "/"


def _width(match: re.Match[str]) -> int:
    text = match[0]
    if text.startswith("%"):
        return int(match[1] or 0)
    return 0 if len(text) == 1 else len(text)


def _alike(one: str, other: str) -> int:
    """How many characters two names begin with alike."""
    return next((index for index, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _padded(frame: int, width: int) -> str:
    return f"{frame:0{width}d}" if width else str(frame)


def _loose(text: str, keep: Optional[str] = None) -> str:
    """A regular expression for part of a name in which frame numbers and views may be anything."""
    kept = text.split(keep) if keep else [text]
    parts = ["[^/\\\\]+".join(re.escape(piece) for piece in _split(part)) for part in kept]
    return (keep or "").join(parts)


def _split(text: str) -> list[str]:
    pieces, end = [], 0
    for match in re.finditer(f"{_FRAME.pattern}|{_VIEW.pattern}", text):
        pieces.append(text[end : match.start()])
        end = match.end()
    return [*pieces, text[end:]]


def _listing(folder: str) -> list[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"the folder cannot be listed: {error}", file=folder) from None
