"""Sets of frame numbers, as artists write them: ``1001-1100``, ``1001-1100x2``, ``1001,1005-1010``, ``-5--1``.

    set   = item { ("," | space) item }
    item  = frame | first "-" last [ ("x" | ":") step ]

A ``:`` before the step is how OpenJD writes it. A set has no order and no repeats; its text is canonical, so that two
equal sets have one text, and a farm chunk parsed from text is the chunk that was meant.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Union, overload

from .errors import UsageError

MAX_FRAMES = 1_000_000
MAX_NUMBER = 99_999_999

_ITEM = re.compile(r"(-?[0-9]{1,18})(?:-(-?[0-9]{1,18})(?:[x:]([0-9]{1,18}))?)?\Z")


class FrameSet:
    """An immutable, ascending set of frame numbers. It may be empty; `parse` never returns an empty one."""

    __slots__ = ("_frames",)

    def __init__(self, frames: Iterable[int] = ()) -> None:
        """Any integers, numpy's too. Raises `UsageError` beyond `MAX_FRAMES` frames or `MAX_NUMBER`."""
        numbers = tuple(sorted(set(map(operator.index, frames))))
        if len(numbers) > MAX_FRAMES:
            raise _absurd(f"{len(numbers)} frames")
        if numbers and max(-numbers[0], numbers[-1]) > MAX_NUMBER:
            raise _absurd(f"frame {max(numbers, key=abs)}")
        self._frames = numbers

    @classmethod
    def parse(cls, text: str) -> FrameSet:
        """Read a frame range. Raises `UsageError` for what is not one, runs backwards or is absurdly long."""
        items = [item for item in re.split(r"[\s,]+", text.strip(" \t,")) if item]
        if not items:
            raise UsageError("the frame range is empty", remedy="Write it as 1001-1100, 1001-1100x2 or 1001,1005-1010.")
        found: set[int] = set()
        for item in items:
            span = _span(item, text)
            if len(found) + len(span) > 2 * MAX_FRAMES:
                raise _absurd(text if len(text) < 80 else f"{len(items)} parts")
            found.update(span)
        return cls(found)

    @property
    def first(self) -> int:
        """The lowest frame. Raises `IndexError` on an empty set, as `last` does."""
        return self._frames[0]

    @property
    def last(self) -> int:
        return self._frames[-1]

    def chunks(self, size: int) -> Iterator[FrameSet]:
        """Consecutive pieces of at most ``size`` frames, in order; together they are the set."""
        if size < 1:
            raise UsageError(f"a chunk of {size} frames makes no sense")
        for start in range(0, len(self._frames), size):
            yield _trusted(self._frames[start : start + size])

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, frame: object) -> bool:
        if not isinstance(frame, Integral):
            return False
        number = int(frame)
        index = bisect_left(self._frames, number)
        return index < len(self._frames) and self._frames[index] == number

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> FrameSet: ...
    def __getitem__(self, index: Union[int, slice]) -> Union[int, FrameSet]:
        if isinstance(index, slice):
            return FrameSet(self._frames[index])
        return self._frames[index]

    def __eq__(self, other: object) -> bool:
        return self._frames == other._frames if isinstance(other, FrameSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._frames)

    def __or__(self, other: FrameSet) -> FrameSet:
        return FrameSet((*self._frames, *other._frames))

    def __and__(self, other: FrameSet) -> FrameSet:
        return _trusted(tuple(frame for frame in self._frames if frame in other))

    def __sub__(self, other: FrameSet) -> FrameSet:
        return _trusted(tuple(frame for frame in self._frames if frame not in other))

    def __le__(self, other: FrameSet) -> bool:
        return all(frame in other for frame in self._frames)

    def __str__(self) -> str:
        return ",".join(_runs(self._frames))

    def __repr__(self) -> str:
        return f"FrameSet({str(self)!r})"


def _trusted(ascending: tuple[int, ...]) -> FrameSet:
    made = FrameSet()
    made._frames = ascending
    return made


def _span(item: str, text: str) -> range:
    match = _ITEM.match(item)
    if match is None:
        raise UsageError(
            f"{item[:40]!r} in {text[:80]!r} is not a frame range",
            remedy="Write it as 1001-1100, 1001-1100x2 or 1001,1005-1010.",
        )
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    step = int(match[3]) if match[3] else 1
    if last < first:
        raise UsageError(f"{item!r} runs backwards", remedy=f"Write {last}-{first}; a set of frames has no order.")
    if step < 1:
        raise UsageError(f"{item!r} has a step of 0", remedy="Leave the step out, or give one of 1 or more.")
    span = range(first, last + 1, step)
    if len(span) > MAX_FRAMES:
        raise _absurd(item)
    return span


def _absurd(what: str) -> UsageError:
    return UsageError(
        f"{what} is beyond {MAX_FRAMES} frames or frame number {MAX_NUMBER}",
        remedy="Look for a slip of the keyboard in the range.",
    )


def _runs(frames: tuple[int, ...]) -> Iterator[str]:
    """Greedy runs of one step, ascending. A step other than 1 needs three frames to be worth writing."""
    start = 0
    while start < len(frames):
        step = frames[start + 1] - frames[start] if start + 1 < len(frames) else 1
        end = start
        while end + 1 < len(frames) and frames[end + 1] - frames[end] == step:
            end += 1
        if end - start >= 2 or (step == 1 and end > start):
            yield f"{frames[start]}-{frames[end]}" + (f"x{step}" if step != 1 else "")
            start = end + 1
        else:
            yield str(frames[start])
            start += 1
