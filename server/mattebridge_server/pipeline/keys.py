"""Keys: one digest per frame that says whether a file on disk is the result that this job would write.

A frame's key covers the plan, the code and weights (through the plan's model digest), and the bytes of every plate,
mask, core and garbage picture in every window that the frame's alpha is made of. It is an attribute of the EXR itself,
so that the rename which publishes a frame commits its pixels and its proof together.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from blake3 import blake3

from ..media.image_file import unreadable
from .inputs import ShotInputs
from .plan import ShotPlan
from .windows import Span

KEY_VERSION = "1"
ABSENT = "-"


class FileDigests:
    """Content digests of files, remembered while size, inode and both times stay the same. Thread-safe.

    A copy that keeps its source's time of modification still gets another time of change.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._known: OrderedDict[tuple[str, int, int, int, int], str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path, frame: int) -> str:
        """BLAKE3 of the file's bytes, hex; `ABSENT` where there is no such file. Raises `FrameError` for one that the
        system does not give.
        """
        try:
            return self._of(path)
        except FileNotFoundError:
            return ABSENT
        except OSError as error:
            raise unreadable(str(path), frame, error) from error

    def _of(self, path: Path) -> str:
        stat = path.stat()
        token = (str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        with self._lock:
            if known := self._known.get(token):
                self._known.move_to_end(token)
                return known
        digest = _digest(path)
        with self._lock:
            self._known[token] = digest
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return digest


def _digest(path: Path) -> str:
    """Read in blocks, not mapped: a file that is cut short while it is mapped would kill the process."""
    hasher = blake3(max_threads=1)
    block = bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            hasher.update(memoryview(block)[:size])
    return hasher.hexdigest(length=16)


def frame_key(plan_digest: str, region_digest: str, frame: int, inputs: Iterable[tuple[str, int, str]]) -> str:
    """The key of one frame. ``inputs`` are (role, frame number, content digest) in the order of reading."""
    digest = hashlib.sha256(f"{KEY_VERSION}\n{plan_digest}\n{region_digest}\n{frame}\n".encode())
    for role, number, content in inputs:
        digest.update(f"{role} {number} {content}\n".encode())
    return digest.hexdigest()


class FrameKeys:
    """Frame keys of one job, made from the digests of everything that each frame's windows read.

    ``digest(role, frame)`` is the content digest of a picture.
    """

    def __init__(self, plan: ShotPlan, inputs: ShotInputs, digest: Callable[[str, int], str]) -> None:
        self._plan, self._inputs, self._digest = plan, inputs, digest
        self._plan_digest = plan.digest()
        self._roles = [role for role in ("plate", "mask") if inputs.has(role)]
        self._own_roles = [role for role in ("core", "garbage") if inputs.has(role)]

    def of(self, frame: int) -> str:
        """The key of one frame."""
        index, shot = self._inputs.index(frame), self._inputs.shot
        spans: Sequence[Span]
        if self._plan.temporal == "frame":
            spans = [self._plan.spans(len(shot))[index]]
        else:
            spans = self._plan.layout(len(shot)).covering(index)
        entries: list[tuple[str, int, str]] = []
        if self._inputs.layer or self._inputs.view:  # which of the pictures in a file
            entries.append(("read", frame, repr((self._inputs.layer, self._inputs.view))))
        indices: list[int] = []
        for span in spans:
            entries.append(("window", shot[span.start], str(len(span))))
            for i in range(span.start, span.stop):
                indices.append(i)
                entries += [(role, shot[i], self._digest(role, shot[i])) for role in self._roles]
        entries += [(role, frame, self._digest(role, frame)) for role in self._own_roles]
        return frame_key(self._plan_digest, self._plan.region_digest(indices), frame, entries)
