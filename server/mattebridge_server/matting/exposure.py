"""The gain that brings a frame to the level at which its evidence is read, so that alpha hardly follows the exposure.

The evidence compares stops above a floor: hair that lies below it looks black, and grain that lies above it looks like
texture. So the gain follows the light on both sides of the mask's edge, the subject's more than the backdrop's, and
stops where grain would rise from the floor. Means over thousands of pixels, continuous in the light: neighbouring
frames get nearly the same gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting.band import gaussian
from mattebridge_server.matting.evidence import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mattebridge_server.matting.band import Band

    Float32 = NDArray[np.float32]

ORDINARY = (0.0375, 0.14)
"""Light at the mask's edge, scene-linear, that needs no gain; other light is brought to the nearer end."""
INSIDE, OUTSIDE = 75.0, 140.0
"""How far from the edge it is measured, in pixels at a height of 1080."""
BACKDROP = 0.2
"""Weight of the backdrop's light against the subject's, in stops, where it is brighter; a darker one has none."""
BRIGHTEST, DARKEST = 300.0, 1e-3
"""A backdrop counts up to this many times the subject's light, a subject from this share of the backdrop's."""
BLACK, NOTHING = 1e-3, 1e-6
"""A pixel counts from this share of its side's mean, so that a few black ones weigh little, and from this light."""
EVERY = 7
GRAIN_BELOW_FLOOR = 3.0
"""Deviations of grain that stay below the evidence's floor in the calmest parts of the picture."""
CELL, CALMEST, DEVIATION = 8, 10, 1.25
"""Grain is read from the calmest tenth of cells of 8 x 8 pixels; its deviation is 1.25 times its mean amount."""


def gain_of(plate: Float32, band: Band) -> np.float32:
    """What to multiply ``plate`` by: the crop of ``band``, (h, w, 3) float32 scene-linear, finite."""
    inside, outside = (max(reach * band.unit, 2.0) for reach in (INSIDE, OUTSIDE))
    backdrop = _light(plate, (band.distance > 0) & (band.distance < outside))
    subject = max(_light(plate, (band.distance < 0) & (band.distance > -inside)), backdrop * DARKEST)
    level = subject * min(max(backdrop / subject, 1.0), BRIGHTEST) ** BACKDROP
    gain = min(max(level, ORDINARY[0]), ORDINARY[1]) / level
    return np.float32(min(gain, FLOOR / GRAIN_BELOW_FLOOR / max(_grain(plate, band), NOTHING)))


def _light(plate: Float32, side: NDArray[np.bool_]) -> float:
    """Geometric mean of the light of ``side`` (h, w), read from every seventh of its pixels."""
    some = np.unravel_index(np.flatnonzero(side)[::EVERY], side.shape)
    light = plate[some].mean(axis=1, dtype=np.float64)
    least = max(float(light.mean()) * BLACK, NOTHING)
    return float(np.exp(np.log(np.maximum(light, least)).mean()))


def _grain(plate: Float32, band: Band) -> float:
    """Deviation of the grain where the plate is calmest, and as a rule dark."""
    green = band.by_rows(np.positive, plate[..., 1])
    off = band.by_rows(lambda seen, calm: np.abs(seen - calm), green, gaussian(green, 1.0, band.threads))
    columns, rows = (max(1, side // CELL) for side in reversed(off.shape))
    cells = cv2.resize(off, (columns, rows), interpolation=cv2.INTER_AREA)
    return float(np.percentile(cells, CALMEST)) * DEVIATION
