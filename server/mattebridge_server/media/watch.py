"""Which pictures are being read at this moment, told to whoever has to say what killed the process.

A damaged file may take the process with it in a reader that is not ours, so what is told has to leave before the read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..crashpoints import reach

Observer = Callable[[str, int, bool], None]
_observer: Observer | None = None


def watch_reads(observer: Observer | None) -> None:
    """Have ``observer`` called with file, frame and True before each read, and False after it. One for the process.

    It is called on the thread that reads, so from several at once.
    """
    global _observer
    _observer = observer


@contextmanager
def being_read(path: str, frame: int) -> Iterator[None]:
    """A read of ``path``, from before it is opened until it is closed."""
    observer = _observer
    if observer is not None:
        observer(path, frame, True)
    reach("read-before", frame)
    try:
        yield
    finally:
        if observer is not None:
            observer(path, frame, False)
    reach("read-after", frame)
