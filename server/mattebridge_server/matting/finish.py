"""What a single pixel cannot know of its alpha: whether it hangs on the subject, and how sharp the lens was.

Hair that nothing connects to the subject is background that looks like hair. A slit between two solid parts of the
subject is a seam that looks like background. And an edge is no sharper than what it
bounds: where the subject's own texture and the picture along its edge are blurred by motion or defocus, so is alpha,
and detail in it is noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting.band import gaussian, ramp
from mattebridge_server.matting.fields import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mattebridge_server.matting.band import Band

    Float32 = NDArray[np.float32]

VISIBLE = 0.03
LEAP = 7.0
"""Strands closer than this many pixels (at 1080) are taken for one."""
STRAND, SLIT, SOLID = 5.0, 19.0, 0.9
"""Widths in pixels (at 1080) of what is wider than a strand and of the widest slit; alpha that counts as solid."""
LENS_BLUR = 5.0
SHARP, SOFT = -0.4, -0.5
"""Log amplitude of 2 to 4 px texture over that of 4 to 8 px: a sharp picture lies near 0, a blurred one far below."""


def attached(alpha: Float32, band: Band) -> Float32:
    """``alpha`` (h, w) of the band's crop without the islands that no strand joins to what the mask draws."""
    seen = band.morphology(cv2.MORPH_DILATE, (alpha > VISIBLE).astype(np.uint8), LEAP)
    count, labels = cv2.connectedComponents(seen, connectivity=8)
    kept = np.zeros(count, np.bool_)
    kept[labels[(band.mask > 0.5) | band.faint]] = True
    kept[0] = True
    return band.by_rows(lambda alpha, labels: np.where(kept[labels], alpha, 0), alpha, labels)


def without_slits(alpha: Float32, band: Band) -> Float32:
    """``alpha`` (h, w) of the band's crop without narrow slits between two solid parts of the mask.

    A dark seam or a fold inside the mask can look like the background behind it. Between strands of hair such a gap is
    real; between two parts that are each solid and wider than a strand it is a hole in a shoulder.
    """
    solid = band.morphology(cv2.MORPH_OPEN, (alpha > SOLID).astype(np.uint8), STRAND)
    whole = band.morphology(cv2.MORPH_CLOSE, solid, SLIT)
    holes = (whole > solid) & (band.mask > 0.5)
    filled = gaussian(holes.astype(np.float32), max(0.7 * band.unit, 0.3), band.threads)

    def closed(alpha: Float32, mask: Float32, holes: NDArray[np.bool_], filled: Float32) -> Float32:
        return np.where(mask > 0.5, np.maximum(alpha, np.where(holes, np.float32(1), filled)), alpha)

    return band.by_rows(closed, alpha, band.mask, holes, filled)


def softened(alpha: Float32, lens: Float32, band: Band) -> Float32:
    """``alpha`` (h, w), blurred as far as the subject itself is: ``lens`` is `lens_blur`."""
    if not (lens > 0).any():
        return alpha
    blurred = gaussian(alpha, LENS_BLUR * band.unit, band.threads)

    def mixed(alpha: Float32, blurred: Float32, lens: Float32, opened: NDArray[np.bool_]) -> Float32:
        return np.where(opened, alpha + lens * (blurred - alpha), alpha)

    return band.by_rows(mixed, alpha, blurred, lens, band.open)


def lens_blur(plate: Float32, band: Band) -> Float32:
    """0 where the subject nearby is sharp, 1 where it is blurred: (h, w) float32; ``plate`` is the crop (h, w, 3).

    Flat subjects show only grain, which is sharp: in doubt nothing is blurred.
    """
    height, width = band.mask.shape
    grid = Grid(height, width, max(2, round(4 * band.unit)), band.threads)
    stops = band.by_rows(lambda green: cv2.log(np.maximum(green, 0) + np.float32(0.01)), plate[..., 1])
    levels = [gaussian(stops, max(sigma * band.unit, 0.3), band.threads) for sigma in (2.0, 4.0)]
    fx, fy = max(0.5, 1 / width), max(0.5, 1 / height)  # a picture of one row stays one
    half = np.asarray(cv2.resize(stops, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA), np.float32)
    half = gaussian(half, max(4 * band.unit, 0.3), band.threads)
    levels.append(np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR), np.float32))
    fine, coarse = (band.by_rows(lambda one, two: np.square(one - two), *pair) for pair in (levels[:2], levels[1:]))
    texture = np.asarray(cv2.merge([fine, coarse, coarse]), np.float32)  # the third is one more than is asked for
    inside = (band.distance < -12 * band.unit) & band.observed
    along = np.abs(band.distance) < 8 * band.unit
    amount = np.minimum(_blur(grid, texture, inside, band.unit), _blur(grid, texture, along, band.unit))
    return np.asarray(cv2.resize(amount, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _blur(grid: Grid, texture: Float32, where: NDArray[np.bool_], unit: float) -> Float32:
    """0 (sharp) to 1 (blurred) at the grid, by the slope of the texture's spectrum at the pixels ``where``."""
    weight = where.astype(np.float32) + np.float32(1e-6)
    energy = grid.mean(texture, weight, [sigma * unit for sigma in (30, 90, 270)])
    slope = 0.5 * np.log((energy[..., 0] + 1e-7) / (energy[..., 1] + 1e-7))
    return ramp((SHARP - slope) / (SHARP - SOFT))
