"""The light behind a code: what a look shows of it, and where a look hides it.

Below a look's shoulder a code tells the light. In the shoulder a small error of the code is a large one of the light,
and at the clip the code tells nothing. There the plate is asked instead, which is not clipped: colours of one side that
are compressed have near neighbours of that side whose light can be read directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .local_colours import wide_blur

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

_COLOUR_RADIUS = 24.0
_COLOUR_HEADROOM = 1.25
_HIGHLIGHT_SIGMA = 10.0
_HIGHLIGHT_ERROR = 0.1
_CODE_STEP = 1.0 / 256.0


class Encoding(Protocol):
    """What the network saw of the light: one look with one gain, on linear Rec.709 light."""

    @property
    def shoulder_start(self) -> float:
        """Light above which the encoding compresses."""

    @property
    def white_point(self) -> float:
        """Light from which on every code is the same."""

    def forward(self, light: Float32) -> Float32:
        """(..., 3) float32 light → codes in 0..1."""

    def inverse(self, codes: Float32) -> Float32:
        """(..., 3) float32 codes in 0..1 → light in 0..``white_point``."""


@dataclass(frozen=True)
class Highlights:
    """Light of what the look compresses on one side near each pixel, 0 where there is none, and its variance."""

    light: Float32
    variance: Float32


def code_noise(light: Float32, codes: Float32, encoding: Encoding, light_variance: Float32) -> Float32:
    """Variance of the ``codes`` of ``light`` whose grain has ``light_variance``; all (..., 3) float32."""
    step = np.float32(0.01) * light + np.float32(1e-4)
    slope = (encoding.forward(light + step) - codes) / step
    return np.asarray(np.square(slope) * light_variance, np.float32)


def highlights(light: Float32, side: Float32, encoding: Encoding, unit: float) -> Highlights:
    """Highlights (H, W, 3) of the side whose share is ``side`` (H, W) in the plate's ``light`` (H, W, 3).

    A mean that leans to the brightest, because partly covered pixels are darker than the colour that is sought.
    """
    relative = light / np.float32(encoding.shoulder_start)
    lean = np.clip(2.5 * relative - 2, 0, 1) * np.square(side)[..., None] * np.square(relative)
    total, first, second = (
        wide_blur(part, _HIGHLIGHT_SIGMA * unit) for part in (lean, lean * light, lean * np.square(light))
    )
    there = total > np.float32(1e-4)
    total = np.maximum(total, np.float32(1e-6))
    mean = np.where(there, first / total, 0)
    spread = np.maximum(second / total - np.square(mean), 0) + np.square(np.float32(_HIGHLIGHT_ERROR) * mean)
    return Highlights(np.asarray(mean, np.float32), np.asarray(spread, np.float32))


def brightest_nearby(light: Float32, unit: float) -> Float32:
    """A colour estimate cannot be much brighter than anything that is there: (H, W, 3)."""
    size = 2 * max(1, round(_COLOUR_RADIUS * unit)) + 1
    nearby = cv2.dilate(light, np.ones((size, size), np.uint8))
    return np.asarray(nearby * np.float32(_COLOUR_HEADROOM), np.float32)


def light_behind(
    code: Float32, variance: Float32, smooth: Float32, bright: Highlights, ceiling: Float32, encoding: Encoding
) -> tuple[Float32, Float32]:
    """Light and its variance, (N, 3), of a side's ``code`` (N, 3) known to ``variance``.

    Where the neighbourhood's ``smooth`` code and its own lie in the shoulder the highlights are averaged in, by their
    variance.
    """
    light = np.minimum(encoding.inverse(code), ceiling)
    spread = variance * np.square(_light_per_code(code, encoding)) + np.float32(1e-10)
    hidden = np.maximum(
        spread / (spread + bright.variance), _share_above(smooth, 0.9, 1.0, encoding.white_point, encoding)
    )
    share = _share_above(smooth, 0.9, 1.1, encoding.shoulder_start, encoding) * (bright.light > 0) * hidden
    share = share * _share_above(code, 0.98, 1.0, encoding.shoulder_start, encoding)
    return light + share * (bright.light - light), (1 - share) * spread + share * bright.variance


def compressed(codes: Float32, encoding: Encoding) -> Bools:
    """Where a colour's ``codes`` (..., 3) reach the look's shoulder or clip in any channel: (...)."""
    start = encoding.forward(np.full((1, 3), encoding.shoulder_start, np.float32))
    over = codes >= np.float32(0.98) * start
    return np.asarray(over[..., 0] | over[..., 1] | over[..., 2], np.bool_)


def _light_per_code(code: Float32, encoding: Encoding) -> Float32:
    middle = np.clip(code, _CODE_STEP, 1 - _CODE_STEP)
    rise = encoding.inverse(middle + np.float32(_CODE_STEP)) - encoding.inverse(middle - np.float32(_CODE_STEP))
    return np.asarray(rise / np.float32(2 * _CODE_STEP), np.float32)


def _share_above(code: Float32, low: float, high: float, light: float, encoding: Encoding) -> Float32:
    """0 for codes of less than ``low`` times ``light``, 1 above ``high`` times it, a fade between."""
    first, last = (encoding.forward(np.full((1, 3), factor * light, np.float32)) for factor in (low, high))
    return np.asarray(np.clip((code - first) / np.maximum(last - first, np.float32(1e-6)), 0, 1), np.float32)
