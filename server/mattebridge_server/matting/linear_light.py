"""From a network's alpha to alpha in linear light.

A network learned from pictures that were mixed after encoding, so its alpha a obeys ``code = a code(F) + (1 - a)
code(B)``. A camera mixes light: ``plate = alpha F + (1 - alpha) B``. For white over black an alpha of .5 reads as .735,
for dark hair over a bright sky as .265. The way back:

1. The network's alpha is made as sharp as the plate, in codes, where it is a linear function of the plate (`detail`).
2. Foreground and background are estimated where the network's alpha is right: in codes. What local colours leave open
   at a pixel is shared between its own foreground, background and alpha by their variances (`local_colours`).
3. Where a code lies in the look's shoulder or clip, the light behind it is taken from the plate (`encoding`), and the
   band is widened, because such an edge lies far inside what the network calls solid: hair of .02 over a sky of 8 reads
   as white up to a coverage of .88.
4. Both sides' light is fitted once more, to mixes of light in every channel, and the coverage is found that a network
   reads as its alpha under this look (`mixing`). The *projection* asks the plate itself, which no look has clipped.
   The two are averaged by their variances; where foreground and background are hard to tell apart the reading tends to
   the network's own alpha.
5. Where the look compresses the foreground, the mean of all coverages is taken, each weighed by how well it explains
   plate and reading: the likeliest has a bias there (`expectation`).
6. Where the edge is smooth, the step from a to alpha is smooth too: colours that err from pixel to pixel, which would
   flicker, are evened out there.

Each pixel depends on one frame and a fixed neighbourhood; chosen per frame are the grain level and the softness of the
network's alpha, each one number with a value in between for everything in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .band import REFERENCE_HEIGHT
from .detail import around, blurred, box
from .encoding import (
    Encoding,
    Highlights,
    brightest_nearby,
    code_noise,
    compressed,
    highlights,
    light_behind,
)
from .expectation import Lit, expected_where_compressed
from .grain import DARKEST, grain_level
from .local_colours import LocalColours, explained, local_colours
from .mixing import Pair, Read, coverage_of, light_per_code, pair_of, relit, slope_of
from .softness import sharpened

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

__all__ = ["Encoding", "solve_linear"]

_BAND = 0.004
_MARGIN = 192.0
_WIDEN_RADIUS = 16.0
_ALPHA_ERROR, _SOFT_ALPHA_ERROR, _LEAST_ALPHA_ERROR = 0.01, 0.03, 0.002
_LEAST_SEPARATION = 0.03
_MODEL_ERROR = 0.05
_SETTLE_RADIUS = 6.0
_CALM_SIGMA = 1.75


@dataclass(frozen=True)
class _Pixels:
    """The pixels to be solved: light and its grain's variance (N, 3), sharp alpha and its variance (N,), and how far
    apart foreground and background are in codes, mean square, against how far they vary (N,)."""

    light: Float32
    grain: Float32
    alpha: Float32
    alpha_variance: Float32
    separation: Float32
    doubt: Float32


def solve_linear(plate: Float32, alpha: Float32, encoding: Encoding) -> Float32:
    """Alpha in linear light from the alpha that a network gave for the encoded plate.

    ``plate``: (H, W, 3) float32, linear Rec.709, finite, unclipped, the whole plate (sizes scale with its height).
    ``alpha``: (H, W) float32 in 0..1 at the same size. Returns (H, W) float32 in 0..1; outside the widened band the
    values of ``alpha`` are kept as they are, and solid and empty stay so.
    """
    unit = plate.shape[0] / REFERENCE_HEIGHT
    result = alpha.astype(np.float32, copy=True)
    # A look that clips can leave a hard edge of what is soft in the plate, so a step counts as a band too.
    near = np.ones((3, 3), np.uint8)
    edge = np.asarray(cv2.dilate(result, near) - cv2.erode(result, near) > _BAND, np.bool_)
    place = around(edge, round(_MARGIN * unit))
    if place is None:
        return result
    light = np.maximum(plate[place], np.float32(0))
    result[place] = _solved(light, np.ascontiguousarray(result[place]), edge[place], encoding, unit)
    return result


def _solved(light: Float32, alpha: Float32, edge: Bools, encoding: Encoding, unit: float) -> Float32:
    """`solve_linear` on a crop; ``edge`` (H, W) is where alpha changes."""
    grain = np.float32(grain_level(light)) * np.maximum(light, np.float32(DARKEST))
    codes = encoding.forward(light)
    noise = code_noise(light, codes, encoding, grain)
    sharp = sharpened(alpha, codes, noise, unit)
    colours = local_colours(codes, sharp.alpha, noise, unit)
    chosen = _chosen(alpha, edge, colours, encoding, unit)
    here = LocalColours(
        np.clip(colours.foreground[chosen], 0, 1),
        np.clip(colours.background[chosen], 0, 1),
        colours.foreground_variance[chosen],
        colours.background_variance[chosen],
    )
    own = explained(
        here, codes[chosen], sharp.alpha[chosen], _alpha_variance(alpha[chosen], sharp.softness), noise[chosen]
    )
    brightest = brightest_nearby(light, unit)
    sides = []
    for side, code, smooth, variance in (
        (sharp.alpha, own.foreground, here.foreground, here.foreground_variance),
        (1 - sharp.alpha, own.background, here.background, here.background_variance),
    ):
        bright = highlights(light, side, encoding, unit)
        bright = Highlights(bright.light[chosen], bright.variance[chosen])
        sides.append(light_behind(code, variance, smooth, bright, brightest[chosen], encoding))
    (front, front_variance), (back, back_variance) = sides
    pair = pair_of(front, back, front_variance, back_variance, encoding)
    pair = relit(pair, Read(own.alpha, own.alpha_variance), light[chosen], grain[chosen], chosen, encoding, unit)
    apart = here.foreground - here.background
    separation = np.einsum("nc,nc->n", apart, apart) / np.float32(3)
    doubt = (here.foreground_variance + here.background_variance)[:, 0] + np.float32(_LEAST_SEPARATION**2)
    pixels = _Pixels(light[chosen], grain[chosen], own.alpha, own.alpha_variance, separation, doubt)
    solved = sharp.alpha.copy()
    solved[chosen] = _within_reach(_combined(pixels, pair, encoding), alpha[chosen], pair, encoding)
    soft = chosen & (alpha > _BAND) & (alpha < 1 - _BAND)
    network = Read(sharp.alpha[soft], _alpha_variance(alpha[soft], sharp.softness))
    lit = Lit(light, grain, brightest)
    solved[soft] = expected_where_compressed(solved, soft, network, pair.at(soft[chosen]), lit, encoding, unit)
    settled = _settled(solved, sharp.alpha, sharp.detailed, unit)
    return np.where(chosen, settled, alpha)


def _chosen(alpha: Float32, edge: Bools, colours: LocalColours, encoding: Encoding, unit: float) -> Bools:
    """The band, and around any edge the pixels where either side is in the look's shoulder or clip."""
    size = 2 * max(1, round(_WIDEN_RADIUS * unit)) + 1
    wide = cv2.dilate(edge.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    sigma = _CALM_SIGMA * unit  # one bright pixel is no highlight
    front, back = blurred(colours.foreground, sigma), blurred(colours.background, sigma)
    bright = compressed(front, encoding) | compressed(back, encoding)
    return np.asarray(((alpha > _BAND) & (alpha < 1 - _BAND)) | (wide & bright), np.bool_)


def _alpha_variance(alpha: Float32, softness: float) -> Float32:
    """How wrong a network's alpha is taken to be: more in the band where it was soft; hardly where solid or empty."""
    error = _ALPHA_ERROR + (_SOFT_ALPHA_ERROR - _ALPHA_ERROR) * min(softness, 1.0)
    certain = (alpha <= _BAND) | (alpha >= 1 - _BAND)
    return np.where(certain, np.float32(_LEAST_ALPHA_ERROR**2), np.float32(error**2))


def _combined(pixels: _Pixels, pair: Pair, encoding: Encoding) -> Float32:
    """What the network read, as coverage, and the projection of the plate, averaged by their variances: (N,)."""
    trust = pixels.separation / (pixels.separation + pixels.doubt)
    coverage = coverage_of(pixels.alpha, pair, encoding).value
    deviation = np.sqrt(pixels.alpha_variance)
    read_variance = np.square(np.maximum(deviation / slope_of(coverage, pair, encoding), 0.5 * deviation))
    read = pixels.alpha + trust * (coverage - pixels.alpha)
    variance = (
        pixels.grain
        + np.square(read)[:, None] * pair.foreground_variance
        + np.square(1 - read)[:, None] * pair.background_variance
        + np.square(np.float32(_MODEL_ERROR) * light_per_code(pixels.light))
    )
    across = pair.foreground - pair.background
    along = across / variance
    weight = np.einsum("nc,nc->n", across, along)
    projected = np.einsum("nc,nc->n", pixels.light - pair.background, along)
    prior = 1 / (read_variance + np.float32(1e-8))
    return np.asarray(np.clip((projected + prior * read) / (weight + prior), 0, 1), np.float32)


def _within_reach(solved: Float32, network: Float32, pair: Pair, encoding: Encoding) -> Float32:
    """Where the network saw solid or empty, ``solved`` no farther from it than what the look could have hidden."""
    band = np.float32(_BAND)
    result = solved.copy()
    for which, sign in ((network <= band, 1), (network >= 1 - band, -1)):
        reach = coverage_of(network[which] + sign * band, pair.at(which), encoding)
        result[which] = np.minimum(solved[which], reach.high) if sign > 0 else np.maximum(solved[which], reach.low)
    return result


def _settled(solved: Float32, alpha: Float32, detailed: Float32, unit: float) -> Float32:
    """``solved`` as a local linear function of ``alpha`` where the edge is smooth, itself where it is ``detailed``."""
    radius = max(1, round(_SETTLE_RADIUS * unit))
    mean, mean_solved = box(alpha, radius), box(solved, radius)
    spread = box(alpha * alpha, radius) - mean * mean + np.float32(1e-4)
    slope = (box(alpha * solved, radius) - mean * mean_solved) / spread
    even = box(np.asarray(slope, np.float32), radius) * alpha + box(
        np.asarray(mean_solved - slope * mean, np.float32), radius
    )
    settled = np.clip(even + detailed * (solved - even), 0, 1)
    return np.where((alpha <= 0) | (alpha >= 1), solved, settled).astype(np.float32)
