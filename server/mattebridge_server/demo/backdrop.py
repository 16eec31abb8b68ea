"""What stands behind the figure: procedural photographs in scene-linear ACEScg, deterministic from a generator.

Foliage, streets and clutter follow the dead-leaves model (opaque shapes of power-law sizes laid over one another),
whose statistics are close to those of photographs (Lee, Mumford, Huang, "Occlusion models for natural images", 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

REC709_TO_ACESCG = np.array(
    [[0.613097, 0.339523, 0.047379], [0.070194, 0.916354, 0.013452], [0.020616, 0.109570, 0.869815]], np.float32
)


def acescg(rgb709: Sequence[float] | Float32) -> Float32:
    """Linear Rec.709 colours (..., 3) as ACEScg."""
    colour: Float32 = np.asarray(rgb709, np.float32) @ REC709_TO_ACESCG.T
    return colour


def clouds(rng: np.random.Generator, width: int, height: int, octaves: int = 6, base: int = 4) -> Float32:
    """Fractal noise: (H, W) float32, zero mean, unit deviation."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = base * 2**octave
        if cells > min(width, height):
            break
        grid = rng.standard_normal((cells + 1, cells * max(1, round(width / height)) + 1)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def sky(rng: np.random.Generator, width: int, height: int) -> Float32:
    """A bright overcast sky with broken clouds, 1.2 to 6, over a hazy line of trees: (H, W, 3)."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    cover = 1 / (1 + np.exp(-2.2 * clouds(rng, width, height, 7, 3)))
    blue, white = acescg([0.75, 1.25, 2.1]), acescg([4.6, 4.5, 4.3])
    image = blue + (white - blue) * (cover * (0.55 + 0.45 * ramp))[..., None]
    ridge = 0.86 + 0.05 * clouds(rng, width, 64, 5, 3)[32] + 0.008 * rng.standard_normal(width).astype(np.float32)
    edge = np.clip((ramp - ridge) * height / 14, 0, 1)[..., None]
    trees = acescg([0.10, 0.14, 0.09]) * np.exp(0.5 * clouds(rng, width, height, 8, 8))[..., None]
    return np.asarray(image * (1 - edge) + trees * edge, np.float32)


def leaves(
    rng: np.random.Generator, width: int, height: int, palette: Sequence[Sequence[float]], count: int, soft: float
) -> Float32:
    """Dead leaves in the colours of ``palette`` (linear Rec.709), blurred by ``soft`` pixels: (H, W, 3)."""
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.log(acescg(palette[0]) * 0.4)
    colours = np.log(np.maximum(acescg(np.asarray(palette, np.float32)), 1e-4))
    largest, smallest = 0.13 * height, max(0.005 * height, 1.5)
    sizes = (smallest**-1.4 + rng.random(count) * (largest**-1.4 - smallest**-1.4)) ** (-1 / 1.4)
    sizes = np.sort(sizes)[::-1] * rng.uniform(0.7, 1.3, count)
    for size in sizes:
        tone = colours[rng.integers(len(colours))] + rng.normal(0, 0.28) + rng.normal(0, 0.03, 3)
        centre = (int(rng.integers(-20, width + 20)), int(rng.integers(-20, height + 20)))
        axes = (max(1, round(size)), max(1, round(size * rng.uniform(0.25, 0.8))))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, tuple(map(float, tone)), -1)
        vein = tuple(map(float, tone + rng.choice([-0.35, 0.3])))
        cv2.ellipse(image, centre, (axes[0], max(1, axes[1] // 3)), float(rng.uniform(0, 180)), 0, 360, vein, -1)
    image += (0.16 * clouds(rng, width, height, 9, 16) + 0.45 * clouds(rng, width, height, 3, 2))[..., None]
    linear = np.exp(image)
    return np.asarray(cv2.GaussianBlur(linear, (0, 0), soft) if soft > 0.2 else linear, np.float32)


def bokeh(rng: np.random.Generator, width: int, height: int, low: float, high: float, count: int) -> Float32:
    """Out-of-focus practical lights of ``low`` to ``high``, most of them where a head would be: (H, W, 3), additive."""
    image = np.zeros((height, width, 3), np.float32)
    tints = acescg(np.array([[1, 0.72, 0.42], [1, 0.86, 0.66], [0.75, 0.87, 1.0], [1, 0.5, 0.28]], np.float32))
    for _ in range(count):
        disc = np.zeros((height, width), np.float32)
        centre = (int(width * rng.uniform(0.04, 0.96)), int(height * rng.uniform(0.04, 0.75)))
        radius = int(height * (0.012 + 0.034 * rng.random() ** 1.5))
        cv2.circle(disc, centre, radius, 1.0, -1, cv2.LINE_8)
        cv2.circle(disc, centre, radius, 1.25, max(1, radius // 9))
        tint = tints[rng.integers(len(tints))]
        level = np.exp(rng.uniform(np.log(low), np.log(high)))
        image += disc[..., None] * np.asarray(tint / tint.max() * level, np.float32)
    veil = cv2.resize(image, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    veil = cv2.resize(cv2.GaussianBlur(veil, (0, 0), height / 160), (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.asarray(np.minimum(image, high) + 0.012 * np.maximum(veil, 0), np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.8, height / 700)), np.float32)


def _street(rng: np.random.Generator, width: int, height: int) -> Float32:
    night = [[0.05, 0.045, 0.05], [0.02, 0.025, 0.035], [0.12, 0.08, 0.05], [0.03, 0.05, 0.07], [0.2, 0.13, 0.08]]
    return leaves(rng, width, height, night, 260, height / 60) + bokeh(rng, width, height, 8.0, 40.0, 36)


def _undergrowth(rng: np.random.Generator, width: int, height: int) -> Float32:
    dark = [[0.012, 0.02, 0.009], [0.03, 0.05, 0.015], [0.008, 0.012, 0.01], [0.05, 0.07, 0.02], [0.03, 0.025, 0.015]]
    spots = bokeh(rng, width, height, 0.15, 0.8, 12)
    return leaves(rng, width, height, dark, 1500, height / 270) + spots


def _clutter(rng: np.random.Generator, width: int, height: int) -> Float32:
    mid = [[0.2, 0.13, 0.08], [0.12, 0.13, 0.06], [0.3, 0.22, 0.15], [0.09, 0.06, 0.045], [0.16, 0.17, 0.16]]
    return leaves(rng, width, height, mid, 5000, height / 900)


def _garden(rng: np.random.Generator, width: int, height: int) -> Float32:
    green = [[0.10, 0.17, 0.05], [0.2, 0.3, 0.08], [0.05, 0.09, 0.03], [0.35, 0.4, 0.18], [0.55, 0.5, 0.4]]
    return leaves(rng, width, height, green, 2600, height / 200) + bokeh(rng, width, height, 0.4, 3.0, 14)


def _wool(rng: np.random.Generator, width: int, height: int) -> Float32:
    near = [[0.26, 0.2, 0.15], [0.3, 0.24, 0.18], [0.22, 0.18, 0.14], [0.33, 0.25, 0.18], [0.2, 0.17, 0.15]]
    return leaves(rng, width, height, near, 2500, height / 250)


def _plaza(rng: np.random.Generator, width: int, height: int) -> Float32:
    stone = [[0.32, 0.3, 0.28], [0.5, 0.46, 0.4], [0.18, 0.19, 0.21], [0.7, 0.64, 0.55], [0.12, 0.2, 0.28]]
    return leaves(rng, width, height, stone, 4000, height / 420)


BACKDROPS: dict[str, Callable[[np.random.Generator, int, int], Float32]] = {
    "sky": sky,
    "street": _street,
    "undergrowth": _undergrowth,
    "clutter": _clutter,
    "garden": _garden,
    "wool": _wool,
    "plaza": _plaza,
}
