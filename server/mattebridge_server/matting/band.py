"""Where a coarse mask leaves anything to decide: signed distance, the crop that is worked on, and its zones.

Lengths are pixels at a height of 1080 and follow the plate's height, so that a parameter means the same at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mattebridge_server.matting import kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

REFERENCE_HEIGHT = 1080
SOFT_LOW, SOFT_HIGH = 0.01, 0.99
"""A mask within a hundredth of empty or solid is meant to be so: codecs and filters leave that much."""
FAR = 1.8
"""The background is learned out to this many times the reach: there the mask's object is taken to be absent."""
DEEP = 2.5
"""The foreground is learned in to this many times the depth."""
WIDEST_FEATHER, FAINTEST, SPECK, JOINED = 200.0, 0.1, 11.0, 140.0
"""Over how many pixels the widest feather falls from one half to nothing; coverage that is more than a codec's noise;
the width of what is no speck; and how far a faint feature goes on from where it is plain."""


@dataclass(frozen=True)
class Band:
    """The working crop of a frame and how far each of its pixels lies from the mask's edge.

    ``distance`` is (h, w) float32 in pixels of the plate, negative inside; ``mask`` is the crop's coverage. ``reach``
    and ``depth`` are how far outside and inside the edge alpha may differ from the mask, in pixels of the plate.
    ``threads`` may work on the crop at once; no result depends on it.
    """

    top: int
    left: int
    mask: Float32
    distance: Float32
    reach: float
    depth: float
    unit: float
    threads: int = 1

    @property
    def crop(self) -> tuple[slice, slice]:
        """Index of the crop in the frame."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def by_rows(
        self, function: Callable[..., NDArray[Any]], *images: NDArray[Any], halo: int = 0, dtype: Any = np.float32
    ) -> NDArray[Any]:
        """`kernels.by_rows` with this band's threads."""
        return kernels.by_rows(self.threads, function, *images, halo=halo, dtype=dtype)

    def calm(self, image: Float32, sigma: float) -> Float32:
        """Gaussian of ``sigma`` pixels at a height of 1080; a wide one at half size, where nothing of it is lost."""
        sigma *= self.unit
        if sigma < 4:
            return gaussian(image, max(sigma, 0.4), self.threads)
        half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
        half = gaussian(half, sigma / 2, self.threads)
        size = (image.shape[1], image.shape[0])
        return np.asarray(cv2.resize(half, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def morphology(self, kind: int, image: NDArray[Any], size: float) -> NDArray[Any]:
        """OpenCV's operation ``kind`` on (h, w) with a disc of ``size`` pixels at a height of 1080; keeps the dtype."""
        window = disc(size * self.unit)  # opening and closing reach less than a window up and down
        return self.by_rows(lambda part: _by_rectangles(part, kind, window), image, halo=len(window), dtype=image.dtype)

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Pixels whose colours are looked at: the band and the strips that stand for certain sides."""
        near = (self.distance > -self.depth * DEEP) & (self.distance < self.reach * FAR)
        return np.asarray(near | self._soft, np.bool_)

    @cached_property
    def open(self) -> NDArray[np.bool_]:
        """Pixels whose alpha is decided; all others keep the mask. A soft mask opens wherever it is soft, but not
        where it is `faint`."""
        near = (self.distance > -self.depth) & (self.distance < self.reach)
        return np.asarray((near | self._soft) & ~self.faint, np.bool_)

    @cached_property
    def faint(self) -> NDArray[np.bool_]:
        """What the mask draws below one half and no feather explains: an arm in fast motion, smoke, a far soft shape.

        No pixel of it is seen alone, so that the plate cannot say what belongs to it: it keeps the mask.
        """
        away = self.distance * np.float32(0.5 / (WIDEST_FEATHER * self.unit))
        plain = (self.distance > 0) & (self.mask > np.maximum(0.5 - away, FAINTEST))
        if plain.any():
            plain = self.morphology(cv2.MORPH_OPEN, plain.astype(np.uint8), SPECK) > 0
        if not plain.any():
            return np.zeros(self.mask.shape, np.bool_)
        apart = cv2.distanceTransform((~plain).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(self._soft & (self.distance > 0) & (apart < JOINED * self.unit), np.bool_)

    @cached_property
    def _soft(self) -> NDArray[np.bool_]:
        return np.asarray((self.mask > SOFT_LOW) & (self.mask < SOFT_HIGH), np.bool_)


def open_band(mask: Float32, reach: float, depth: float, threads: int = 1) -> Band | None:
    """The band around the edge of ``mask`` ((H, W) float32 coverage); None where the mask has no edge to refine.

    ``reach`` and ``depth`` are pixels at a height of 1080.
    """
    unit = mask.shape[0] / REFERENCE_HEIGHT
    inside = (mask > 0.5).astype(np.uint8)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0 or inside.all():
        return None
    margin = math.ceil(reach * FAR * unit) + 2
    top, bottom = max(0, int(rows[0]) - margin), min(mask.shape[0], int(rows[-1]) + margin + 1)
    left, right = max(0, int(columns[0]) - margin), min(mask.shape[1], int(columns[-1]) + margin + 1)
    region = np.ascontiguousarray(inside[top:bottom, left:right])
    away = np.empty((2, *region.shape), np.float32)

    def measure(first: int, last: int) -> None:
        for side in range(first, last):
            away[side] = cv2.distanceTransform(region if side else 1 - region, cv2.DIST_L2, 5)

    kernels.in_stripes(threads, len(away), measure)
    crop = np.ascontiguousarray(mask[top:bottom, left:right])
    return Band(top, left, crop, away[0] - away[1], reach * unit, depth * unit, unit, threads)


def ramp(value: NDArray[Any]) -> Float32:
    """Smooth step from 0 at 0 to 1 at 1."""
    x = np.asarray(np.clip(value, 0, 1), np.float32)
    result = 3 - 2 * x
    result *= x
    result *= x
    return result


def gaussian(image: Float32, sigma: float, threads: int) -> Float32:
    """Gaussian of ``sigma`` pixels of an image (h, w) or (h, w, C) float32."""
    reach = math.ceil(4 * sigma) + 1  # where OpenCV cuts it off for float32
    return kernels.by_rows(threads, lambda part: cv2.GaussianBlur(part, (0, 0), sigma), image, halo=reach)


def disc(size: float) -> NDArray[np.uint8]:
    """Structuring element: a disc some ``size`` pixels across, at least 3."""
    odd = max(3, round(size) | 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd, odd)), np.uint8)


_OPERATIONS = {
    cv2.MORPH_ERODE: (cv2.erode,),
    cv2.MORPH_DILATE: (cv2.dilate,),
    cv2.MORPH_OPEN: (cv2.erode, cv2.dilate),
    cv2.MORPH_CLOSE: (cv2.dilate, cv2.erode),
}


def _by_rectangles(image: NDArray[Any], kind: int, window: NDArray[np.uint8]) -> NDArray[Any]:
    """`cv2.morphologyEx` with a disc, to the bit: a disc is a union of rectangles, and those are separable."""
    runs = window.sum(axis=1)
    for operation in _OPERATIONS[kind]:
        best = np.maximum if operation is cv2.dilate else np.minimum
        parts = [operation(image, np.ones((int((runs >= run).sum()), int(run)), np.uint8)) for run in np.unique(runs)]
        image = parts[0]
        for part in parts[1:]:
            best(image, part, out=image)
    return image
