"""Random shots to learn from: other people, backdrops, patterns, lenses and masks than any benchmark scores.

A network that has only seen hair finds hair. So a third of the people here have none, cloth has seams and stripes,
walls have ropes and rippled water, outlines are dark or lit along the edge, and most masks are wrong by a few pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.demo.backdrop import BACKDROPS, clouds, leaves
from mattebridge_server.demo.figure import Look
from mattebridge_server.demo.scenes import MASKS, Frame, Recipe, Shot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

SEED = 77
HEIGHTS = (1080, 1080, 1080, 720)
GREYS = [[0.2, 0.2, 0.2], [0.1, 0.1, 0.1], [0.4, 0.4, 0.4], [0.25, 0.2, 0.15]]


def practice_frame(number: int) -> Frame:
    """Frame ``number`` of the practice material: the same number gives the same bits."""
    rng = np.random.default_rng([SEED, number])
    recipe = _recipe(rng)
    height = int(rng.choice(HEIGHTS))
    frame = Shot(recipe, height * 16 // 9, height, seed=1000 + number).frame(int(rng.integers(0, 20)))
    frame = _dressed(frame, rng)
    if rng.random() < 0.5:
        frame = replace(frame, mask=_wobbled(frame.mask, rng))
    return frame


def _tint(rng: np.random.Generator, low: float, high: float, spread: float) -> tuple[float, float, float]:
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    red, green, blue = np.clip(level * np.exp(rng.normal(0, spread, 3)), 0.004, 1).tolist()
    return red, green, blue


def _recipe(rng: np.random.Generator) -> Recipe:
    kind = rng.choice(["long hair", "short hair", "none", "fuzz"], p=[0.34, 0.2, 0.34, 0.12])
    look = Look(
        hair=_tint(rng, 0.015, 0.9, 0.25),
        cloth=_tint(rng, 0.02, 0.7, 0.5),
        skin=_tint(rng, 0.1, 0.6, 0.1),
        long=bool(kind == "long hair" or rng.random() < 0.4),
        strands=int(rng.integers(150, 1800)) if kind in ("long hair", "short hair") else 0,
        reach=float(rng.uniform(0.01, 0.03) if kind == "fuzz" else rng.uniform(0.02, 0.1)),
        thickness=int(rng.choice([1, 1, 1, 2])),
        fuzz=int(rng.integers(2000, 9000)) if kind == "fuzz" else 0,
        rim=float(rng.uniform(0, 1.8)),
    )
    lens = rng.random()
    streak = (float(rng.uniform(-35, 35)), float(rng.uniform(-12, 12))) if lens < 0.2 else (0.0, 0.0)
    return Recipe(
        look,
        str(rng.choice(list(BACKDROPS))),
        str(rng.choice(list(MASKS))),
        exposure=float(np.exp(rng.normal(0, 0.6))),
        streak=streak,
        defocus=float(rng.uniform(1, 12)) if 0.2 <= lens < 0.4 else 0.0,
        grain=float(rng.uniform(0.003, 0.02)),
    )


def _dressed(frame: Frame, rng: np.random.Generator) -> Frame:
    """The frame with patterns on the person and behind, mixed anew under the same alpha and grain."""
    height, width = frame.alpha.shape
    cover = frame.alpha[..., None]
    grain = frame.plate - (frame.foreground * cover + frame.background * (1 - cover))
    own, behind = frame.foreground, frame.background
    if rng.random() < 0.65:
        own = own * np.exp(_pattern(rng, height, width))[..., None] * np.exp(rng.normal(0, 0.08, 3))
    if rng.random() < 0.5:
        own = own * np.exp(_outlined(frame.alpha, rng))[..., None]
    for chance in (0.65, 0.3):
        if rng.random() < chance:
            behind = behind * np.exp(_pattern(rng, height, width))[..., None] * np.exp(rng.normal(0, 0.12, 3))
    own, behind = own.astype(np.float32), behind.astype(np.float32)
    plate = np.asarray(own * cover + behind * (1 - cover) + grain, np.float32)
    return replace(frame, plate=plate, foreground=own, background=behind)


def _outlined(alpha: Float32, rng: np.random.Generator) -> Float32:
    """A seam, a shadow or a rim of light that follows the edge at some depth, broken here and there: log gain."""
    height, width = alpha.shape
    unit = height / 1080
    inside = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / unit
    inside = inside + rng.uniform(0, 6) * clouds(rng, width, height, 2, 4)
    line = np.exp(-0.5 * np.square((inside - rng.uniform(0, 26)) / rng.uniform(1, 6)))
    broken = 1 / (1 + np.exp(-4 * clouds(rng, width, height, 2, 6)))
    return np.asarray(line * broken * rng.uniform(0.2, 1.6) * rng.choice([-1, -1, 1]), np.float32)


def _pattern(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Log gain of a random pattern: strokes, ripples, blotches, stripes or shapes."""
    kind = rng.integers(0, 5)
    if kind == 0:
        return _strokes(rng, height, width) * np.float32(rng.choice([-1, 1]) * rng.uniform(0.3, 1.5))
    if kind == 1:
        length = int(rng.integers(5, 60))
        kernel = np.ones((1, length) if rng.random() < 0.7 else (length, 1), np.float32) / length
        ripples = cv2.filter2D(clouds(rng, width, height, 8, int(rng.integers(4, 40))), -1, kernel)
        return np.asarray(ripples / max(float(ripples.std()), 1e-3) * rng.uniform(0.1, 0.5), np.float32)
    if kind == 2:
        return clouds(rng, width, height, 9, int(rng.integers(4, 60))) * np.float32(rng.uniform(0.05, 0.35))
    if kind == 3:
        x, y = np.arange(width)[None, :], np.arange(height)[:, None]
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 90)
        phase = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
        wave = np.sin(phase + clouds(rng, width, height, 3, 3) * rng.uniform(0, 2))
        hard = np.clip(wave * 3, -1, 1) if rng.random() < 0.5 else wave
        return np.asarray(hard * rng.uniform(0.1, 0.6), np.float32)
    shapes = np.log(leaves(rng, width, height, GREYS, int(rng.integers(100, 900)), rng.uniform(0.3, 4))[..., 1])
    return np.asarray((shapes - shapes.mean()) * rng.uniform(0.2, 0.8), np.float32)


def _strokes(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Curved lines of all lengths and widths: ropes, poles, seams, stray threads."""
    canvas = np.zeros((height, width), np.uint8)
    widest = int(rng.integers(2, 14))
    for _ in range(int(rng.integers(5, 120))):
        turn = rng.uniform(0, 2 * np.pi) + rng.normal(0, 1.5) * np.linspace(0, 1, 12)[:, None]
        step = np.hstack([np.cos(turn), np.sin(turn)]) * rng.uniform(0.05, 0.8) * height / 12
        points = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(step, axis=0)
        thick = int(rng.integers(1, widest))
        cv2.polylines(canvas, [np.round(points * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), max(rng.uniform(0, 2.5), 0.3))
    return np.asarray(soft, np.float32)


def _wobbled(mask: Float32, rng: np.random.Generator) -> Float32:
    """The mask pushed about by a smooth random displacement of up to some ten pixels."""
    height, width = mask.shape
    cells = (2, int(rng.integers(4, 16)), int(rng.integers(6, 24)))
    grid = (rng.normal(0, 1, cells) * rng.uniform(0, 9) * height / 1080).astype(np.float32)
    push = [cv2.resize(axis, (width, height), interpolation=cv2.INTER_CUBIC) for axis in grid]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    hard = bool(np.all((mask == 0) | (mask == 1)))
    how = cv2.INTER_NEAREST if hard else cv2.INTER_LINEAR
    moved = cv2.remap(mask, columns + push[0], rows + push[1], how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
