"""One clean line where the evidence is too weak or too scattered for more: no torn edges, no slits, no specks.

The judge decides every pixel by itself. Where the two sides look nearly alike, or a seam looks like the background, its
answer is ragged. So an edge from which no hair stands off is drawn as a line: the coverage around, gathered over a few
pixels, is cut at one half. Where the plate cannot tell the sides apart the mask's own line, smoothed, takes its place.
A strand keeps what the judge said, and so does an edge that is clean already, a soft one, or one that the lens blurred.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting.band import SOFT_HIGH, SOFT_LOW, calm, disc, ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mattebridge_server.matting.band import Band
    from mattebridge_server.matting.evidence import Evidence

    Float32 = NDArray[np.float32]
    Flags = NDArray[np.bool_]

# Lengths are pixels at a height of 1080.
TOLD, UNTOLD, BELIEVED = 0.23, 0.45, 0.5
"""Error to expect of a pixel's coverage: up to the first the plate tells the sides apart, from the second it does
not, and at the third plate and mask weigh the same."""
NEAR, WIDE = 3.0, 8.0
"""What a line is gathered over, and what it is gathered over where the plate does not tell."""
NEAR_WIDTH, WIDE_WIDTH = 0.45, 0.2
"""Coverage, so gathered, that an edge of some three pixels passes through."""
SMALL = (0.6, 0.9)
"""Heights, as a share of 1080, up to which plates are left alone and from which lines are drawn in full: on a small
plate hair is as wide as the teeth of an edge, and a line that comes and goes with the grain flickers."""
FEATHER = 11.0
STRAND_WIDTH, STRAND_CONTRAST, STRAND_LENGTH, STAND_OFF = 9.0, 0.12, 10.0, 5.5
FULLEST_STRANDS = 0.2
"""Hair is thin: it fills little of a square of its length. A pattern of cloth fills more."""
STRAND_SURROUNDINGS = 25.0
SEAM, SEAM_MISFIT = 13.0, (0.4, 0.8)
"""Widest seam, and the misfit in stops from which it is a colour of neither side."""
ROUGH = (0.002, 0.01)
"""Coverage off the line, averaged over some pixels, that is let pass, and that is not."""
SHARP_EDGE, SOFT_EDGE = 1.6, 2.6
"""Deviation in pixels of the profile of an edge that is a line, and of one that is a slope."""


@dataclass(frozen=True)
class _Doubt:
    """Maps (h, w): ``unsure`` is 1 where the plate does not tell and 0 where it does, ``believed`` its share of a line
    (float32 in 0..1); ``feathered`` is where the mask is soft on purpose, ``calm_mask`` the mask without its teeth."""

    unsure: Float32
    believed: Float32
    feathered: Flags
    calm_mask: Float32


def drawn(alpha: Float32, band: Band, evidence: Evidence, lens: Float32) -> Float32:
    """``alpha`` (h, w) of the band's crop with clean lines for ragged ones; ``lens`` (h, w) is 1 where it blurred all.

    The mask is kept where the band is not open.
    """
    if band.unit <= SMALL[0] or not band.open.any():
        return alpha
    rows, columns = (np.flatnonzero(band.open.any(axis=axis)) for axis in (1, 0))
    part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    near = replace(band, mask=band.mask[part], distance=band.distance[part])
    misfit, deviation = evidence.maps["misfit"][part], _deviation(evidence, band.unit)[part]
    result = alpha.copy()
    result[part] = _drawn(np.ascontiguousarray(alpha[part]), near, deviation, misfit, lens[part])
    return result


def _deviation(evidence: Evidence, unit: float) -> Float32:
    """The error to expect of a coverage (h, w): by its own account, or as often as the picture answers falsely."""
    grid = evidence.grid
    expected = grid.blur(np.log(grid.gather(evidence.maps["doubt"]) + np.float32(1e-3)), 4 * unit)
    everywhere = cv2.resize(np.exp(expected), (grid.width, grid.height), interpolation=cv2.INTER_LINEAR)
    return np.maximum(np.asarray(everywhere, np.float32), evidence.false_answers)


def _drawn(alpha: Float32, band: Band, deviation: Float32, misfit: Float32, lens: Float32) -> Float32:
    believed = (1 / (1 + np.square(np.square(deviation * np.float32(1 / BELIEVED))))).astype(np.float32)
    unsure = ramp((deviation - np.float32(TOLD)) / np.float32(UNTOLD - TOLD))
    doubt = _Doubt(unsure, believed, _feathered(band), calm(band.mask, WIDE * band.unit))
    hairy = _hairy(alpha, _line(alpha, band, doubt), band, doubt)
    line = _line(_without_seams(alpha, hairy, band, misfit), band, doubt)
    ragged = np.where(doubt.feathered, 0, _ragged(alpha, line, hairy, band.unit))
    large = ramp(np.asarray((band.unit - SMALL[0]) / (SMALL[1] - SMALL[0])))
    share = np.maximum(ragged, doubt.unsure) * (1 - hairy) * (1 - lens) * large
    return np.where(band.open, alpha + (line - alpha) * share, alpha).astype(np.float32)


def _line(alpha: Float32, band: Band, doubt: _Doubt) -> Float32:
    """The contour of ``alpha`` and, as far as that is in doubt, of the mask; a soft mask stays as soft as it is."""
    unit, rest = band.unit, 1 - doubt.believed
    gathered = calm(doubt.believed * alpha + rest * band.mask, NEAR * unit)
    width: Float32 | float = NEAR_WIDTH
    if doubt.unsure.any():
        wide = calm(doubt.believed * alpha + rest * doubt.calm_mask, WIDE * unit)
        gathered += doubt.unsure * (wide - gathered)
        width = np.float32(NEAR_WIDTH) + doubt.unsure * np.float32(WIDE_WIDTH - NEAR_WIDTH)
    line = np.clip((gathered - np.float32(0.5)) / width + np.float32(0.5), 0, 1)
    return np.where(doubt.feathered, gathered, line) if doubt.feathered.any() else line


def _feathered(band: Band) -> Flags:
    """Where the mask is soft on purpose: over more pixels than sampling or enlarging it would explain."""
    soft = ((band.mask > SOFT_LOW) & (band.mask < SOFT_HIGH)).astype(np.uint8)
    wide = cv2.morphologyEx(soft, cv2.MORPH_OPEN, disc(FEATHER * band.unit))
    return np.asarray(cv2.dilate(wide, disc(1.4 * FEATHER * band.unit)) > 0, np.bool_)


def _bytes(alpha: Float32) -> NDArray[np.uint8]:
    """In steps of 1/255: morphology is far quicker on bytes, and need not be finer."""
    return np.asarray(alpha * np.float32(255) + np.float32(0.5), np.uint8)


def _hairy(alpha: Float32, line: Float32, band: Band, doubt: _Doubt) -> Float32:
    """1 at and around strands that stand off from the line, 0 elsewhere; in doubt only at the strands themselves."""
    unit = band.unit
    steps = _bytes(alpha)
    thin = steps - cv2.morphologyEx(steps, cv2.MORPH_OPEN, disc(STRAND_WIDTH * unit))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((thin > 255 * STRAND_CONTRAST).astype(np.uint8))
    away = cv2.distanceTransform((line < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    length, area = boxes[:, 2:4].max(axis=1).astype(np.float64), boxes[:, 4]
    strand = (length > STRAND_LENGTH * unit) & (area < FULLEST_STRANDS * np.square(length))
    at = np.flatnonzero(labels)
    of, off, told = labels.reshape(-1)[at], away.reshape(-1)[at], doubt.unsure.reshape(-1)[at] < 0.5
    strand &= np.bincount(of, off > STAND_OFF * unit, count) > 0
    strand &= np.bincount(of, told, count) > 0.5 * area
    found = np.zeros(alpha.shape, np.uint8)
    found.reshape(-1)[at] = strand[of]
    itself = calm(cv2.dilate(found, disc(3 * unit)).astype(np.float32), 0.7 * unit)
    wide = STRAND_SURROUNDINGS * unit
    around = calm(cv2.dilate(found, disc(wide)).astype(np.float32), wide / 6)
    return np.asarray(around + doubt.unsure * (np.minimum(around, itself) - around), np.float32)


def _without_seams(alpha: Float32, hairy: Float32, band: Band, misfit: Float32) -> Float32:
    """``alpha`` with slits inside the mask closed whose colour is neither side's: the shadow in a seam or a fold."""
    closed = cv2.morphologyEx(_bytes(alpha), cv2.MORPH_CLOSE, disc(SEAM * band.unit)) / np.float32(255)
    odd = np.asarray(cv2.dilate(calm(misfit, band.unit), disc(5 * band.unit)), np.float32)
    odd = ramp((calm(odd, 2 * band.unit) - SEAM_MISFIT[0]) / (SEAM_MISFIT[1] - SEAM_MISFIT[0]))
    return np.asarray(alpha + np.maximum(closed - alpha, 0) * odd * (1 - hairy) * (band.mask > 0.5), np.float32)


def _ragged(alpha: Float32, line: Float32, hairy: Float32, unit: float) -> Float32:
    """1 where ``alpha`` lies off ``line`` by more than a pixel here and there, and is not a slope: (h, w) float32.

    An edge that is sharper than the line is as clean.
    """
    pixel, sharp = disc(2 * unit), (line > 0.5).astype(np.float32)
    most, least = cv2.dilate(np.maximum(line, sharp), pixel), cv2.erode(np.minimum(line, sharp), pixel)
    off = np.maximum(alpha - most, least - alpha)
    rough = ramp((calm(np.maximum(off, 0) * (1 - hairy), 6 * unit) - ROUGH[0]) / (ROUGH[1] - ROUGH[0]))
    across, down = (cv2.Sobel(alpha, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    square = across * across + down * down
    # A profile of deviation w has a slope whose sum is 1 and whose squares' sum is 1 / (2 w sqrt(pi)).
    profile = calm(np.sqrt(square), 12 * unit) / (3.54 * calm(square, 12 * unit) + np.float32(1e-6)) / unit
    return np.asarray(rough * ramp((SOFT_EDGE - profile) / (SOFT_EDGE - SHARP_EDGE)), np.float32)
