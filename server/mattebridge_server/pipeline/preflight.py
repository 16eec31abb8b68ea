"""A look at the masks before the run: what will go wrong, said while it is cheap to mend.

All functions take small masks (say 256 px on the long side) and, where they look at the picture, a small plate of the
same size. ``scale`` is plate pixels per small pixel, so that sizes are told in pixels that the artist knows. Findings
are warnings; none of them stops a job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..models.auto import SMALL_FEATURE_PX

Float32 = NDArray[np.float32]
Kind = Literal["mask_empty", "mask_jumps", "object_outside", "small_feature"]

EMPTY_COVERAGE = 1e-4
JUMP_OVERLAP = 0.35
JUMP_AREA = 2.5
OUTSIDE_MARGIN = 0.04
OUTSIDE_SHARE = 0.25


@dataclass(frozen=True)
class MaskSample:
    """One frame as preflight sees it: ``mask`` (h, w) coverage, ``plate`` (h, w, 3) display-encoded or None."""

    number: int
    mask: Float32 | None
    plate: Float32 | None = None


@dataclass(frozen=True)
class Finding:
    """One warning in words for the artist, about a frame or (None) the shot. ``value`` is what was measured."""

    kind: Kind
    frame: int | None
    message: str
    value: float


@dataclass(frozen=True)
class Preflight:
    """What the masks say. ``feature_px`` is the typical width of the masked shape in plate pixels; inf if never any."""

    findings: tuple[Finding, ...]
    feature_px: float


def preflight(samples: Iterable[MaskSample], scale: float) -> Preflight:
    """Look at the frames in shot order; at most two are held at a time."""
    findings: list[Finding] = []
    widths: list[float] = []
    previous: MaskSample | None = None
    for sample in samples:
        if sample.mask is None:
            previous = None
            continue
        if is_empty(sample.mask):
            findings.append(Finding("mask_empty", sample.number, f"the mask of frame {sample.number} is empty", 0.0))
        else:
            widths.append(feature_width(sample.mask) * scale)
            if (outside := subject_outside(sample)) is not None:
                findings.append(outside)
        if previous is not None and (jump := mask_jump(previous, sample)) is not None:
            findings.append(jump)
        previous = sample
    feature_px = float(np.median(widths)) if widths else float("inf")
    if feature_px < SMALL_FEATURE_PX:
        findings.append(_small(feature_px))
    return Preflight(tuple(findings), feature_px)


def is_empty(mask: Float32) -> bool:
    """Whether less than a hundredth of a percent of the frame is covered."""
    return float(mask.mean(dtype=np.float64)) < EMPTY_COVERAGE


def feature_width(mask: Float32) -> float:
    """Width of the masked shape in its own pixels: that of the largest brush that can paint half of it; 0 if empty.

    So a body with thin arms is as wide as the body, and a cable is as wide as the cable, however long it is.
    """
    solid = mask >= min(0.5, float(mask.max()) * 0.5)
    if not mask.any():
        return 0.0
    inside = np.pad(solid.astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
    area = int(solid.sum())
    low, high = 0, int(depth.max()) + 1
    while high - low > 1:
        radius = (low + high) // 2
        painted = _painted(depth, radius)
        low, high = (radius, high) if painted >= area / 2 else (low, radius)
    return float(2 * low + 1)


def _painted(depth: Float32, radius: int) -> int:
    """Pixels that a round brush of ``radius`` reaches without leaving the shape whose depth is given."""
    outside_centres = np.asarray(depth <= radius, np.uint8)
    if outside_centres.all():
        return 0
    reach = cv2.distanceTransform(outside_centres, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return int(np.count_nonzero(reach <= radius))


def mask_jump(before: MaskSample, now: MaskSample) -> Finding | None:
    """A mask that leaps from one frame to the next: it hardly overlaps the one before, or is much larger or smaller."""
    assert before.mask is not None and now.mask is not None
    if is_empty(before.mask) or is_empty(now.mask):
        return None
    overlap = float(np.minimum(before.mask, now.mask).sum() / np.maximum(before.mask, now.mask).sum())
    areas = float(before.mask.sum()), float(now.mask.sum())
    growth = max(areas) / min(areas)
    if overlap >= JUMP_OVERLAP and growth <= JUMP_AREA:
        return None
    what = f"overlaps frame {before.number}'s by {overlap:.0%}"
    if growth > JUMP_AREA:
        what += f" and is {growth:.1f} times {'larger' if areas[1] > areas[0] else 'smaller'}"
    return Finding("mask_jumps", now.number, f"the mask of frame {now.number} {what}", overlap)


def subject_outside(sample: MaskSample) -> Finding | None:
    """The subject likely goes on outside its mask: beyond much of the border the picture looks like the inside.

    Compares colours in a band just inside the mask's border with two bands outside, a near and a far one. Where the
    near band is closer to the inside than to the far one along more than a quarter of the border, the mask probably
    stops short. A guess from colour alone, hence a warning.
    """
    if sample.plate is None or sample.mask is None:
        return None
    band = max(2, round(OUTSIDE_MARGIN * max(sample.mask.shape)))
    inside, near, far = _bands(sample.mask >= 0.5, band)
    if min(inside.sum(), near.sum(), far.sum()) < 16:
        return None
    plate = np.asarray(cv2.GaussianBlur(sample.plate, (0, 0), band / 4), np.float32)
    local_inside, local_far = _spread(plate, inside, 3 * band), _spread(plate, far, 6 * band)
    to_inside = np.linalg.norm(plate - local_inside, axis=2)[near]
    to_far = np.linalg.norm(plate - local_far, axis=2)[near]
    apart = np.linalg.norm(local_inside - local_far, axis=2)[near] > 0.1
    share = float(((to_inside < 0.5 * to_far) & apart).mean())
    if share <= OUTSIDE_SHARE:
        return None
    message = f"along {share:.0%} of the mask's border on frame {sample.number} the subject seems to go on outside"
    return Finding("object_outside", sample.number, message, share)


def _bands(solid: NDArray[np.bool_], band: int) -> tuple[NDArray[np.bool_], ...]:
    """Inside and near outside of the border, ``band`` pixels wide each, and far outside, six times as wide."""
    image = solid.astype(np.uint8)
    depth = cv2.distanceTransform(image, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    height = cv2.distanceTransform(1 - image, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = (height > 0) & (height <= band)
    far = (height > 2 * band) & (height <= 8 * band)
    return (depth > 0) & (depth <= band), near, far


def _spread(plate: Float32, where: NDArray[np.bool_], radius: int) -> Float32:
    """Mean colour of the pixels ``where`` around each pixel, (h, w, 3)."""
    size = (2 * radius + 1, 2 * radius + 1)
    weight = cv2.blur(where.astype(np.float32), size)
    colour = cv2.blur(plate * where[..., None].astype(np.float32), size)
    return np.asarray(colour / np.maximum(weight, 1e-6)[..., None], np.float32)


def _small(feature_px: float) -> Finding:
    message = (
        f"the masked shape is about {feature_px:.0f} px wide, below {SMALL_FEATURE_PX:.0f}: a diffusion model would "
        "lose it, edge does better"
    )
    return Finding("small_feature", None, message, feature_px)
