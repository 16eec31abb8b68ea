"""The detail of a plate that a soft alpha lacks.

Over a few pixels foreground and background are two colours, so alpha is close to a linear function of the encoded
plate (He, Sun and Tang, "Guided Image Filtering", PAMI 2013). A network's alpha is softer than the plate: it was made
on a smaller canvas, by a decoder that blurs. Blurring is linear too, and so one function holds for both: fitted between
the soft alpha and the plate made equally soft, ``slope . (sharp - soft)`` is what alpha lacks.

`lacking` is that, for whoever knows the softness: `restore` knows its canvas. `sharpened` finds the softness first: the
width of blur with which the plate explains alpha best. Texture of either side alone is not in the slope; detail that is
no larger than the grain is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

GUIDE_NOISE = 3e-5
"""Variance that a guide's codes are taken to have, where no grain was measured."""

_RADIUS = 2
_BLURS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0)
_SURE_RISE = 0.05
_ROUNDS = 8
_MOST_SOFTNESS = 1.15
"""Of a plate of 1080 lines: .6 pixels of a canvas of 576. What looks softer on a smaller plate is its thin hair."""
_SMOOTH_BLUR = 1.0
_CALM_SIGMA = 1.8
_CALM_DEVIATION = 0.015
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Sharpened:
    """``alpha`` with its detail, and ``detailed``: 1 where it has any, 0 where its edge is smooth; both (H, W).

    ``softness`` is the blur that was taken away, a sigma in the network's pixels.
    """

    alpha: Float32
    detailed: Float32
    softness: float


def slopes(alpha: Float32, guide: Float32, radius: int) -> Float32:
    """Slope (H, W, 3) of the linear function from ``guide`` (H, W, 3) to ``alpha`` (H, W) within ``radius`` pixels."""
    mean_guide, mean_alpha = box(guide, radius), box(alpha, radius)
    xx, yy, zz, xy, xz, yz = (
        box(guide[..., i] * guide[..., j], radius) - mean_guide[..., i] * mean_guide[..., j] for i, j in _PAIRS
    )
    xx, yy, zz = (spread + np.float32(GUIDE_NOISE) for spread in (xx, yy, zz))
    along = box(guide * alpha[..., None], radius) - mean_guide * mean_alpha[..., None]
    x, y, z = along[..., 0], along[..., 1], along[..., 2]
    a, b, c = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    d, e, f = xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - yz * xx
    determinant = np.maximum(xx * a + xy * d + xz * e, np.float32(1e-20))
    fitted = np.dstack([a * x + d * y + e * z, d * x + b * y + f * z, e * x + f * y + c * z])
    return box(fitted / determinant[..., None], radius)


def lacking(slope: Float32, missing: Float32, noise: Float32 | float) -> tuple[Float32, Float32]:
    """Detail of alpha (H, W) from that of the guide, where it is larger than the noise, and its local variance (H, W).

    ``missing`` (H, W, 3): the sharp guide less the soft one; ``noise``: its variance, one number or (H, W, 3).
    """
    detail = np.einsum("hwc,hwc->hw", slope, missing)
    energy = box(np.square(detail), _RADIUS)
    grain = box(np.einsum("hwc,hwc->hw", np.square(slope), np.broadcast_to(np.float32(noise), slope.shape)), _RADIUS)
    real = np.maximum(energy - grain, 0) / np.maximum(energy, np.float32(1e-12))
    return np.asarray(detail * real, np.float32), energy


def sharpened(alpha: Float32, codes: Float32, noise: Float32, unit: float) -> Sharpened:
    """``alpha`` (H, W) made as sharp as the plate's ``codes`` (H, W, 3), whose grain has the variance ``noise``.

    Where the plate's edge is smooth, alpha's own noise is calmed instead. What is 0 or 1 stays so.
    """
    size = max(unit, 1.0)  # a network blurs by its own pixels, which are not smaller than the plate's
    blur = min(softness(alpha, codes, unit), _MOST_SOFTNESS * unit)
    slope = slopes(alpha, blurred(codes, blur), _RADIUS)
    energy = lacking(slope, codes - blurred(codes, _SMOOTH_BLUR * size), noise)[1]
    detailed = energy / (energy + np.float32(_CALM_DEVIATION**2))
    calm = blurred(alpha, _CALM_SIGMA * size)
    sharp = alpha
    if blur > 0:
        detail = lacking(slope, codes - blurred(codes, blur), noise)[0]
        sharp, calm = np.clip(alpha + detail, 0, 1), calm + detail
        for _ in range(_ROUNDS):
            # Made soft again it has to be what the network said (van Cittert, Zeitschrift fuer Physik 69, 1931).
            sharp = np.clip(sharp + detailed * (alpha - blurred(sharp, blur)), 0, 1)
    result = np.clip(calm + detailed * (sharp - calm), 0, 1)
    return Sharpened(
        np.where((alpha <= 0) | (alpha >= 1), alpha, result).astype(np.float32),
        np.asarray(detailed, np.float32),
        blur / size,
    )


def softness(alpha: Float32, codes: Float32, unit: float) -> float:
    """Sigma in pixels of the blur that ``alpha`` has and ``codes`` have not; 0 where there is none.

    Sure up to about 1.3 pixels (of a plate of 1080 lines); of a wider blur only a part is found.
    """
    size = max(unit, 1.0)
    grey = (codes[..., 0] + codes[..., 1] + codes[..., 2]) * np.float32(1 / 3)
    mean = box(alpha, _RADIUS)
    spread = box(alpha * alpha, _RADIUS) - mean * mean
    edge = spread > np.float32(1e-3)
    if not edge.any():
        return 0.0
    left = [_unexplained(alpha, mean, spread, blurred(grey, sigma * size), edge) for sigma in _BLURS]
    best = int(np.argmin(left))
    sigma = _BLURS[best]
    if 0 < best < len(_BLURS) - 1:
        near = slice(best - 1, best + 2)
        curve = np.polyfit(_BLURS[near], left[near], 2)
        sigma = float(-curve[1] / (2 * curve[0]))
    # Of an edge that is smooth in the plate any blur explains as much: the curve does not rise again.
    sure = min((left[-1] - left[best]) / (_SURE_RISE * max(left[0], 1e-9)), 1.0)
    return sigma * sure * size


def _unexplained(alpha: Float32, mean: Float32, spread: Float32, guide: Float32, edge: Bools) -> float:
    middle = box(guide, _RADIUS)
    along = box(guide * alpha, _RADIUS) - middle * mean
    across = box(guide * guide, _RADIUS) - middle * middle + np.float32(GUIDE_NOISE)
    return float((spread - along * along / across)[edge].mean())


def blurred(image: Float32, sigma: float) -> Float32:
    """Gaussian blur of ``sigma`` pixels, borders repeated; nothing below a quarter of a pixel."""
    if sigma < 0.25:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def box(image: Float32, radius: int) -> Float32:
    """Mean over a square of 2 x ``radius`` + 1 pixels, borders repeated."""
    size = 2 * radius + 1
    return np.asarray(cv2.blur(image, (size, size), borderType=cv2.BORDER_REPLICATE), np.float32)
