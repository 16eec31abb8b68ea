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

from mattebridge_server.matting.band import SOFT_HIGH, SOFT_LOW, disc, ramp
from mattebridge_server.matting.detail import around

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
    part = around(band.open, 0) if band.unit > SMALL[0] else None
    if part is None:
        return alpha
    near = replace(band, mask=band.mask[part], distance=band.distance[part])
    misfit, deviation = evidence.maps["misfit"][part], _deviation(evidence, band.unit)[part]
    result = alpha.copy()
    lines = _drawn(np.ascontiguousarray(alpha[part]), near, deviation, misfit, lens[part])
    result[part] = np.where(band.open[part], lines, alpha[part])
    return result


def _deviation(evidence: Evidence, unit: float) -> Float32:
    """The error to expect of a coverage (h, w): by its own account, or as often as the picture answers falsely."""
    grid = evidence.grid
    expected = grid.blur(np.log(grid.gather(evidence.maps["doubt"]) + np.float32(1e-3)), 4 * unit)
    everywhere = cv2.resize(np.exp(expected), (grid.width, grid.height), interpolation=cv2.INTER_LINEAR)
    return np.maximum(np.asarray(everywhere, np.float32), evidence.false_answers)


def _drawn(alpha: Float32, band: Band, deviation: Float32, misfit: Float32, lens: Float32) -> Float32:
    believed = band.by_rows(lambda d: 1 / (1 + np.square(np.square(d * np.float32(1 / BELIEVED)))), deviation)
    unsure = band.by_rows(lambda d: ramp((d - np.float32(TOLD)) / np.float32(UNTOLD - TOLD)), deviation)
    doubt = _Doubt(unsure, believed, _feathered(band), band.calm(band.mask, WIDE))
    hairy = _hairy(alpha, _line(alpha, band, doubt), band, doubt)
    line = _line(_without_seams(alpha, hairy, band, misfit), band, doubt)
    ragged = _ragged(alpha, line, hairy, band)
    large = ramp(np.asarray((band.unit - SMALL[0]) / (SMALL[1] - SMALL[0])))

    def mixed(alpha: Float32, line: Float32, ragged: Float32, unsure: Float32, feathered: Flags, hairy: Float32,
              lens: Float32) -> Float32:  # fmt: skip
        share = np.maximum(np.where(feathered, 0, ragged), unsure) * (1 - hairy) * (1 - lens) * large
        return np.asarray(alpha + (line - alpha) * share, np.float32)

    return band.by_rows(mixed, alpha, line, ragged, doubt.unsure, doubt.feathered, hairy, lens)


def _line(alpha: Float32, band: Band, doubt: _Doubt) -> Float32:
    """The contour of ``alpha`` and, as far as that is in doubt, of the mask; a soft mask stays as soft as it is."""

    def weighed(mask: Float32, sigma: float) -> Float32:
        both = band.by_rows(lambda b, a, m: b * a + (1 - b) * m, doubt.believed, alpha, mask)
        return band.calm(both, sigma)

    def cut(near: Float32, wide: Float32, unsure: Float32, feathered: Flags) -> Float32:
        gathered = near + unsure * (wide - near)
        width = np.float32(NEAR_WIDTH) + unsure * np.float32(WIDE_WIDTH - NEAR_WIDTH)
        line = np.clip((gathered - np.float32(0.5)) / width + np.float32(0.5), 0, 1)
        return np.where(feathered, gathered, line)

    near = weighed(band.mask, NEAR)
    wide = weighed(doubt.calm_mask, WIDE) if doubt.unsure.any() else near
    return band.by_rows(cut, near, wide, doubt.unsure, doubt.feathered)


def _feathered(band: Band) -> Flags:
    """Where the mask is soft on purpose: over more pixels than sampling or enlarging it would explain."""
    soft = ((band.mask > SOFT_LOW) & (band.mask < SOFT_HIGH)).astype(np.uint8)
    wide = band.morphology(cv2.MORPH_OPEN, soft, FEATHER)
    return np.asarray(band.morphology(cv2.MORPH_DILATE, wide, 1.4 * FEATHER) > 0, np.bool_)


def _bytes(alpha: Float32, band: Band) -> NDArray[np.uint8]:
    """In steps of 1/255: morphology is far quicker on bytes, and need not be finer."""
    return band.by_rows(lambda part: part * np.float32(255) + np.float32(0.5), alpha, dtype=np.uint8)


def _hairy(alpha: Float32, line: Float32, band: Band, doubt: _Doubt) -> Float32:
    """1 at and around strands that stand off from the line, 0 elsewhere; in doubt only at the strands themselves."""
    unit = band.unit
    steps = _bytes(alpha, band)
    thin = steps - band.morphology(cv2.MORPH_OPEN, steps, STRAND_WIDTH)
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

    def surroundings(size: float, sigma: float) -> Float32:
        return band.calm(band.morphology(cv2.MORPH_DILATE, found, size).astype(np.float32), sigma)

    itself, around = surroundings(3, 0.7), surroundings(STRAND_SURROUNDINGS, STRAND_SURROUNDINGS / 6)
    return band.by_rows(lambda a, i, u: a + u * (np.minimum(a, i) - a), around, itself, doubt.unsure)


def _without_seams(alpha: Float32, hairy: Float32, band: Band, misfit: Float32) -> Float32:
    """``alpha`` with slits inside the mask closed whose colour is neither side's: the shadow in a seam or a fold."""
    closed = band.morphology(cv2.MORPH_CLOSE, _bytes(alpha, band), SEAM)
    worst = band.calm(band.morphology(cv2.MORPH_DILATE, band.calm(misfit, 1), 5), 2)

    def filled(alpha: Float32, closed: NDArray[np.uint8], worst: Float32, hairy: Float32, mask: Float32) -> Float32:
        odd = ramp((worst - SEAM_MISFIT[0]) / (SEAM_MISFIT[1] - SEAM_MISFIT[0]))
        return alpha + np.maximum(closed / np.float32(255) - alpha, 0) * odd * (1 - hairy) * (mask > 0.5)

    return band.by_rows(filled, alpha, closed, worst, hairy, band.mask)


def _ragged(alpha: Float32, line: Float32, hairy: Float32, band: Band) -> Float32:
    """1 where ``alpha`` lies off ``line`` by more than a pixel here and there, and is not a slope: (h, w) float32.

    An edge that is sharper than the line is as clean.
    """
    pixel = disc(2 * band.unit)

    def off(alpha: Float32, line: Float32, hairy: Float32) -> Float32:
        sharp = (line > 0.5).astype(np.float32)
        most, least = cv2.dilate(np.maximum(line, sharp), pixel), cv2.erode(np.minimum(line, sharp), pixel)
        return np.asarray(np.maximum(np.maximum(alpha - most, least - alpha), 0) * (1 - hairy), np.float32)

    def slope(alpha: Float32) -> Float32:
        across, down = (cv2.Sobel(alpha, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
        return np.asarray(across * across + down * down, np.float32)

    def both(rough: Float32, slope: Float32, square: Float32) -> Float32:
        # A profile of deviation w has a slope whose sum is 1 and whose squares' sum is 1 / (2 w sqrt(pi)).
        profile = slope / (np.float32(3.54) * square + np.float32(1e-6)) / np.float32(band.unit)
        rough = ramp((rough - ROUGH[0]) / (ROUGH[1] - ROUGH[0]))
        return rough * ramp((SOFT_EDGE - profile) / (SOFT_EDGE - SHARP_EDGE))

    rough = band.calm(band.by_rows(off, alpha, line, hairy, halo=len(pixel)), 6)
    square = band.by_rows(slope, alpha, halo=1)
    root = band.by_rows(np.sqrt, square)
    return band.by_rows(both, rough, band.calm(root, 12), band.calm(square, 12))
