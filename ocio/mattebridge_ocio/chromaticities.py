"""Do the chromaticities in a plate's header fit the space it was resolved to?

The primaries of a space are measured by sending pure red, green and blue through its conversion to linear Rec.709 and
on to XYZ. That conversion adapts to D65; the header's are unadapted, so the measured ones are brought back to the
header's white by Bradford's method before they are compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .config import ColourConfig

Chromaticities = tuple[float, float, float, float, float, float, float, float]
Float64 = NDArray[np.float64]

_TOLERANCE = 0.01
# IEC 61966-2-1 annex B: linear sRGB to XYZ, D65.
_REC709_TO_XYZ: Float64 = np.array(
    [[0.4123908, 0.3575843, 0.1804808], [0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]]
)
_BRADFORD: Float64 = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def contradiction(config: ColourConfig, space: str, stated: Chromaticities, whose: str = "plate") -> str:
    """A warning where the header's ``stated`` xy of red, green, blue and white are not those of ``space``; else "".

    Says nothing about a space that is not linear, whose primaries cannot be measured with single colours, nor about
    numbers that are no colours, such as a header full of zeros.
    """
    if not np.isfinite(stated).all() or stated[7] <= 0:
        return ""
    transform = config.to_linear_rec709(space)
    probes = np.vstack([np.eye(3), 0.5 * np.eye(3)]).astype(np.float32)
    light = transform.apply(probes).astype(np.float64)
    if not np.allclose(light[3:], 0.5 * light[:3], atol=1e-3):
        return ""
    xyz = light[:3] @ _REC709_TO_XYZ.T
    white = _xyz_of(stated[6], stated[7])
    cone_gain = (_BRADFORD @ white) / (_BRADFORD @ (_REC709_TO_XYZ @ np.ones(3)))
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(cone_gain) @ _BRADFORD
    xyz = xyz @ adapt.T
    xy = xyz[:, :2] / xyz.sum(axis=1, keepdims=True)
    worst = float(np.abs(xy - np.reshape(stated[:6], (3, 2))).max())
    if worst <= _TOLERANCE:
        return ""
    return f"the chromaticities in the {whose}'s header are not those of '{space}' (off by {worst:.3f} in xy)"


def _xyz_of(x: float, y: float) -> Float64:
    return np.array([x / y, 1.0, (1.0 - x - y) / y])
