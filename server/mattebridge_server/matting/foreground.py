"""Straight foreground: the subject's own colour where the plate shows it mixed with what is behind.

    C = F alpha + B (1 - alpha)

Both sides are first estimated as smooth fields, each from where it is seen alone; then the part of the mixing equation
that they leave open is given to the foreground in its share (after Forte and Pitié, "Approximate Fast Foreground Colour
Estimation", ICIP 2021), in scene-linear light. Grain is in that open part, so the foreground keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge.errors import InputError
from mattebridge_server.matting.band import REFERENCE_HEIGHT, ramp
from mattebridge_server.matting.fields import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

SCALES = (3.0, 10.0, 30.0, 90.0, 270.0)
DARKEST, BRIGHTEST = 0.25, 3.0
"""How far from the colours around a half-covered pixel's foreground may be: beyond lies an error of alpha."""


def straight_foreground(plate: Float32, alpha: Float32) -> Float32:
    """Straight foreground (H, W, 3) float32, scene-linear, of ``plate`` (H, W, 3) under ``alpha`` (H, W) in 0..1.

    Where alpha is 1 it is the plate bit for bit; where alpha is 0 it is the nearest foreground colour, so that filters
    and defocus find no fringe. A plate without any coverage is returned unchanged. Raises `InputError` on a mismatch.
    """
    if plate.shape[:2] != alpha.shape:
        raise InputError(f"Alpha of {alpha.shape[1]}x{alpha.shape[0]} does not fit the plate of "
                         f"{plate.shape[1]}x{plate.shape[0]}")  # fmt: skip
    if not (alpha > 0).any():
        return plate.copy()
    unit = plate.shape[0] / REFERENCE_HEIGHT
    grid = Grid(plate.shape[0], plate.shape[1], max(2, round(4 * unit)))
    scales = [sigma * unit for sigma in SCALES]
    rest = 1 - alpha
    own, behind = _alone(grid, plate, alpha, scales), _alone(grid, plate, rest, scales)
    own, behind = _unmixed(grid, plate, alpha, own, behind, scales), _unmixed(grid, plate, rest, behind, own, scales)
    cover = alpha[..., None]
    unexplained = plate - own * cover - behind * (1 - cover)
    solved = own + unexplained * (cover / (np.square(cover) + np.square(1 - cover)))
    bounded = np.clip(solved, DARKEST * own, BRIGHTEST * own)
    trust = ramp((alpha - 0.7) / 0.3)[..., None]
    straight = bounded + (solved - bounded) * trust
    return np.where(cover >= 1, plate, np.maximum(straight, 0)).astype(np.float32)


def _alone(grid: Grid, plate: Float32, cover: Float32, scales: list[float]) -> Float32:
    """Smooth colour of one side from where it is seen alone, however far away that is."""
    weight = ramp((cover - 0.85) / 0.14) + np.float32(1e-7) * np.square(cover) + np.float32(1e-12)
    return _spread(plate, grid.mean(plate, np.asarray(weight, np.float32), scales))


def _unmixed(grid: Grid, plate: Float32, cover: Float32, side: Float32, other: Float32, scales: list[float]) -> Float32:
    """One side's colour by local least squares of the mixing equation, with the ``other`` side's colour known."""
    share = cover[..., None]
    alone = (plate - other * (1 - share)) / np.maximum(share, np.float32(0.05))
    alone = np.clip(alone, DARKEST * side, BRIGHTEST * side)
    weight = np.where(cover > 0.05, np.square(cover), 0) + np.float32(1e-12)
    return _spread(plate, grid.mean(np.asarray(alone, np.float32), np.asarray(weight, np.float32), scales))


def _spread(plate: Float32, mean: Float32) -> Float32:
    return np.asarray(np.maximum(cv2.resize(mean, (plate.shape[1], plate.shape[0])), 0), np.float32)
