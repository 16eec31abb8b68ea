"""Calm over time: where the picture stands still, alpha is averaged over neighbouring frames, and nowhere else.

A neighbour counts at a pixel as far as its plate, with the grain filtered away, equals this frame's. The measure is the
frame's own: the median change between the two, which on a still shot is grain, capped so that on a moving one it stays
below what an eye would call a change. Only neighbours within the window are used, so a frame's result does not depend
on where a chunk begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting.band import REFERENCE_HEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

FLOOR = 0.01
GRAIN_SIGMA = 2.0
LARGEST_STILL_CHANGE = 0.03
"""Natural-log change of a calmed plate that still counts as grain: 3 %."""


@dataclass(frozen=True)
class Moment:
    """One frame: ``look`` is the calmed plate (H, W, 3) float32 in natural-log space, ``alpha`` (H, W) float32."""

    look: Float32
    alpha: Float32


def moment(plate: Float32, alpha: Float32) -> Moment:
    """The frame as `steady_alpha` compares it; ``plate`` (H, W, 3) float32 scene-linear."""
    sigma = max(GRAIN_SIGMA * plate.shape[0] / REFERENCE_HEIGHT, 0.7)
    calm = cv2.GaussianBlur(plate, (0, 0), sigma)
    return Moment(np.asarray(cv2.log(np.maximum(calm, 0) + np.float32(FLOOR)), np.float32), alpha)


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
        still = min(float(np.median(largest)) if at.size else 0.0, LARGEST_STILL_CHANGE) + 1e-5
        same = np.exp(np.float32(-0.5) * np.square(np.maximum(largest - np.float32(still), 0) / np.float32(still)))
        total += same * other.alpha.reshape(-1)[at]
        weight += same
    alpha = now.alpha.copy()
    alpha.reshape(-1)[at] = np.clip(total / weight, 0, 1)
    return alpha
