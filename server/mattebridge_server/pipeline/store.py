"""Frames read ahead of need and kept while a window uses them: a few pictures, however long the shot is.

Reading runs on a small pool, so that decoding the next frame overlaps the model's work on this one. What is kept is
bounded by count; a frame that was let go is simply read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..media import (
    FrameHeader,
    Mask,
    Plate,
    check_same_geometry,
    place,
    read_mask,
    read_plate,
    usable,
)
from ..media.image_file import frame_error
from .inputs import ShotInputs, exists
from .keys import ABSENT, FileDigests
from .timing import Stages

Float32 = NDArray[np.float32]

LAYER_PREFIX = "matte_"
"""How `write_alpha` names the layer of an object."""
Warn = Callable[[str, str, int | None], None]


@dataclass(frozen=True)
class MaskRule:
    """How every mask of the shot is read; decided once, so that a shot's masks mean one thing."""

    channel: str = ""
    invert: bool = False
    fit: str = ""

    def read(self, path: Path, frame: int, plate: FrameHeader, view: str) -> Mask:
        """A mask so read, on the grid of ``plate``. Raises what `read_mask` raises."""
        return read_mask(
            str(path),
            frame=frame,
            plate_header=plate,
            channel=self.channel,
            invert=self.invert,
            fit=self.fit,
            view=view,
        )


def made_rule(layer: str = "") -> MaskRule:
    """How a mask that the job made itself is read, however the user's own are: `keep_track` wrote it."""
    return MaskRule(channel=f"{LAYER_PREFIX}{layer}.A" if layer else "A")


class FrameStore:
    """Reads the pictures of one shot by role and frame number. Thread-safe; ``keep`` pictures per role are held.

    Masks, core and garbage come on the plate's data-window grid. Every picture's content digest is taken in the same
    pass, while its bytes are in the page cache. ``reference`` is the header of one of the shot's plates with the shot's
    grid as its data window: every plate has to have its display window, and plates and masks are laid on its grid.
    ``rules``: how masks, core and garbage are read, by role.
    """

    def __init__(
        self,
        inputs: ShotInputs,
        reference: FrameHeader,
        digests: FileDigests,
        stages: Stages,
        warn: Warn,
        *,
        layer: str = "",
        rules: Mapping[str, MaskRule] | None = None,
        keep: int = 4,
        workers: int = 2,
    ) -> None:
        self._inputs, self._digests, self._stages, self._warn = inputs, digests, stages, warn
        self._layer, self._rules = layer, rules or {}
        self._keep = keep
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
        self._lock = threading.Lock()
        self._held: dict[str, OrderedDict[int, Future[Any]]] = {}
        self.reference = reference
        self._told: set[str] = set()
        self._taken: dict[Path, str] = {}

    def close(self) -> None:
        """Drop everything; reads under way are waited for, those not begun are not made."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._held.clear()

    def prefetch(self, frames: Iterable[int]) -> None:
        """Begin to read these frames, in this order; errors surface when a frame is asked for."""
        for frame in frames:
            self._future("plate", frame)
            if self._inputs.has("mask"):
                self._future_if_there("mask", frame)

    def plate(self, frame: int) -> Plate:
        """Plate on the shot's grid, (H, W, 3) float32, as stored, finite; its header keeps its own data window.

        Raises `FrameError`.
        """
        plate: Plate = self._future("plate", frame).result()
        return plate

    def header(self, frame: int) -> FrameHeader:
        """The plate's header."""
        return self.plate(frame).header

    def coverage(self, role: str, frame: int) -> Float32 | None:
        """Mask, core or garbage: (H, W) float32 in 0..1 on the plate's grid; None where there is none."""
        path = self._inputs.path(role, frame)
        if not exists(path):
            if path is not None:
                self._take(path, frame, ABSENT)
            return None
        mask: Mask = self._future(role, frame).result()
        return mask.coverage

    def background(self, frame: int) -> Plate:
        """A plate of the background sequence, at its own size."""
        plate: Plate = self._future("background", frame).result()
        return plate

    def digest(self, role: str, frame: int) -> str:
        """Content digest of a picture's file, as it was when this job read it; `keys.ABSENT` where there was none."""
        path = self._inputs.path(role, frame)
        if path is None:
            return ""
        return self._taken.get(path) or self._digests.of(path, frame)

    def identity(self, role: str, frame: int) -> str:
        """The picture itself: its file's digest and how it is read. For caches that outlive the job."""
        how = self._layer if role == "plate" else self._rule_of(role, frame)
        digest, path = self.digest(role, frame), self._inputs.path(role, frame)
        if path is not None:
            self._take(path, frame, digest)  # what such a cache holds stands for the read
        return f"{digest} {how!r} {self._inputs.view!r} {self.reference.raster}"

    def _future_if_there(self, role: str, frame: int) -> None:
        path = self._inputs.path(role, frame)
        if exists(path):
            self._future(role, frame)

    # -- reading -----------------------------------------------------------------------------------------------

    def _future(self, role: str, frame: int) -> Future[Any]:
        key = frame if role == "plate" or role not in self._inputs.still_roles else 0
        with self._lock:
            held = self._held.setdefault(role, OrderedDict())
            if key in held:
                held.move_to_end(key)
                return held[key]
            future = self._pool.submit(self._read, role, frame)
            held[key] = future
            while len(held) > self._keep:
                held.popitem(last=False)
            return future

    def _read(self, role: str, frame: int) -> Plate | Mask:
        path = self._inputs.path(role, frame)
        assert path is not None
        with self._stages.measure("digest"):
            self._take(path, frame, self._digests.of(path, frame))
        plate = role in ("plate", "background")
        read: Plate | Mask = self._read_plate(role, path, frame) if plate else self._read_mask(role, path, frame)
        self._take(path, frame, self._digests.of(path, frame))
        return read

    def _take(self, path: Path, frame: int, digest: str) -> None:
        """Hold on to what a picture was at its first read: the keys of results speak of that, whatever it is later.

        Raises `FrameError` where it is another one now, and the job would be made of both.
        """
        if self._taken.setdefault(path, digest) != digest:
            remedy = "Run the job again when that frame is written; finished frames are kept."
            raise frame_error(str(path), frame, "changed while the job read it", remedy)

    def _read_plate(self, role: str, path: Path, frame: int) -> Plate:
        layer = self._layer if role == "plate" else ""
        with self._stages.measure("read"):
            plate = read_plate(str(path), frame=frame, layer=layer, view=self._inputs.view)
            pixels, repaired = usable(plate.pixels)
        if repaired:
            self._warn("NON_FINITE", f"{repaired} pixels of the {role} were not finite and were repaired", frame)
        if role == "plate":
            check_same_geometry(self.reference, plate.header)
            self._compare(plate.header, frame)
            pixels = place(pixels, plate.header.data_window, self.reference.data_window)
        return replace(plate, pixels=pixels)

    def _compare(self, found: FrameHeader, frame: int) -> None:
        """Say what one plate states otherwise than the shot's first, which the whole shot goes by."""
        first, grid = self.reference, self.reference.data_window
        if found.colour.stated != first.colour.stated:
            self._warn_once(
                "PLATE",
                f"the plate's header states the colour space {found.colour.stated or 'nowhere'} and that of frame "
                f"{first.frame} {first.colour.stated or 'nowhere'}: all frames are read as one space",
                frame,
            )
        stated = found.colour.chromaticities, first.colour.chromaticities
        if all(stated) and not np.allclose(*stated, atol=1e-3, equal_nan=True):
            self._warn_once(
                "PLATE",
                f"the plate's header has other chromaticities than that of frame {first.frame}: all frames are read as "
                "one space",
                frame,
            )
        if not grid.holds(found.data_window):
            self._warn_once(
                "PLATE",
                f"the plate's data window reaches beyond that of frame {first.frame}, {grid}: the matte is empty there",
                frame,
            )

    def _read_mask(self, role: str, path: Path, frame: int) -> Mask:
        rule = self._rule_of(role, frame)
        with self._stages.measure("read"):
            mask = rule.read(path, frame, self.reference, self._inputs.view)
        if mask.non_finite:
            self._warn("NON_FINITE", f"{mask.non_finite} values of the {role} were not finite and became 0", frame)
        for message in mask.warnings:
            self._warn_once("MASK", f"{role}: {message}", frame)
        return mask

    def _rule_of(self, role: str, frame: int) -> MaskRule:
        kind, _, layer = role.partition(":")
        if self._inputs.is_made(kind, frame):
            return made_rule(layer)
        return self._rules.get(kind, MaskRule())

    def _warn_once(self, code: str, message: str, frame: int) -> None:
        with self._lock:
            if message in self._told:
                return
            self._told.add(message)
        self._warn(code, message, frame)
