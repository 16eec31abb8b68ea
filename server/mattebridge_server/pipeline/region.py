"""Where on the plate the network looks, and at what size: the region of interest and the canvas.

A network's work grows with its canvas, and a subject that fills a quarter of the plate deserves all of it. The region
has one size for the shot (a changing scale would make hair breathe) and one whole-pixel offset per frame, smoothed, so
that it follows the subject without trembling. It keeps the canvas's aspect exactly: where the plate ends first, the
region goes on past its edge and the pixels there repeat the border. All values are whole numbers, so that a plan is
the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..models.canvas import fit_canvas

Float32 = NDArray[np.float32]
Box = tuple[int, int, int, int]

PADDING = 0.12
WORTH_CROPPING = 2 / 3
SMOOTH_FRAMES = 12
COARSE_STEPS = 120
COARSEST_PX = 8


@dataclass(frozen=True)
class Region:
    """Size and per-frame offset on the plate's data window in plate pixels; ``canvas`` is what the network sees.

    ``offsets[i]`` is (x, y) of the top left corner for shot index i and may be negative.
    """

    width: int
    height: int
    offsets: tuple[tuple[int, int], ...]
    canvas: tuple[int, int]


def subject_box(mask: Float32, threshold: float = 0.02) -> Box | None:
    """Smallest x0, y0, x1, y1 (end excluded) around coverage above ``threshold``; None for an empty mask."""
    rows = np.flatnonzero((mask > threshold).any(axis=1))
    columns = np.flatnonzero((mask > threshold).any(axis=0))
    if rows.size == 0 or columns.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def plan_region(
    boxes: Sequence[Box | None],
    plate: tuple[int, int],
    budget_pixels: int,
    pixel_aspect: float = 1.0,
    crop: bool = True,
) -> Region:
    """The region for a shot: ``boxes`` are `subject_box` per shot index, ``plate`` is (width, height) of the grid."""
    boxes = [_coarse(box, plate) for box in boxes]
    size = _subject_size(boxes, plate) if crop else None
    if size is None or size[0] * size[1] > WORTH_CROPPING * plate[0] * plate[1]:
        size, boxes = plate, [None] * len(boxes)
    fitted = fit_canvas(round(size[0] * pixel_aspect), size[1], budget_pixels)
    canvas = fitted.width, fitted.height
    aspect = canvas[0] / canvas[1] / pixel_aspect
    width = max(size[0], math.ceil(size[1] * aspect - 1e-6))
    height = max(size[1], math.ceil(width / aspect - 1e-6))
    width = max(width, round(height * aspect))
    centres = _smooth_centres(boxes, plate, (width, height))
    offsets = tuple(_inside(x - width / 2, y - height / 2, (width, height), plate) for x, y in centres)
    return Region(width, height, offsets, canvas)


def cut(image: Float32, region: Region, index: int) -> Float32:
    """The region of ``image`` (H, W[, C]) at shot index ``index``, scaled to the canvas; borders are repeated."""
    x, y = region.offsets[index]
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + region.width), min(height, y + region.height)
    part = image[y0:y1, x0:x1]
    margins = (y0 - y, y + region.height - y1, x0 - x, x + region.width - x1)
    if any(margins):
        part = np.asarray(cv2.copyMakeBorder(part, *margins, cv2.BORDER_REPLICATE), np.float32)
    shrinks = region.width * region.height > region.canvas[0] * region.canvas[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(part), region.canvas, interpolation=method), np.float32)


def paste(canvas: Float32, region: Region, index: int, plate: tuple[int, int], outside: Float32) -> Float32:
    """Alpha (h, w) on the canvas back on the plate's grid (H, W); ``outside`` (H, W) stands beyond the region."""
    shrinks = region.width * region.height < canvas.shape[0] * canvas.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    part = np.asarray(cv2.resize(canvas, (region.width, region.height), interpolation=method), np.float32)
    x, y = region.offsets[index]
    x0, y0, x1, y1 = max(0, x), max(0, y), min(plate[0], x + region.width), min(plate[1], y + region.height)
    result = np.array(outside, np.float32, copy=True)
    result[y0:y1, x0:x1] = np.clip(part[y0 - y : y1 - y, x0 - x : x1 - x], 0.0, 1.0)
    return result


def _coarse(box: Box | None, plate: tuple[int, int]) -> Box | None:
    """The box widened to a coarse grid: a small repair of one mask must not move the region of a whole shot."""
    if box is None:
        return None
    step = max(COARSEST_PX, plate[0] // COARSE_STEPS)
    x0, y0, x1, y1 = (value // step for value in (box[0], box[1], box[2] + step - 1, box[3] + step - 1))
    return x0 * step, y0 * step, min(plate[0], x1 * step), min(plate[1], y1 * step)


def _subject_size(boxes: Sequence[Box | None], plate: tuple[int, int]) -> tuple[int, int] | None:
    seen = [box for box in boxes if box is not None]
    if not seen:
        return None
    width = max(box[2] - box[0] for box in seen)
    height = max(box[3] - box[1] for box in seen)
    pad = 1 + 2 * PADDING
    return min(plate[0], math.ceil(width * pad)), min(plate[1], math.ceil(height * pad))


def _smooth_centres(
    boxes: Sequence[Box | None], plate: tuple[int, int], size: tuple[int, int]
) -> list[tuple[float, float]]:
    """Box centres, gaps interpolated, averaged over a fixed neighbourhood, then pulled back so that no box is cut."""
    known = [i for i, box in enumerate(boxes) if box is not None]
    if not known:
        return [(plate[0] / 2, plate[1] / 2)] * len(boxes)
    found = np.array([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes if b is not None])
    every = np.stack([np.interp(range(len(boxes)), known, found[:, axis]) for axis in (0, 1)], axis=1)
    result = []
    for i, box in enumerate(boxes):
        low, high = max(0, i - SMOOTH_FRAMES), min(len(boxes), i + SMOOTH_FRAMES + 1)
        x, y = every[low:high].mean(axis=0)
        if box is not None:
            x = min(max(x, box[2] - size[0] / 2), box[0] + size[0] / 2)
            y = min(max(y, box[3] - size[1] / 2), box[1] + size[1] / 2)
        result.append((float(x), float(y)))
    return result


def _inside(x: float, y: float, size: tuple[int, int], plate: tuple[int, int]) -> tuple[int, int]:
    """Keep the region on the plate where it fits; centre it where it is larger."""
    left, top = round(x), round(y)
    left = (plate[0] - size[0]) // 2 if size[0] >= plate[0] else min(max(left, 0), plate[0] - size[0])
    top = (plate[1] - size[1]) // 2 if size[1] >= plate[1] else min(max(top, 0), plate[1] - size[1])
    return left, top
