"""Local foreground and background colours of a mix whose alpha is nearly known, and how sure they are.

The model, all in one space (the codes of a look): near a pixel ``mix = alpha F + (1 - alpha) B + noise``, where F and B
are smooth fields plus texture, and texture has a variance that is learned where a side is seen alone. Two steps follow
from it:

1. `local_colours` fits the fields by weighted least squares in Gaussian neighbourhoods from wide to narrow. Each starts
   from the one before and is held to it by a prior, in proportion to how little that side varies: where smooth skin
   stands before clutter, what is unexplained goes to the clutter. Half way down the variances are learned again from
   what has been explained so far, because loose hair varies more than the hair that is seen alone.
2. `explained` shares what is left at each pixel between its own F, its own B and its alpha, in proportion to their
   variances: the posterior mean of a Gaussian model. A sure alpha moves the colours; sure colours move alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

WIDE_SIGMAS, NARROW_SIGMAS = (64.0, 32.0, 16.0), (8.0, 4.0, 2.0, 1.0)
"""Neighbourhoods in pixels at a plate height of 1080, before and after the variances are learned again."""
LEAST_VARIANCE = 2e-5
"""Of any colour, in codes: what half a step of eight bits leaves open, and a little more."""

_PRIOR_WEIGHT = 0.02
_TEXTURE_SIGMA = 6.0
_TEXTURE_REACH = (12.0, 40.0, 130.0)
_FARTHER_WEIGHT = 0.03
_LEARNING_SIGMA = 8.0
_FORMER_WEIGHT = 0.02
_SAMPLES_PER_SIGMA = 2.0


@dataclass(frozen=True)
class LocalColours:
    """Colours (.., 3) and the variance of their texture (.., 1), float32, in the space of the mix."""

    foreground: Float32
    background: Float32
    foreground_variance: Float32
    background_variance: Float32


@dataclass(frozen=True)
class Explained:
    """Each pixel's own colours (N, 3), alpha (N,), and the variance that alpha has left (N,), float32."""

    foreground: Float32
    background: Float32
    alpha: Float32
    alpha_variance: Float32


def local_colours(mix: Float32, alpha: Float32, noise: Float32, unit: float) -> LocalColours:
    """Fit ``mix`` (H, W, 3) with ``alpha`` (H, W) in 0..1, both float32.

    ``noise`` (H, W, 3) is the variance of the mix's grain, ``unit`` the plate's height over 1080.
    """
    share, rest = alpha[..., None], 1 - alpha[..., None]
    colours = LocalColours(
        *(
            np.asarray((mix * side).sum((0, 1)) / max(float(side.sum()), 1e-6), np.float32).reshape(1, 1, 3)
            for side in (share, rest)
        ),
        *(_texture(mix, side, unit) + np.float32(LEAST_VARIANCE) for side in (share, rest)),
    )
    grain = _over_channels(noise) + np.float32(LEAST_VARIANCE)
    colours = _fitted(mix, share, grain, colours, [sigma * unit for sigma in WIDE_SIGMAS])
    colours = _relearned(mix, share, grain, colours, unit)
    return _fitted(mix, share, grain, colours, [max(sigma * unit, NARROW_SIGMAS[-1]) for sigma in NARROW_SIGMAS])


def explained(
    colours: LocalColours, mix: Float32, alpha: Float32, alpha_variance: Float32, noise: Float32
) -> Explained:
    """Pixels' own colours and alpha. ``mix`` and ``noise`` are (N, 3), ``alpha`` and its variance
    (N,), ``colours`` (N, ..)."""
    share, rest = alpha[:, None], 1 - alpha[:, None]
    spread_f, spread_b = colours.foreground_variance, colours.background_variance
    across = colours.foreground - colours.background
    unexplained = mix - share * colours.foreground - rest * colours.background
    colour_part = share * share * spread_f + rest * rest * spread_b + noise + np.float32(LEAST_VARIANCE)
    along = across / colour_part
    left = alpha_variance / (1 + alpha_variance * np.einsum("nc,nc->n", across, along))
    step = left * np.einsum("nc,nc->n", unexplained, along)
    unexplained = unexplained - across * step[:, None]
    return Explained(
        np.clip(colours.foreground + share * spread_f / colour_part * unexplained, 0, 1),
        np.clip(colours.background + rest * spread_b / colour_part * unexplained, 0, 1),
        np.clip(alpha + step, 0, 1),
        left,
    )


def wide_blur(image: Float32, sigma: float) -> Float32:
    """Gaussian blur of (H, W, C) float32, computed at a lower resolution where ``sigma`` is large."""
    return _fit_to(image, _neighbourhood(image, sigma))


def _over_channels(image: Float32) -> Float32:
    """Mean of the three channels: (H, W, 1)."""
    return (image[..., :1] + image[..., 1:2] + image[..., 2:]) * np.float32(1 / 3)


def _texture(mix: Float32, side: Float32, unit: float) -> Float32:
    """Variance of the mix about its local mean where ``side`` (H, W, 1) is seen alone, however far away that is."""
    alone = np.clip((side - np.float32(0.9)) / np.float32(0.09), 0, 1)
    weight = np.asarray(alone * alone * (3 - 2 * alone) + np.float32(1e-3) * side**4, np.float32)
    mean, total = (wide_blur(part, _TEXTURE_SIGMA * unit) for part in (weight * mix, weight))
    spread = weight * _over_channels(np.square(mix - mean / np.maximum(total, np.float32(1e-7))))
    gathered = np.concatenate([spread, weight], axis=2)
    sums = np.zeros_like(gathered)
    for power, sigma in enumerate(_TEXTURE_REACH):
        sums += np.float32(_FARTHER_WEIGHT**power) * wide_blur(gathered, sigma * unit)
    return np.asarray(sums[..., :1] / np.maximum(sums[..., 1:], np.float32(1e-9)), np.float32)


def _fitted(mix: Float32, share: Float32, grain: Float32, start: LocalColours, sigmas: list[float]) -> LocalColours:
    """The fields of ``start`` fitted again in neighbourhoods of ``sigmas`` pixels, wide to narrow."""
    rest = np.float32(1) - share
    spread_f, spread_b = start.foreground_variance, start.background_variance
    precision = 1 / (share * share * spread_f + rest * rest * spread_b + grain)
    moments = np.concatenate([share * share * precision, share * rest * precision, rest * rest * precision], axis=2)
    priors = np.float32(_PRIOR_WEIGHT) / np.concatenate([spread_f, spread_b], axis=2)
    sums = [np.asarray(part, np.float32) for part in (moments, priors, share * precision * mix, rest * precision * mix)]
    front, back = start.foreground, start.background
    for sigma in sigmas:
        near, prior, lit_near, unlit_near = (_neighbourhood(part, sigma) for part in sums)
        front, back = _fit_to(near, front), _fit_to(near, back)
        ff, fb, bb = near[..., :1] + prior[..., :1], near[..., 1:2], near[..., 2:] + prior[..., 1:]
        toward_f, toward_b = lit_near + prior[..., :1] * front, unlit_near + prior[..., 1:] * back
        determinant = ff * bb - fb * fb
        front = (bb * toward_f - fb * toward_b) / determinant
        back = (ff * toward_b - fb * toward_f) / determinant
    return LocalColours(_fit_to(mix, front), _fit_to(mix, back), spread_f, spread_b)


def _relearned(mix: Float32, share: Float32, grain: Float32, colours: LocalColours, unit: float) -> LocalColours:
    """``colours`` with variances from each pixel's share of the unexplained: a step of expectation maximisation."""
    rest = 1 - share
    spread_f, spread_b = colours.foreground_variance, colours.background_variance
    total = share * share * spread_f + rest * rest * spread_b + grain
    unexplained = _over_channels(np.square(mix - share * colours.foreground - rest * colours.background))
    learned = []
    for side, spread in ((share, spread_f), (rest, spread_b)):
        gain = side * spread / total
        known = side * gain  # the part of the variance that this pixel tells
        own = np.square(gain) * unexplained + spread * (1 - known)
        near = wide_blur(np.concatenate([known * own, known], axis=2), _LEARNING_SIGMA * unit)
        former = np.float32(_FORMER_WEIGHT)
        learned.append((near[..., :1] + former * spread) / (near[..., 1:] + former))
    return LocalColours(colours.foreground, colours.background, learned[0], learned[1])


def _neighbourhood(image: Float32, sigma: float) -> Float32:
    """Gaussian mean at a resolution that has at least ``_SAMPLES_PER_SIGMA`` pixels per sigma."""
    factor = 1
    while sigma / (2 * factor) >= _SAMPLES_PER_SIGMA and min(image.shape[:2]) >= 32 * factor:
        factor *= 2
    if factor > 1:
        size = (-(-image.shape[1] // factor), -(-image.shape[0] // factor))
        image = _resized(image, size, cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(image, (0, 0), max(sigma / factor, 0.5), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32).reshape(image.shape)


def _fit_to(like: Float32, image: Float32) -> Float32:
    if image.shape[:2] == like.shape[:2]:
        return image
    return _resized(image, (like.shape[1], like.shape[0]), cv2.INTER_LINEAR)


def _resized(image: Float32, size: tuple[int, int], method: int) -> Float32:
    return np.asarray(cv2.resize(image, size, interpolation=method), np.float32).reshape(size[1], size[0], -1)
