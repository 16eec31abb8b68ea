"""When is a frame of an input still the one that was matted? A key per frame says so.

Of an input by path the key is the file's name, size and time of change. Of a rendered input it is Nuke's own hash of
the whole tree above it at that frame (`opHashes`), with the same three facts of every file that a Read above it reads.
The server has the last word: its own keys, made from the pictures, decide what is recomputed. These keys only say when
to ask, and which inputs to render again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence


def file_fact(path: str) -> str:
    """`name|size|time` of a file; `name|-` where there is none."""
    try:
        info = Path(path).stat()
    except OSError:
        return f"{path}|-"
    return f"{path}|{info.st_size}|{info.st_mtime_ns}"


def path_keys(pattern: str, frames: FrameSet, views: Iterable[str]) -> dict[int, str]:
    """One key per frame, over all views, of an input by path."""
    sequence = Sequence.parse(pattern)
    named = list(views) if sequence.has_view else [""]
    return {frame: digest(file_fact(sequence.path(frame, view)) for view in named) for frame in frames}


def digest(parts: Iterable[str]) -> str:
    """Short digest of an ordered list of texts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return state.hexdigest()[:24]


def joined(inputs: Mapping[str, Mapping[int, str]], frames: FrameSet) -> dict[int, str]:
    """One key per frame over every input, by role."""
    roles = sorted(inputs)
    return {frame: digest(f"{role}={inputs[role].get(frame, '')}" for role in roles) for frame in frames}


def changed(before: Mapping[int, str], now: Mapping[int, str]) -> FrameSet:
    """Frames whose key is new or another one."""
    return FrameSet(frame for frame, key in now.items() if before.get(frame) != key)
