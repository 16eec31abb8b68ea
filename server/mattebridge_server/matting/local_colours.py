"""Local foreground and background colours of a mix whose alpha is known, and how sure they are.

Around every pixel foreground and background are taken as constant up to a deviation, and found by least squares over a
Gaussian neighbourhood: ``mix = alpha F + (1 - alpha) B``. Four neighbourhoods from wide to narrow each start from the
one before, so that a place without a foreground pixel still has a foreground colour. Then each pixel shares what the
two constants do not explain between its own F and B in proportion to how much they vary there (the posterior mean of a
Gaussian model).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

SIGMAS = (64.0, 32.0, 16.0, 8.0)
"""Neighbourhoods in pixels at a plate height of 1080."""

_PRIOR_WEIGHT = 0.02
_SAMPLES_PER_SIGMA = 4.0


@dataclass(frozen=True)
class LocalColours:
    """Colours and variances, each (H, W, 3) float32 in the space of the mix they were found in."""

    foreground: Float32
    background: Float32
    foreground_variance: Float32
    background_variance: Float32


def local_colours(mix: Float32, alpha: Float32, unit: float) -> LocalColours:
    """Fit ``mix`` (H, W, 3) float32 with ``alpha`` (H, W) float32 in 0..1; ``unit`` is the plate's height over 1080."""
    share, rest = alpha[..., None], 1 - alpha[..., None]
    moments = np.concatenate([share * share, share * rest, rest * rest], axis=2)
    lit, unlit = share * mix, rest * mix
    foreground = (lit.sum((0, 1)) / max(float(share.sum()), 1e-6)).astype(np.float32).reshape(1, 1, 3)
    background = (unlit.sum((0, 1)) / max(float(rest.sum()), 1e-6)).astype(np.float32).reshape(1, 1, 3)
    for sigma in SIGMAS:
        near = [_neighbourhood(part, sigma * unit) for part in (moments, lit, unlit)]
        foreground, background = (_fit_to(near[0], colour) for colour in (foreground, background))
        foreground, background = _least_squares(near[0], near[1], near[2], foreground, background)
    foreground, background = _fit_to(mix, foreground), _fit_to(mix, background)
    residual = np.square(mix - share * foreground - rest * background)
    variances = (_weighted_mean(residual, weight**4, SIGMAS[-1] * unit) for weight in (share, rest))
    return LocalColours(foreground, background, *variances)


def share_residual(
    colours: LocalColours, mix: Float32, alpha: Float32, noise: Float32
) -> tuple[Float32, Float32, Float32, Float32]:
    """Each pixel's own foreground and background, and the variances that are left: four (N, 3) float32.

    ``colours`` and ``mix`` are (N, 3), ``alpha`` (N,); ``noise`` (N, 3) is the variance of what ``alpha`` and the mix
    themselves get wrong.
    """
    share, rest = alpha[:, None], 1 - alpha[:, None]
    spread_f, spread_b = colours.foreground_variance, colours.background_variance
    unexplained = mix - share * colours.foreground - rest * colours.background
    total = share * share * spread_f + rest * rest * spread_b + noise
    gain_f, gain_b = share * spread_f / total, rest * spread_b / total
    foreground = colours.foreground + gain_f * unexplained
    background = colours.background + gain_b * unexplained
    return foreground, background, spread_f * (1 - share * gain_f), spread_b * (1 - rest * gain_b)


def wide_blur(image: Float32, sigma: float) -> Float32:
    """Gaussian blur of (H, W[, 3]) float32, computed at a lower resolution where ``sigma`` is large."""
    near = _neighbourhood(image, sigma)
    return np.asarray(near if near.shape[:2] == image.shape[:2] else _fit_to(image, near), np.float32)


def _neighbourhood(image: Float32, sigma: float) -> Float32:
    """Gaussian mean at a resolution that has ``_SAMPLES_PER_SIGMA`` pixels per sigma."""
    factor = 1
    while sigma / (2 * factor) >= _SAMPLES_PER_SIGMA and min(image.shape[:2]) >= 32 * factor:
        factor *= 2
    if factor > 1:
        size = (-(-image.shape[1] // factor), -(-image.shape[0] // factor))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), max(sigma / factor, 0.5), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


def _fit_to(like: Float32, image: Float32) -> Float32:
    if image.shape[:2] == like.shape[:2]:
        return image
    size = (like.shape[1], like.shape[0])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], -1), np.float32)


def _least_squares(
    moments: Float32, lit: Float32, unlit: Float32, foreground: Float32, background: Float32
) -> tuple[Float32, Float32]:
    """The 2x2 normal equations per pixel, with the wider neighbourhood's colours as a weak prior."""
    ff = moments[..., 0:1] + np.float32(_PRIOR_WEIGHT)
    fb = moments[..., 1:2]
    bb = moments[..., 2:3] + np.float32(_PRIOR_WEIGHT)
    lit = lit + np.float32(_PRIOR_WEIGHT) * foreground
    unlit = unlit + np.float32(_PRIOR_WEIGHT) * background
    determinant = ff * bb - fb * fb
    return (bb * lit - fb * unlit) / determinant, (ff * unlit - fb * lit) / determinant


def _weighted_mean(values: Float32, weight: Float32, sigma: float) -> Float32:
    mean = wide_blur(values * weight, sigma)
    total = wide_blur(np.ascontiguousarray(weight[..., 0]), sigma)
    return np.asarray(mean / (total.reshape(weight.shape) + np.float32(1e-3)), np.float32)
