"""How far a matte is from the truth, at the scale the video matting papers publish.

The scale is the one of Robust Video Matting's and MatAnyone's evaluation scripts. Other scripts (MaGGIe's for one)
scale the same names differently; figures of the two must not be mixed. Every function takes alphas as (H, W) float
arrays in 0..1, computes in float64 and raises `InputError` where the two sides differ in shape.

One departure, which changes nothing where an alpha holds both a 0 and a 1: those scripts stretch each alpha to 0..1
before the gradient, which hides the error of a matte that never becomes solid. Here it is scored as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import InputError

Floats = NDArray[np.float32] | NDArray[np.float64]
Float64 = NDArray[np.float64]

GRADIENT_SIGMA = 1.4
GRADIENT_RADIUS = 4
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_CUT = 0.15
SOFT_LOW, SOFT_HIGH = 0.02, 0.98


@dataclass(frozen=True)
class Scores:
    """Mean over a shot's frames of each measure, lower is better. ``dtssd`` counts the first frame as 0."""

    mad: float
    mse: float
    sad: float
    grad: float
    conn: float
    dtssd: float
    frames: int

    def __str__(self) -> str:
        return "  ".join(f"{f.name} {getattr(self, f.name):.3f}" for f in fields(self) if f.name != "frames")


def mad(alpha: Floats, truth: Floats) -> float:
    """Mean absolute difference over all pixels, x 1e3."""
    return float(np.abs(_difference(alpha, truth)).mean() * 1e3)


def mse(alpha: Floats, truth: Floats) -> float:
    """Mean squared difference over all pixels, x 1e3."""
    return float(np.square(_difference(alpha, truth)).mean() * 1e3)


def sad(alpha: Floats, truth: Floats) -> float:
    """Sum of absolute differences, / 1e3."""
    return float(np.abs(_difference(alpha, truth)).sum() / 1e3)


def grad(alpha: Floats, truth: Floats) -> float:
    """Squared difference of gradient magnitudes, summed, / 1e3.

    Gradients are first-order Gaussian derivatives, sigma 1.4, 9 x 9, L2-normalised, replicated border
    (Rhemann et al., "A perceptually motivated online benchmark for image matting", CVPR 2009).
    """
    _difference(alpha, truth)
    return float(np.square(_gradient(alpha) - _gradient(truth)).sum() / 1e3)


def conn(alpha: Floats, truth: Floats) -> float:
    """Connectivity error, / 1e3: alpha that is not connected to the common solid region (Rhemann et al. 2009).

    For each threshold .1, .2 ... 1 the largest 4-connected component of both alphas' common region is the source; a
    pixel's level is the last threshold at which it still belongs to it. Differences below .15 from it do not count.
    """
    _difference(alpha, truth)
    level = np.full(truth.shape, -1.0)
    steps = np.arange(0, 1 + CONNECTIVITY_STEP, CONNECTIVITY_STEP)
    for below, threshold in zip(steps[:-1], steps[1:], strict=True):
        both = ((alpha >= threshold) & (truth >= threshold)).astype(np.uint8)
        source = _largest_component(both)
        level[(level == -1) & ~source] = below
    level[level == -1] = 1.0
    return float(np.abs(_disconnection(truth, level) - _disconnection(alpha, level)).sum() / 1e3)


def dtssd(alpha: Floats, alpha_before: Floats, truth: Floats, truth_before: Floats) -> float:
    """Flicker: RMS over all pixels of the difference between the two temporal differences, x 1e2, for one frame."""
    change = _difference(alpha, alpha_before) - _difference(truth, truth_before)
    return float(np.sqrt(np.square(change).mean()) * 1e2)


def score(pairs: Iterable[tuple[Floats, Floats]]) -> Scores:
    """Score a shot: ``pairs`` of (alpha, truth) in frame order. Holds two frames at a time; raises on an empty shot."""
    sums = np.zeros(6)
    count = 0
    before: tuple[Floats, Floats] | None = None
    for alpha, truth in pairs:
        flicker = dtssd(alpha, before[0], truth, before[1]) if before is not None else 0.0
        sums += [m(alpha, truth) for m in (mad, mse, sad, grad, conn)] + [flicker]
        before = (alpha, truth)
        count += 1
    if count == 0:
        raise InputError("There is nothing to score", remedy="Give at least one frame of alpha and truth.")
    mean = [float(value) for value in sums / count]
    return Scores(mean[0], mean[1], mean[2], mean[3], mean[4], mean[5], count)


def foreground_mad(colour: Floats, truth_colour: Floats, truth_alpha: Floats) -> float:
    """Mean absolute difference of straight foreground (H, W, 3), only where the true alpha is above 0, x 1e3."""
    return float(_mean(np.abs(_inside(colour, truth_colour, truth_alpha))) * 1e3)


def foreground_mse(colour: Floats, truth_colour: Floats, truth_alpha: Floats) -> float:
    """Mean squared difference of straight foreground (H, W, 3), only where the true alpha is above 0, x 1e3."""
    return float(_mean(np.square(_inside(colour, truth_colour, truth_alpha))) * 1e3)


def soft_band(truth: Floats) -> NDArray[np.bool_]:
    """Where the truth is neither solid nor empty: (H, W) bool."""
    return (truth > SOFT_LOW) & (truth < SOFT_HIGH)


def band_bias(alpha: Floats, truth: Floats) -> float:
    """Mean of alpha minus truth over the soft band, in alpha (not scaled): a wrong transfer curve shows here."""
    return _mean(_difference(alpha, truth)[soft_band(truth)])


def band_error(alpha: Floats, truth: Floats) -> float:
    """Mean absolute difference over the soft band, in alpha (not scaled)."""
    return _mean(np.abs(_difference(alpha, truth)[soft_band(truth)]))


def composite_error(
    foreground: Floats, alpha: Floats, truth_foreground: Floats, truth: Floats, background: Floats
) -> float:
    """Mean absolute difference of the two linear composites over ``background`` where either alpha is above 0.

    Colours are (H, W, 3) straight, scene-linear, alphas (H, W); the result is in scene-linear units.
    """
    _difference(alpha, truth)
    ours = _over(foreground, alpha, background)
    exact = _over(truth_foreground, truth, background)
    return _mean(np.abs(_difference(ours, exact))[(alpha > 0) | (truth > 0)])


def _over(foreground: Floats, alpha: Floats, background: Floats) -> Float64:
    cover = alpha.astype(np.float64)[..., None]
    over: Float64 = foreground * cover + background * (1.0 - cover)
    return over


def _difference(one: Floats, other: Floats) -> Float64:
    if one.shape != other.shape:
        raise InputError(
            f"Cannot score {one.shape[1]}x{one.shape[0]} against {other.shape[1]}x{other.shape[0]}",
            remedy="Score the result at the truth's size.",
        )
    return np.subtract(one, other, dtype=np.float64)


def _inside(colour: Floats, truth_colour: Floats, truth_alpha: Floats) -> Float64:
    return _difference(colour, truth_colour)[truth_alpha > 0]


def _mean(values: Float64) -> float:
    return float(values.mean()) if values.size else 0.0


def _gradient(alpha: Floats) -> Float64:
    """Gradient magnitude: (H, W) float64. The 2-D filter is separable, so its L2 norm is the product of two norms."""
    x = np.arange(-GRADIENT_RADIUS, GRADIENT_RADIUS + 1, dtype=np.float64)
    bell = np.exp(-(x**2) / (2 * GRADIENT_SIGMA**2)) / (GRADIENT_SIGMA * np.sqrt(2 * np.pi))
    slope = -x * bell / GRADIENT_SIGMA**2
    bell /= np.sqrt(np.sum(bell**2))
    slope /= np.sqrt(np.sum(slope**2))
    wide = alpha.astype(np.float64)
    dx = cv2.sepFilter2D(wide, cv2.CV_64F, slope, bell, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.sepFilter2D(wide, cv2.CV_64F, bell, slope, borderType=cv2.BORDER_REPLICATE)
    return np.hypot(dx, dy)


def _largest_component(region: NDArray[np.uint8]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=4)
    if count < 2:
        return np.zeros(region.shape, bool)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _disconnection(alpha: Floats, level: Float64) -> Float64:
    beyond = alpha - level
    return 1.0 - beyond * (beyond >= CONNECTIVITY_CUT)
