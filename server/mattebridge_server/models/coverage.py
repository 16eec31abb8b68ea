"""The copy of a soft mask that a network sees: hard, because networks were trained on hard masks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

NOISE_FLOOR = 0.02
"""Coverage below this is compression or filter residue, not roto."""


def binarise(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hard mask (H, W) float32 of 0 and 1 from soft coverage (H, W) in 0..1.

    Half coverage is the edge. A separate feature that never reaches half (a motion-blurred limb, a strand thinner than
    a canvas pixel) would vanish, so it is cut at half of its own peak instead. The soft mask itself goes on to the
    restore and solve steps unchanged.
    """
    hard = mask >= 0.5
    present = mask > NOISE_FLOOR
    count, labels = cv2.connectedComponents(present.astype(np.uint8), connectivity=8)
    if count <= 1:
        return hard.astype(np.float32)
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels[present].astype(np.intp), mask[present])
    cut = np.where(peaks < 0.5, peaks * 0.5, 0.5).astype(np.float32)
    cut[0] = np.inf
    return np.asarray(mask >= cut[labels], np.float32)
