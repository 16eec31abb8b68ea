"""The coverage to expect where the look compresses the foreground.

There a small error of what a network reads is a large one of coverage, and a lopsided one: the reading bends, so the
coverage of a reading that errs to both sides alike is too high on average. Colours fitted in codes with one alpha err
too, because channels are compressed one after the other. So the foreground is fitted in light, where mixes are linear,
and every coverage is weighed by how well it explains the plate and the reading together. What is returned is the mean
of them all, and not the likeliest: of what the plate leaves open the mean has no bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .detail import around
from .encoding import Encoding
from .local_colours import local_colours
from .mixing import Pair, Read, light_per_code, pair_of

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

_COMPRESSED = 2.0
_MARGIN = 64.0
_COVERAGES = 17
_SHARED_TEXTURE = 0.5
_MODEL_ERROR = 0.02
_EQUAL_CODES = 1e-4
_DARKEST = 1e-3


@dataclass(frozen=True)
class Lit:
    """A plate's ``light``, the variance of its ``grain``, and the ``brightest`` colours near; all (H, W, 3) float32."""

    light: Float32
    grain: Float32
    brightest: Float32


def expected_where_compressed(
    coverage: Float32, where: Bools, read: Read, pair: Pair, lit: Lit, encoding: Encoding, unit: float
) -> Float32:
    """``coverage`` (H, W) at the pixels ``where`` (H, W), its mean instead where the look compresses the foreground.

    ``read`` and ``pair`` are of the N pixels ``where``, ``unit`` is the plate's height over 1080. Returns (N,).
    """
    result, light, grain = coverage[where], lit.light[where], lit.grain[where]
    bright = where.copy()
    bright[where] = compressed_share(pair.foreground, encoding) > 0
    place = around(bright, round(_MARGIN * unit))
    if place is None:
        return result
    whole, spread = np.zeros_like(lit.light), np.zeros_like(lit.light)
    whole[place], spread[place] = foreground_light(lit.light[place], coverage[place], lit.grain[place], unit)
    front, texture = np.minimum(whole[where], lit.brightest[where]), spread[where]
    share = compressed_share(front, encoding)
    some = share > 0
    sides = pair_of(front[some], pair.background[some], texture[some], pair.background_variance[some], encoding)
    known = Read(read.alpha[some], read.variance[some])
    mean = expected_coverage(known, light[some], grain[some], sides, encoding)
    result[some] += share[some] * (mean - result[some])
    return result


def compressed_share(foreground: Float32, encoding: Encoding) -> Float32:
    """How far in the look's shoulder ``foreground`` (N, 3), light, is: (N,), 0 at its start, 1 at twice its light."""
    relative = foreground.max(axis=1) / np.float32(encoding.shoulder_start)
    return np.asarray(np.clip((relative - 1) / np.float32(_COMPRESSED - 1), 0, 1), np.float32)


def foreground_light(light: Float32, coverage: Float32, grain: Float32, unit: float) -> tuple[Float32, Float32]:
    """The foreground's light (H, W, 3) around each pixel, and the variance of its texture, (H, W, 3).

    ``light`` and the variance ``grain`` are (H, W, 3), ``coverage`` (H, W) is what is known of it so far, ``unit`` the
    plate's height over 1080.
    """
    level = np.maximum(light.mean(axis=(0, 1)), np.float32(_DARKEST))  # so that all channels count alike
    noise = (grain + _model_variance(light)) / np.square(level)
    colours = local_colours(light / level, coverage, noise, unit)
    return np.maximum(colours.foreground, 0) * level, colours.foreground_variance * np.square(level)


def expected_coverage(read: Read, light: Float32, grain: Float32, pair: Pair, encoding: Encoding) -> Float32:
    """Mean coverage (N,) of pixels with this ``light`` and variance ``grain``, both (N, 3), that read as ``read`` says.

    The variances of ``pair`` are those of texture around its colours. Half of the foreground's is taken to be
    brightness, which all channels have in common: three channels that agree are no three witnesses.
    """
    steady = grain + _model_variance(light)
    seen = encoding.forward(light) - pair.background_code
    precision = 1 / np.maximum(read.variance, np.float32(1e-8))
    coverages = np.linspace(0, 1, _COVERAGES, dtype=np.float32)
    unlikely = np.empty((_COVERAGES, len(light)), np.float32)
    for row, coverage in zip(unlikely, coverages, strict=True):
        front, misfit = _explained(coverage, light, steady, pair)
        across = encoding.forward(front) - pair.background_code
        equal = np.float32(_EQUAL_CODES)
        alpha = (_dot(seen, across) + equal * coverage) / (_dot(across, across) + equal)
        row[:] = misfit + np.square(read.alpha - alpha) * precision
    weight = np.exp(np.float32(-0.5) * (unlikely - unlikely.min(axis=0)))
    return np.asarray(np.einsum("kn,k->n", weight, coverages) / weight.sum(axis=0), np.float32)


def _explained(coverage: np.float32, light: Float32, steady: Float32, pair: Pair) -> tuple[Float32, Float32]:
    """Each pixel's own foreground (N, 3) if this were the ``coverage``, and minus twice the logarithm of how likely the
    ``light`` then is (N,). The variance is diagonal but for the brightness, one direction that is solved for apart."""
    rest = 1 - coverage
    left = light - coverage * pair.foreground - rest * pair.background
    own = np.float32(1 - _SHARED_TEXTURE) * pair.foreground_variance
    shared = np.asarray(np.sqrt(np.float32(_SHARED_TEXTURE) * pair.foreground_variance), np.float32)
    variance = coverage * coverage * own + rest * rest * pair.background_variance + steady
    precision = np.asarray(1 / variance, np.float32)
    bright = coverage * shared
    spread = 1 + _dot(bright * bright, precision)
    told = precision * (left - bright * (_dot(bright * left, precision) / spread)[:, None])
    misfit = _dot(left, told) + np.log(spread * variance[:, 0] * variance[:, 1] * variance[:, 2])
    front = pair.foreground + coverage * (own * told + shared * _dot(shared, told)[:, None])
    return np.maximum(front, 0), np.asarray(misfit, np.float32)


def _model_variance(light: Float32) -> Float32:
    return np.asarray(np.square(np.float32(_MODEL_ERROR) * light_per_code(light)), np.float32)


def _dot(one: Float32, other: Float32) -> Float32:
    return np.asarray(np.einsum("nc,nc->n", one, other), np.float32)
