"""Non-finite values: found cheaply, repaired from their neighbours, counted.

Runs before any colour step, since a matrix turns infinity into NaN and a tone curve may hide either as black.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge_server.media.half import HALF_MAX

Float32 = NDArray[np.float32]

_REACHES = (1, 3, 8, 20)
# Neighbours beyond this are garbage themselves, and would drown the running sums of the box filter.
_LARGEST_NEIGHBOUR = 1e6


def usable(pixels: Float32) -> tuple[Float32, int]:
    """``pixels`` repaired, and within what a result can hold: finite values beyond half's range become +-65504.

    (H, W) or (H, W, C) float32. One such value would drown its neighbours in every local sum, or overflow there. The
    number is that of `repair_non_finite`. Where nothing is to be done the same array comes back.
    """
    repaired, touched = repair_non_finite(pixels)
    if repaired.size and cv2.norm(repaired.reshape(len(repaired), -1), cv2.NORM_INF) > HALF_MAX:
        repaired = np.clip(repaired, -HALF_MAX, HALF_MAX)
    return repaired, touched


def repair_non_finite(pixels: Float32) -> tuple[Float32, int]:
    """``pixels``: (H, W) or (H, W, C) float32. Returns a repaired copy and the number of pixels that were touched.

    A value that is not finite becomes the mean of the finite values of its channel within 1 pixel, else within 3, 8 or
    20, else 0. Where all is finite the same array comes back with 0.
    """
    if pixels.size == 0 or np.isfinite(cv2.sumElems(pixels.reshape(len(pixels), -1))[0]):
        return pixels, 0
    planes = pixels.reshape(*pixels.shape[:2], -1)
    bad = ~np.isfinite(planes)
    touched = int(np.count_nonzero(bad.any(axis=2)))
    rows, columns = np.nonzero(bad.any(axis=2))
    margin = _REACHES[-1]
    area = (
        slice(max(int(rows.min()) - margin, 0), int(rows.max()) + margin + 1),
        slice(max(int(columns.min()) - margin, 0), int(columns.max()) + margin + 1),
    )
    out = planes.copy()
    for channel in range(planes.shape[2]):
        out[(*area, channel)] = _filled(planes[(*area, channel)], bad[(*area, channel)])
    return out.reshape(pixels.shape), touched


def _filled(plane: Float32, bad: NDArray[np.bool_]) -> Float32:
    """One channel with its bad values replaced: (h, w)."""
    out = np.where(bad, np.float32(0), plane)
    known = np.clip(out, -_LARGEST_NEIGHBOUR, _LARGEST_NEIGHBOUR).astype(np.float64)
    weight = (~bad).astype(np.float64)
    left = bad.copy()
    for reach in _REACHES:
        if not left.any():
            break
        size = (2 * reach + 1, 2 * reach + 1)
        total = cv2.boxFilter(known, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        count = cv2.boxFilter(weight, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        ready = left & (count > 0.5)
        out[ready] = (total[ready] / count[ready]).astype(np.float32)
        left &= ~ready
    return out
