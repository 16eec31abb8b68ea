"""Alpha of a network's canvas back on the plate's pixels, with the plate as guide inside the band.

The canvas has fewer pixels than the region it shows. Enlarging alone leaves a soft edge; the plate knows where the edge
is. Over a few canvas pixels alpha is close to a linear function of the encoded plate's colour (`detail`): fitted at the
canvas's size, it turns what the plate loses on the way to the canvas and back into what alpha lost. What the network
itself blurred on its canvas is taken away before (`softness`). Where alpha is smooth, or the plate does not show its
edge, alpha is only enlarged. The guide must be the picture that the network saw (encoded, same look and gain), because
it is in codes that its alpha mixes linearly.

Outside the band nothing is touched: where the canvas is solid alpha is 1, where it is empty alpha is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import InputError

from .detail import GUIDE_NOISE, LocalFit, lacking
from .softness import focused

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

SOLID = 0.996
"""Above it the canvas counts as solid, below one minus it as empty: half a step of the least contrast anyone sees."""

_RADIUS = 1
_SUPPORT = 2
_FULL_MASK = 0.999


@dataclass(frozen=True)
class Placement:
    """Where the canvas lies on the plate, in plate pixels; it may reach beyond the plate's edges."""

    x: int
    y: int
    width: int
    height: int


def restore(alpha: Float32, guide: Float32, mask: Float32 | None, placement: Placement | None = None) -> Float32:
    """Alpha on the plate's grid, (H, W) float32 in 0..1.

    ``alpha``: (h, w) float32 in 0..1 on the canvas. ``guide``: (H, W, 3) float32 codes in 0..1, the plate as the
    network saw it but at its own resolution. ``mask``: (H, W) float32 coverage, asked only outside ``placement``, where
    alpha is 1 if the mask is and 0 otherwise; None counts as empty. ``placement`` None means the whole plate. Raises
    `InputError` where mask and plate differ in size.
    """
    height, width = guide.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise InputError(f"A mask of {mask.shape[1]}x{mask.shape[0]} does not fit the plate of {width}x{height}")
    place = placement or Placement(0, 0, width, height)
    result = np.zeros((height, width), np.float32)
    if mask is not None:
        result[mask >= _FULL_MASK] = 1
    x0, y0 = max(0, place.x), max(0, place.y)
    x1, y1 = min(width, place.x + place.width), min(height, place.y + place.height)
    if x0 >= x1 or y0 >= y1:
        return result
    seen = guide[y0:y1, x0:x1]
    margins = (y0 - place.y, place.y + place.height - y1, x0 - place.x, place.x + place.width - x1)
    if any(margins):
        seen = np.asarray(cv2.copyMakeBorder(seen, *margins, cv2.BORDER_REPLICATE), np.float32)
    part = _enlarged(alpha, seen)
    result[y0:y1, x0:x1] = part[margins[0] : margins[0] + y1 - y0, margins[2] : margins[2] + x1 - x0]
    return result


def _enlarged(alpha: Float32, guide: Float32) -> Float32:
    """``alpha`` (h, w) at the size of ``guide`` (H, W, 3), refined by it inside the band."""
    height, width = guide.shape[:2]
    if alpha.shape == (height, width):
        return alpha.astype(np.float32, copy=True)
    solid, empty = (_everywhere_near(side, (width, height)) for side in (alpha >= SOLID, alpha <= 1 - SOLID))
    band = ~(solid | empty)
    if alpha.size > guide.shape[0] * guide.shape[1]:
        large = _resized(alpha, (width, height), cv2.INTER_AREA)
    elif band.any():
        large = _guided(alpha, guide, band)
    else:
        large = _resized(alpha, (width, height), cv2.INTER_CUBIC)
    large = np.clip(large, 0, 1)
    large[solid], large[empty] = 1, 0
    return np.asarray(large, np.float32)


def _everywhere_near(side: Bools, size: tuple[int, int]) -> Bools:
    """Full-size pixels whose canvas neighbourhood, as far as a cubic kernel reaches, lies on one ``side``."""
    kernel = np.ones((2 * _SUPPORT + 1, 2 * _SUPPORT + 1), np.uint8)
    inside = cv2.erode(side.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST) > 0, np.bool_)


def _resized(image: Float32, size: tuple[int, int], method: int) -> Float32:
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=method), np.float32)


def _guided(alpha: Float32, guide: Float32, band: Bools) -> Float32:
    """``alpha`` enlarged, in the ``band`` with the detail of ``guide`` that the canvas did not keep."""
    canvas, plate = (alpha.shape[1], alpha.shape[0]), (guide.shape[1], guide.shape[0])
    small = _resized(guide, canvas, cv2.INTER_AREA)
    alpha = focused(alpha, small)
    large = _resized(alpha, plate, cv2.INTER_CUBIC)
    slope = _resized(LocalFit(small, _RADIUS).slope(alpha), plate, cv2.INTER_LINEAR)
    detail, _ = lacking(slope, guide - _resized(small, plate, cv2.INTER_CUBIC), GUIDE_NOISE)
    result = np.where(band, np.clip(large + detail, 0, 1), large)
    # Averaged down again it has to be what it was on the canvas.
    missing = alpha - _resized(result, canvas, cv2.INTER_AREA)
    result[band] += _resized(missing, plate, cv2.INTER_CUBIC)[band]
    return result
