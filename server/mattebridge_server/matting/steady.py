"""Calm over time: where the picture stands still, alpha is averaged over neighbouring frames, and nowhere else.

A neighbour counts at a pixel as far as its plate, with most of the grain filtered away, equals this frame's, and as far
as its alpha does: thin hair moves by a pixel without changing much of the plate, but then alpha changes by more than
grain would make it. How much is grain is measured between the two frames themselves, from the calmest fifth of the
band, and capped. Only neighbours within the window are used, so a result does not depend on where a chunk begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting import kernels
from mattebridge_server.matting.band import REFERENCE_HEIGHT, gaussian

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

FLOOR = 0.01
GRAIN_SIGMA = 1.2
CALMEST, GRAIN_SPREAD = 20, 3.0
"""The 20th percentile of the change over the band, times 3, is what grain does to nearly every still pixel."""
LARGEST_STILL_CHANGE = 0.04
"""Natural-log change of a calmed plate that may count as grain: 4 %."""
LARGEST_FLICKER = 0.12
"""Change of alpha (one deviation) that still counts as flicker."""


@dataclass(frozen=True)
class Moment:
    """One frame: ``look`` is the calmed plate (H, W, 3) float32 in natural-log space, ``alpha`` (H, W) float32."""

    look: Float32
    alpha: Float32


def moment(plate: Float32, alpha: Float32, threads: int = 1) -> Moment:
    """The frame as `steady_alpha` compares it, whatever ``threads``; ``plate`` (H, W, 3) float32 scene-linear."""
    sigma = max(GRAIN_SIGMA * plate.shape[0] / REFERENCE_HEIGHT, 0.8)
    calm = gaussian(plate, sigma, threads)
    look = kernels.by_rows(threads, lambda part: cv2.log(np.maximum(part, 0) + np.float32(FLOOR)), calm)
    return Moment(look, alpha)


def steady_alpha(now: Moment, around: Sequence[Moment]) -> Float32:
    """``now.alpha`` averaged with the neighbours' where the plate is still: (H, W) float32.

    Neighbours are taken in the order given; one of another size is passed over. Averages of 0 are 0 and of 1 are 1.
    """
    around = [other for other in around if other.alpha.shape == now.alpha.shape]
    differs = (now.alpha > 0) & (now.alpha < 1)
    for other in around:
        differs |= other.alpha != now.alpha
    at = np.flatnonzero(differs)
    here, look = now.alpha.reshape(-1)[at], now.look.reshape(-1, 3)[at]
    total, weight = here.copy(), np.ones_like(here)
    for other in around:
        change = np.abs(look - other.look.reshape(-1, 3)[at])
        largest = np.maximum(np.maximum(change[:, 0], change[:, 1]), change[:, 2])
        calmest = float(np.percentile(largest, CALMEST)) if at.size else 0.0
        still = np.float32(min(calmest * GRAIN_SPREAD, LARGEST_STILL_CHANGE) + 1e-5)
        theirs = other.alpha.reshape(-1)[at]
        plate = np.maximum(largest - still, 0) / still
        same = np.exp(np.float32(-0.5) * (np.square(plate) + np.square((theirs - here) / np.float32(LARGEST_FLICKER))))
        total += same * theirs
        weight += same
    alpha = now.alpha.copy()
    alpha.reshape(-1)[at] = np.clip(total / weight, 0, 1)
    return alpha
