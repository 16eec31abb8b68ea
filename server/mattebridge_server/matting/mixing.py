"""Which coverage has the alpha that a network reads, and which colours of the two sides fit the light that was seen.

A network's alpha is a share of codes: the code of the mix, projected between the codes of foreground and background.
For known light of both sides `coverage_of` finds the coverage whose mix reads so: the reading never falls as coverage
grows. It is exact for any look, also where channels clip one after the other, and where none
tells any more the reading is flat and its slope says so.

`relit` is the other half. Colours that were fitted in codes with one alpha for all channels lean to the dark where
only some of them are in the shoulder. With the coverage found, light mixes linearly in every channel: the foreground is
moved by what its surroundings leave unexplained, then every pixel's own foreground and background are. These are steps
of expectation maximisation in the Gaussian model of `local_colours`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .encoding import Encoding
from .local_colours import wide_blur

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

_ROUNDS, _ROUGH_STEPS, _FINE_STEPS = 2, 5, 7
_SLOPE_STEP = 0.03
_LEAST_SLOPE = 1e-3
_EQUAL_CODES = 1e-4
_SURROUNDINGS_SIGMA = 8.0
_DARKEST = 0.01
_MOST_DEVIATION = 2.0
_LEAST_CHANGE, _MOST_CHANGE = 0.5, 2.0
_LEAST_KNOWN = 0.02
_MODEL_ERROR = 0.02


@dataclass(frozen=True)
class Pair:
    """Foreground and background of each pixel: light, the variance of that light, and codes; all (N, 3) float32."""

    foreground: Float32
    background: Float32
    foreground_variance: Float32
    background_variance: Float32
    foreground_code: Float32
    background_code: Float32

    def at(self, which: Bools) -> Pair:
        """The pair of some of the pixels."""
        return Pair(*(part[which] for part in vars(self).values()))


@dataclass(frozen=True)
class Read:
    """The alpha that pixels read as, and its variance; both (N,) float32."""

    alpha: Float32
    variance: Float32


@dataclass(frozen=True)
class Coverage:
    """Coverage (N,) in 0..1, bounds ``low`` and ``high`` of it, and the slope of the reading between these."""

    value: Float32
    low: Float32
    high: Float32
    slope: Float32


def pair_of(
    foreground: Float32,
    background: Float32,
    foreground_variance: Float32,
    background_variance: Float32,
    encoding: Encoding,
) -> Pair:
    """The pair of two sides' light."""
    codes = encoding.forward(foreground), encoding.forward(background)
    return Pair(foreground, background, foreground_variance, background_variance, *codes)


def reading(coverage: Float32, pair: Pair, encoding: Encoding) -> Float32:
    """The alpha (N,) that a network reads where the mix of light has this ``coverage`` (N,)."""
    mix = pair.background + coverage[:, None] * (pair.foreground - pair.background)
    across = pair.foreground_code - pair.background_code
    along = np.einsum("nc,nc->n", encoding.forward(mix) - pair.background_code, across)
    equal = np.float32(_EQUAL_CODES)
    return np.asarray((along + equal * coverage) / (np.einsum("nc,nc->n", across, across) + equal), np.float32)


def coverage_of(alpha: Float32, pair: Pair, encoding: Encoding, steps: int = _FINE_STEPS) -> Coverage:
    """The coverage that reads as ``alpha`` (N,).

    Steps of false position and of bisection take turns: the one is quick where the reading is nearly straight, the
    other where it is flat. Where many coverages read the same, at a clip, the bounds close in on the first of them.
    """
    low, high = np.zeros_like(alpha), np.ones_like(alpha)
    least, most = low.copy(), high.copy()
    for step in range(steps):
        share = np.float32(0.5) if step % 2 else _share_of(alpha, least, most)
        middle = low + share * (high - low)
        read = reading(middle, pair, encoding)
        below = read < alpha
        low, high = np.where(below, middle, low), np.where(below, high, middle)
        least, most = np.where(below, read, least), np.where(below, most, read)
    found = np.asarray(low + _share_of(alpha, least, most) * (high - low), np.float32)
    slope = (most - least) / np.maximum(high - low, np.float32(1e-6))
    return Coverage(found, low, high, np.maximum(slope, np.float32(_LEAST_SLOPE)))


def _share_of(alpha: Float32, least: Float32, most: Float32) -> Float32:
    return np.asarray(np.clip((alpha - least) / np.maximum(most - least, np.float32(1e-6)), 0, 1), np.float32)


def slope_of(coverage: Float32, pair: Pair, encoding: Encoding) -> Float32:
    """How much more is read for a little more ``coverage`` (N,): (N,), hardly anything at a clip."""
    low, high = np.maximum(coverage - np.float32(_SLOPE_STEP), 0), np.minimum(coverage + np.float32(_SLOPE_STEP), 1)
    rise = reading(high, pair, encoding) - reading(low, pair, encoding)
    return np.asarray(np.maximum(rise / (high - low), np.float32(_LEAST_SLOPE)), np.float32)


def relit(
    pair: Pair, read: Read, light: Float32, grain: Float32, where: Bools, encoding: Encoding, unit: float
) -> Pair:
    """``pair`` with the colours that fit the ``light`` (N, 3) of pixels which read as ``read`` says.

    ``grain`` (N, 3) is the variance of the light, ``where`` (H, W) the place of the N pixels, ``unit`` the plate's
    height over 1080. Where the reading is flat the coverage is not known, and no colour is moved.
    """
    for _ in range(_ROUNDS):
        deviation, known, _ = _unexplained(pair, read, light, grain, encoding)
        relative = np.clip(
            deviation / (pair.foreground + np.float32(_DARKEST)), -_MOST_DEVIATION, _MOST_DEVIATION
        )  # so that one highlight does not speak for all
        told, weight = (_around(part, where, _SURROUNDINGS_SIGMA * unit) for part in (relative, known))
        change = 1 + told / (weight + np.float32(_LEAST_KNOWN))
        lit = pair.foreground * np.clip(change, _LEAST_CHANGE, _MOST_CHANGE)
        pair = replace(pair, foreground=lit, foreground_code=encoding.forward(lit))
    front, _, back = _unexplained(pair, read, light, grain, encoding)
    lit, unlit = np.maximum(pair.foreground + front, 0), np.maximum(pair.background + back, 0)
    return pair_of(lit, unlit, pair.foreground_variance, pair.background_variance, encoding)


def _around(values: Float32, where: Bools, sigma: float) -> Float32:
    """Gaussian mean of ``values`` (N, 3) of the pixels ``where`` (H, W), as if others were 0: (N, 3)."""
    whole = np.zeros((*where.shape, 3), np.float32)
    whole[where] = values
    return np.asarray(wide_blur(whole, sigma)[where], np.float32)


def _unexplained(
    pair: Pair, read: Read, light: Float32, grain: Float32, encoding: Encoding
) -> tuple[Float32, Float32, Float32]:
    """What each pixel's light says of its own foreground, beside the pair's; how much of it is known (0 to 1); and
    what it says of its background; all (N, 3)."""
    found = coverage_of(read.alpha, pair, encoding, _ROUGH_STEPS)
    share, unsure = found.value[:, None], np.minimum(read.variance / np.square(found.slope), 1)[:, None]
    rest = 1 - share
    front, back = share * pair.foreground_variance, rest * pair.background_variance
    error = np.square(np.float32(_MODEL_ERROR) * light_per_code(light))
    error = error + unsure * np.square(pair.foreground - pair.background)
    whole = share * front + rest * back + grain + error
    left = light - share * pair.foreground - rest * pair.background
    return front / whole * left, share * front / whole, back / whole * left


def light_per_code(light: Float32) -> Float32:
    """Slope of a curve without a shoulder at ``light``: what a model errs is about the same in codes everywhere."""
    return np.asarray(2.4 * np.power(np.maximum(light, np.float32(0.003)), np.float32(1 - 1 / 2.4)), np.float32)
