"""The detail of a plate that a soft alpha lacks.

Over a few pixels foreground and background are two colours, so alpha is close to a linear function of the encoded
plate (He, Sun and Tang, "Guided Image Filtering", PAMI 2013). Blurring is linear too, and so one function holds for a
sharp and for a soft pair: fitted between a soft alpha and the plate made equally soft, ``slope . (sharp - soft)`` is
what alpha lacks. Texture of either side alone is not in the slope; detail that is no larger than the grain is left out.

`restore` uses it to bring alpha from its canvas to the plate, `softness` to take away what a network blurred.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

GUIDE_NOISE = 3e-5
"""Variance that a guide's codes are taken to have, where no grain was measured."""

LEAST_SIGMA = 0.25
"""Of a blur, in pixels: a narrower one does nothing."""

_ENERGY_RADIUS = 2
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class LocalFit:
    """Linear functions from a ``guide`` (H, W, 3) to an alpha, least squares within ``radius`` pixels of every one."""

    def __init__(self, guide: Float32, radius: int) -> None:
        self._radius = radius
        self._guide = [np.ascontiguousarray(guide[..., channel]) for channel in range(3)]  # planes are far quicker
        self._mean = [box(plane, radius) for plane in self._guide]
        xx, yy, zz, xy, xz, yz = (
            box(self._guide[i] * self._guide[j], radius) - self._mean[i] * self._mean[j] for i, j in _PAIRS
        )
        xx, yy, zz = (spread + np.float32(GUIDE_NOISE) for spread in (xx, yy, zz))
        a, b, c = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
        d, e, f = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - yz * xx
        share = 1 / np.maximum(xx * a + xy * d + xz * e, np.float32(1e-20))
        a, b, c, d, e, f = (part * share for part in (a, b, c, d, e, f))
        self._inverse = ((a, d, e), (d, b, f), (e, f, c))

    def slope(self, alpha: Float32) -> Float32:
        """Slope (H, W, 3) of the function to ``alpha`` (H, W), a mean of the functions that reach a pixel."""
        return np.dstack([box(part, self._radius) for part in self._slopes(alpha, box(alpha, self._radius))])

    def fitted(self, alpha: Float32) -> Float32:
        """``alpha`` (H, W) as the functions give it."""
        start = mean = box(alpha, self._radius)
        slopes = self._slopes(alpha, mean)
        for slope, middle in zip(slopes, self._mean, strict=True):
            start = start - slope * middle
        result = box(start, self._radius)
        for slope, plane in zip(slopes, self._guide, strict=True):
            result += box(slope, self._radius) * plane
        return result

    def _slopes(self, alpha: Float32, mean: Float32) -> list[Float32]:
        x, y, z = (
            box(plane * alpha, self._radius) - middle * mean
            for plane, middle in zip(self._guide, self._mean, strict=True)
        )
        return [a * x + b * y + c * z for a, b, c in self._inverse]


def lacking(slope: Float32, missing: Float32, noise: Float32 | float) -> tuple[Float32, Float32]:
    """Detail of alpha (H, W) from that of the guide, where it is larger than the noise, and its local variance (H, W).

    ``missing`` (H, W, 3): the sharp guide less the soft one; ``noise``: its variance, one number or (H, W, 3).
    """
    detail = np.einsum("hwc,hwc->hw", slope, missing)
    energy = box(np.square(detail), _ENERGY_RADIUS)
    spread = np.einsum("hwc,hwc->hw", np.square(slope), np.broadcast_to(np.float32(noise), slope.shape))
    real = np.maximum(energy - box(spread, _ENERGY_RADIUS), 0) / np.maximum(energy, np.float32(1e-12))
    return np.asarray(detail * real, np.float32), energy


def blurred(image: Float32, sigma: float) -> Float32:
    """Gaussian blur of ``sigma`` pixels, borders repeated; nothing below `LEAST_SIGMA`."""
    if sigma < LEAST_SIGMA:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def box(image: Float32, radius: int) -> Float32:
    """Mean over a square of 2 x ``radius`` + 1 pixels, borders repeated."""
    size = 2 * radius + 1
    return np.asarray(cv2.blur(image, (size, size), borderType=cv2.BORDER_REPLICATE), np.float32)


def around(where: Bools, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of ``where`` (H, W) and a ``margin`` of pixels; None if there is nothing."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if rows.size == 0:
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
