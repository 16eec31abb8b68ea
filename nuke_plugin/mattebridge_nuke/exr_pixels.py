"""Do two EXR files hold the same picture? Answered from their bytes, by the standard library, without decoding.

A header carries the time of writing, the host, Nuke's hash of the node tree and whatever else came along, so two files
of one picture differ. What must agree is how the picture is laid out (`LAYOUT`) and its chunks: the compressed lines or
tiles. One Nuke that writes one picture twice with one Write makes the same chunks. Two files that another encoder made
of one picture may be taken for different ones; different pictures are never taken for the same.

File layout (openexr.com, "OpenEXR File Layout"): magic, version and flags; per part a list of (name, type, size, value)
ended by a zero byte, and for a multi-part file one more zero byte after the last; the offset tables of all parts, which
are absolute positions and therefore move with the header; then the chunks.
"""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = b"\x76\x2f\x31\x01"
MULTI_PART = 0x1000
LAYOUT = (
    b"channels",
    b"compression",
    b"dataWindow",
    b"displayWindow",
    b"lineOrder",
    b"pixelAspectRatio",
    b"tiles",
    b"type",
)

Part = dict[bytes, bytes]


def same_picture(one: Path, other: Path) -> bool:
    """Whether both files hold the same pixels in the same windows. Raises `OSError`, `ValueError` (no whole EXR)."""
    return picture_of(one) == picture_of(other)


def picture_of(path: Path) -> tuple[list[Part], bytes]:
    """Layout of every part, and all chunks. Raises `OSError`, and `ValueError` naming a file that is no whole EXR."""
    data = path.read_bytes()
    try:
        if data[:4] != MAGIC:
            raise ValueError("wrong magic number")
        parts, end = _headers(data)
        return parts, data[_first_chunk(data, end) :]
    except (ValueError, IndexError, struct.error) as reason:
        raise ValueError(f"{path.as_posix()} is not a whole EXR file: {reason}") from None


def _headers(data: bytes) -> tuple[list[Part], int]:
    """The layout attributes of every part, and where the offset tables begin."""
    several = struct.unpack_from("<I", data, 4)[0] & MULTI_PART
    parts: list[Part] = []
    at = 8
    while True:
        part: Part = {}
        while data[at]:
            name, at = _text(data, at)
            kind, at = _text(data, at)
            size, at = struct.unpack_from("<I", data, at)[0], at + 4
            if name in LAYOUT:
                part[name] = kind + b"\0" + data[at : at + size]
            at += size
        parts.append(part)
        at += 1
        if not several:
            return parts, at
        if not data[at]:
            return parts, at + 1


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    """A zero-ended text and the position behind it."""
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _first_chunk(data: bytes, at: int) -> int:
    """The offset tables end where the first chunk begins, in whatever order the chunks were written."""
    first = len(data)
    while at < first:
        first = min(first, struct.unpack_from("<Q", data, at)[0])
        at += 8
    if at != first:
        raise ValueError("it was not written to its end")
    return first
