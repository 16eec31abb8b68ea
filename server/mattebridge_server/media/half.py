"""Between half and float32, fast and exact.

A look-up over the 65,536 halves takes a third of numpy's time for a UHD plate, and gives the same bits.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]

HALF_MAX = 65504.0
_SLACK = 1e-5

with np.errstate(invalid="ignore"):
    _FLOAT_OF_HALF: Float32 = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)


def to_float(pixels: NDArray[Any]) -> Float32:
    """``pixels`` of any float type and shape as C-ordered float32; halves keep their exact value, NaN and infinity."""
    if pixels.dtype != np.float16:
        return np.ascontiguousarray(pixels, dtype=np.float32)
    bits = np.ascontiguousarray(pixels).view(np.uint16)
    if bits.size == 0:
        return np.zeros(pixels.shape, np.float32)
    # As a plain matrix: OpenCV gives arrays with three and four dimensions meanings of its own.
    values = cv2.LUT(bits.reshape(len(bits), -1), _FLOAT_OF_HALF)
    return cast(Float32, values.reshape(pixels.shape))


def to_half(values: Float32, low: float, high: float) -> tuple[Float16, int]:
    """``values`` clamped to ``low``..``high`` and rounded to half (ties to even), with the number that did not fit.

    NaN becomes 0. Counted are NaN, infinity and what lies outside by more than a rounding error.
    """
    changed = 0
    with np.errstate(invalid="ignore"):
        fits = not values.size or bool(values.min() >= low and values.max() <= high)
    if not fits:
        slack = _SLACK * (high - low)
        changed = int(np.count_nonzero(~((values >= low - slack) & (values <= high + slack))))
        values = np.clip(np.nan_to_num(values, nan=0.0, posinf=high, neginf=low), low, high)
    return _round_to_half(np.ascontiguousarray(values, dtype=np.float32)), changed


def _round_to_half(values: Float32) -> Float16:
    if values.size < 65536:
        return values.astype(np.float16)
    # Several times as fast as numpy, with the same rounding.
    column = values.reshape(-1, 1)
    return cast(Float16, cv2.add(column, np.zeros(1), dtype=cv2.CV_16F).reshape(values.shape))
