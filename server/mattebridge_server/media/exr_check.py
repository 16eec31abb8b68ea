"""What an EXR's structure tells without a decoder: whether one just written is all there, whether a header is a bomb.

OpenImageIO's writer may report success although the last few kilobytes never reached a full disk: the stream's last
flush happens while it is destroyed, where its failure is lost. So the file itself is asked. A scan-line EXR of one part
(the file layout of OpenEXR) is a header, a table with the offset of each chunk, and the chunks one after the other:

    magic, version          4 + 4 bytes
    attributes              name, 0, type, 0, int32 size, value; an empty name ends them
    table                   uint64 offset for each chunk, written last, zeros until then
    chunks                  int32 y, int32 size, size bytes
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import BinaryIO

_INT = struct.Struct("<i")
_OFFSET = struct.Struct("<Q")
_CHUNK = struct.Struct("<ii")
_MULTI_PART = 0x1000
_LONGEST_NAMES = 2 * 256


def is_complete(path: str, first_row: int, rows: int) -> bool:
    """Whether the scan-line EXR at ``path`` holds every chunk of ``rows`` rows from ``first_row``, up to its last byte.

    Meant for a file of our own: it looks at the structure, not at the pixels. Raises `OSError`.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        if os.fstat(handle).st_size == 0:
            return False
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as content:
            return _chunks_are_there(content, first_row, rows)
    except struct.error:
        return False
    finally:
        os.close(handle)


def is_cut_off(path: str) -> bool:
    """Whether the scan-line EXR at ``path``, one of our own, ends anywhere else than its last chunk does.

    A copy that was cut off still has its header. This reads two places of a file that may lie on a share, and not all
    of it as `is_complete` does. One that cannot be read counts as cut off.
    """
    try:
        with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            table = _end_of_header(content)
            chunks = (_OFFSET.unpack_from(content, table)[0] - table) // _OFFSET.size
            last = _OFFSET.unpack_from(content, table + (chunks - 1) * _OFFSET.size)[0]
            return bool(last + _CHUNK.size + _CHUNK.unpack_from(content, last)[1] != len(content))
    except (OSError, OverflowError, ValueError, struct.error):
        return True


def lists_at_most(stream: BinaryIO, attributes: int) -> bool:
    """Whether the headers of the EXR in ``stream`` hold no more attributes than that, all parts together.

    OpenEXR's time for a header grows with the square of their number: 50,000 take seconds, although they are a
    megabyte. Where the header is garbled the answer is yes: the library will say what is wrong. Raises `OSError`.
    """
    stream.seek(4)
    multi_part = int.from_bytes(stream.read(4), "little") & _MULTI_PART
    at, count = 8, 0
    while count <= attributes:
        stream.seek(at)
        head = stream.read(_LONGEST_NAMES + _INT.size)
        if head[:1] == b"\0" and multi_part and head[1:2] not in (b"", b"\0"):
            at += 1  # the next part's header
            continue
        _, _, behind_name = head.partition(b"\0")
        _, _, rest = behind_name.partition(b"\0")
        size = _INT.unpack_from(rest)[0] if len(rest) >= _INT.size else -1
        if head[:1] in (b"", b"\0") or size < 0:
            return True
        at += len(head) - len(rest) + _INT.size + size
        count += 1
    return False


def _chunks_are_there(content: mmap.mmap, first_row: int, rows: int) -> bool:
    table = _end_of_header(content)
    if table < 0:
        return False
    at = _OFFSET.unpack_from(content, table)[0]
    count, rest = divmod(at - table, _OFFSET.size)
    if count < 1 or count > rows or rest:
        return False
    tops = []
    for number in range(count):
        if _OFFSET.unpack_from(content, table + number * _OFFSET.size)[0] != at:
            return False
        top, size = _CHUNK.unpack_from(content, at)
        tops.append(top)
        at += _CHUNK.size + size
    step = tops[1] - tops[0] if count > 1 else rows
    evenly = tops == [first_row + number * step for number in range(count)]
    return evenly and (count - 1) * step < rows <= count * step and at == len(content)


def _end_of_header(content: mmap.mmap) -> int:
    """Where the table begins, or -1 where the header has no end."""
    at = 8
    while at < len(content) and content[at]:
        type_at = content.find(b"\0", at) + 1
        size_at = content.find(b"\0", type_at) + 1
        if type_at == 0 or size_at == 0:
            return -1
        at = size_at + _INT.size + _INT.unpack_from(content, size_at)[0]
    return at + 1
