"""Colour transforms as values that act on numpy arrays, over one cache of OCIO CPU processors.

Traps that this module exists for:
- OCIO's Python binding accepts any float32 buffer of the right size and reads it as packed RGB: an array that is not
  C-contiguous would be transformed as if it were. The layout is checked here.
- Building a CPU processor costs up to a hundred times more than one small frame, and two processors for the same
  colours share a cache id: they are kept by that id, for the life of the process.
- NaN and infinity do not survive colour: a matrix smears them over all channels and a view can turn NaN into black, so
  that nobody sees it. They are refused; the media stage repairs them before.
- `CPUProcessor.applyRGB` is const and may run in several threads at once, each on its own array.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import PyOpenColorIO as ocio
from numpy.typing import NDArray

from .failure import ColourError

Float32 = NDArray[np.float32]

_lock = threading.Lock()
_by_cache_id: dict[str, ocio.CPUProcessor] = {}


def cpu_processor(processor: ocio.Processor) -> ocio.CPUProcessor:
    """The CPU form of ``processor``, built once per cache id. Safe to call from any thread."""
    cache_id = processor.getCacheID()
    with _lock:
        if cache_id not in _by_cache_id:
            _by_cache_id[cache_id] = processor.getDefaultCPUProcessor()
        return _by_cache_id[cache_id]


def forget_processors() -> None:
    """Drop every cached processor and OCIO's own caches (its file cache never notices that a file has changed)."""
    with _lock:
        _by_cache_id.clear()
        ocio.ClearAllCaches()


@dataclass(frozen=True)
class Transform:
    """One colour conversion. ``cache_id`` identifies its arithmetic; equal ids give equal results in one process."""

    cpu: ocio.CPUProcessor
    cache_id: str

    @classmethod
    def of(cls, processor: ocio.Processor) -> Transform:
        return cls(cpu_processor(processor), processor.getCacheID())

    def apply(self, rgb: Float32) -> Float32:
        """A transformed copy of ``rgb``: (..., 3) float32, finite. Raises `ColourError` ("not_finite")."""
        copy = np.array(rgb, dtype=np.float32, order="C")
        self.apply_in_place(copy)
        return copy

    def apply_in_place(self, rgb: Float32) -> None:
        """Transform ``rgb``, (..., 3) float32, C-contiguous, writeable and finite, without a copy.

        Raises `ValueError` for another layout and `ColourError` ("not_finite") for NaN or infinity.
        """
        if rgb.dtype != np.float32 or rgb.shape[-1] != 3 or not (rgb.flags.c_contiguous and rgb.flags.writeable):
            raise ValueError("a colour transform needs packed, writeable float32 RGB")
        if rgb.size == 0:
            return
        refuse_non_finite(rgb)
        if not self.cpu.isNoOp():
            self.cpu.applyRGB(rgb)


def refuse_non_finite(rgb: Float32) -> None:
    """Raise `ColourError` ("not_finite") where ``rgb`` holds NaN or infinity."""
    # Two reductions without a temporary: NaN propagates through both, infinity shows at one end.
    if rgb.size and not (np.isfinite(rgb.min()) and np.isfinite(rgb.max())):
        raise ColourError(
            "not_finite", "the plate holds NaN or infinite values", remedy="Repair them before any colour operation."
        )
