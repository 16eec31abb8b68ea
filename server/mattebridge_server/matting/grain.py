"""How strong the grain of a plate is, as a variance that grows with light.

Photon noise has a variance proportional to the light, so one number per frame says it: `variance = grain * light`. It
is read from the quietest places of the picture, where what a small blur takes away is grain and not texture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

DARKEST = 1e-3

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_QUIET_PERCENTILE = 15.0
_BOX = 9
# Variance that luminance and the blur take away: weights of .21, .72 and .07, and what a sigma of 1 keeps for itself.
_LOST_VARIANCE = 2.5


def grain_level(plate: Float32) -> float:
    """Variance of the grain per unit of light. ``plate``: (H, W, 3) float32, scene-linear, finite."""
    light = np.ascontiguousarray(plate @ _LUMINANCE)
    smooth = cv2.GaussianBlur(light, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    spread = cv2.blur(np.abs(light - smooth), (_BOX, _BOX))
    lit = light > DARKEST
    if not lit.any():
        return 0.0
    quiet = np.percentile(np.square(spread[lit]) / light[lit], _QUIET_PERCENTILE)
    return float(quiet * np.pi / 2 * _LOST_VARIANCE)
