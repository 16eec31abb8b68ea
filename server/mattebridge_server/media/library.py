"""The one place that touches OpenImageIO's process-wide settings, and the limits that a file has to keep.

OpenImageIO's limits and thread counts are global attributes, so they are set here, once, before the first file is
opened. The Python binding has no thread count per file: `set_threads` therefore holds for every read and write of the
process. Reads and writes release the interpreter lock, so a pipeline may also overlap several of them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import OpenImageIO as oiio

_WHOLE_FILE_MB = 16 * 1024
_PARTS_OF_LIMIT = 4
_lock = threading.Lock()
_ready = False


@dataclass(frozen=True)
class ReadLimits:
    """What a file may claim before anything is allocated for it.

    ``max_side`` bounds width and height of every window (8K with a generous overscan fits), ``max_bytes`` the pixels
    that one read decodes (as float32), ``max_channels``, ``max_parts`` and ``max_attributes`` what headers may list.
    """

    max_side: int = 16384
    max_bytes: int = 1 << 30
    max_channels: int = 1024
    max_parts: int = 256
    max_attributes: int = 10_000


DEFAULT_LIMITS = ReadLimits()


def prepare_library() -> None:
    """Set OpenImageIO's own limits once per process; cheap after the first call.

    They are wider than `ReadLimits`, which gives the better message: OpenImageIO's bound counts every channel of the
    file, also those that are never decoded.
    """
    global _ready
    with _lock:
        if _ready:
            return
        oiio.attribute("limits:channels", DEFAULT_LIMITS.max_channels)
        oiio.attribute("limits:resolution", DEFAULT_LIMITS.max_side * _PARTS_OF_LIMIT)
        oiio.attribute("limits:imagesize_MB", _WHOLE_FILE_MB)
        # A damaged EXR must not be offered to every other reader in turn.
        oiio.attribute("try_all_readers", 0)
        _ready = True


def set_threads(threads: int) -> None:
    """Use ``threads`` threads (1 or more) to decode and encode one file. Holds for the process; call it at start-up."""
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads}")
    prepare_library()
    with _lock:
        oiio.attribute("threads", threads)
        # For OpenEXR 0 means one per core and -1 none beside the caller.
        oiio.attribute("exr_threads", threads if threads > 1 else -1)
