"""Smooth fields over a crop: weighted local means and covariances, gathered at a coarse step and over several scales.

A field is estimated from whatever samples are near; where there are none, from farther away, because every coarser
scale weighs a fixed fraction of the finer one (normalised convolution, Knutsson and Westin 1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting import kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Order in which the six entries of a symmetric 3 x 3 matrix are kept."""
COARSER_WEIGHT = 0.03
WIDEST_DIRECT_BLUR = 6.0
NOTHING = 1e-12


@dataclass(frozen=True)
class Grid:
    """The coarse grid of a crop of ``height`` x ``width`` pixels: one cell every ``step`` pixels.

    No result depends on ``threads``.
    """

    height: int
    width: int
    step: int
    threads: int = 2

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return math.ceil(self.width / self.step), math.ceil(self.height / self.step)

    def gather(self, image: Float32) -> Float32:
        """Cell averages of a full-size image with 1 to 4 channels."""
        return np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.float32)

    def blur(self, field: Float32, sigma: float) -> Float32:
        """Gaussian of ``sigma`` pixels of the crop on a field of any depth; wide ones at a coarser size."""
        sigma /= self.step
        shrink = 1
        while sigma >= WIDEST_DIRECT_BLUR:
            sigma, shrink = sigma / 2, shrink * 2
        if sigma < 0.3:
            return field
        if shrink == 1:
            return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
        columns, rows = self.size
        small = _resize(field, (max(1, round(columns / shrink)), max(1, round(rows / shrink))), cv2.INTER_AREA)
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), np.float32)
        return _resize(small, (columns, rows), cv2.INTER_LINEAR)

    def mean(self, samples: Float32, weight: Float32, sigmas: Sequence[float]) -> Float32:
        """Weighted local mean of ``samples`` (h, w, 3) at the grid: (rows, columns, 3)."""
        columns, rows = self.size
        cells = np.zeros((rows, columns, 4), np.float32)
        kernels.in_stripes(self.threads, rows, kernels.weighted_cells, samples, weight, self.step, cells)
        total = self._over_scales(cells, sigmas)
        return np.asarray(total[..., :3] / np.maximum(total[..., 3:], NOTHING), np.float32)

    def coarse_mean(self, samples: Float32, weight: Float32, sigmas: Sequence[float]) -> Float32:
        """As `mean`, for samples (rows, columns, C) and weights (rows, columns) that are already on the grid."""
        total = self._over_scales(np.dstack([samples * weight[..., None], weight]), sigmas)
        return np.asarray(total[..., :-1] / np.maximum(total[..., -1:], NOTHING), np.float32)

    def covariance(self, samples: Float32, weight: Float32, near: float, sigmas: Sequence[float]) -> Float32:
        """Texture of ``samples`` (h, w, 3): covariance about the local mean at scale ``near``, as `PAIRS` (.., 6).

        Every second pixel in each direction is read: statistics do not need all of them.
        """
        centre = self.mean(samples, weight, (near, near * 5))
        columns, rows = self.size
        cells = np.zeros((rows, columns, 7), np.float32)
        kernels.in_stripes(self.threads, rows, kernels.covariance_cells, samples, weight, centre, self.step, cells)
        total = self._over_scales(cells, sigmas)
        return np.asarray(total[..., :6] / np.maximum(total[..., 6:], NOTHING), np.float32)

    def _over_scales(self, gathered: Float32, sigmas: Sequence[float]) -> Float32:
        blurred: list[Float32] = [gathered] * len(sigmas)

        def blur(first: int, last: int) -> None:
            for power in range(first, last):
                blurred[power] = np.float32(COARSER_WEIGHT**power) * self.blur(gathered, sigmas[power])

        kernels.in_stripes(self.threads, len(sigmas), blur)
        total = blurred[0]
        for coarser in blurred[1:]:
            total += coarser
        return total


def inverse(matrix: Float32, floor: float) -> Float32:
    """Inverse of symmetric matrices kept as `PAIRS` (.., 6), with ``floor`` added to their diagonal."""
    a, b, c = (matrix[..., i] + np.float32(floor) for i in range(3))
    d, e, f = matrix[..., 3], matrix[..., 4], matrix[..., 5]
    minors = np.stack([b * c - f * f, a * c - e * e, a * b - d * d, e * f - d * c, d * f - b * e, d * e - a * f], -1)
    determinant = a * minors[..., 0] + d * minors[..., 3] + e * minors[..., 4]
    return np.asarray(minors / np.maximum(determinant, NOTHING)[..., None], np.float32)


def _resize(field: Float32, size: tuple[int, int], interpolation: int) -> Float32:
    if field.ndim == 2 or field.shape[2] <= 4:
        return np.asarray(cv2.resize(field, size, interpolation=interpolation), np.float32)
    parts = [
        _resize(np.ascontiguousarray(field[..., i : i + 4]), size, interpolation) for i in range(0, field.shape[2], 4)
    ]
    return np.dstack(parts)
