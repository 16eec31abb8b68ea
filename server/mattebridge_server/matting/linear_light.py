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
4. Two estimates of alpha follow. The *remap* mixes the two codes with alpha, decodes, and asks which mix of light that
   is. The *projection* asks it of the plate itself, which no look has clipped. They are averaged by their variances;
   where foreground and background are hard to tell apart the remap tends to the network's own alpha.
5. Where the edge is smooth, the step from a to alpha is smooth too: colours that err from pixel to pixel, which would
   flicker, are evened out there.

Each pixel depends on one frame and a fixed neighbourhood; chosen per frame are the grain level and the softness of the
network's alpha, each one number with a value in between for everything in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import box, sharpened
from .encoding import (
    Encoding,
    Highlights,
    brightest_nearby,
    code_noise,
    compressed,
    highlights,
    light_behind,
)
from .grain import DARKEST, grain_level
from .local_colours import LocalColours, explained, local_colours

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

__all__ = ["Encoding", "solve_linear"]

REFERENCE_HEIGHT = 1080

_BAND = 0.004
_MARGIN = 192.0
_WIDEN_RADIUS = 16.0
_ALPHA_ERROR, _LEAST_ALPHA_ERROR = 0.02, 0.002
_LEAST_SEPARATION = 0.03
_MODEL_ERROR = 0.05
_SETTLE_RADIUS = 6.0


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


@dataclass(frozen=True)
class _Pair:
    """Foreground and background of each pixel: codes, light, and the variance of that light; all (N, 3) float32."""

    foreground_code: Float32
    background_code: Float32
    foreground: Float32
    background: Float32
    foreground_variance: Float32
    background_variance: Float32


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
    place = _around(edge, round(_MARGIN * unit))
    if place is None:
        return result
    light = np.maximum(plate[place], np.float32(0))
    result[place] = _solved(light, np.ascontiguousarray(result[place]), edge[place], encoding, unit)
    return result


def _around(band: Bools, margin: int) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(band.any(axis=1)), np.flatnonzero(band.any(axis=0))
    if rows.size == 0:
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


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
    own = explained(here, codes[chosen], sharp.alpha[chosen], _alpha_variance(alpha[chosen]), noise[chosen])
    ceiling = brightest_nearby(light, unit)[chosen]
    sides = []
    for side, code, variance, smooth in (
        (sharp.alpha, own.foreground, own.foreground_variance, here.foreground),
        (1 - sharp.alpha, own.background, own.background_variance, here.background),
    ):
        bright = highlights(light, side, encoding, unit)
        bright = Highlights(bright.light[chosen], bright.variance[chosen])
        seen, spread = light_behind(code, variance, smooth, bright, ceiling, encoding)
        sides.append((encoding.forward(seen), seen, spread))
    front, back = sides
    pair = _Pair(front[0], back[0], front[1], back[1], front[2], back[2])
    apart = here.foreground - here.background
    separation = np.einsum("nc,nc->n", apart, apart) / np.float32(3)
    doubt = (here.foreground_variance + here.background_variance)[:, 0] + np.float32(_LEAST_SEPARATION**2)
    pixels = _Pixels(light[chosen], grain[chosen], own.alpha, own.alpha_variance, separation, doubt)
    solved = sharp.alpha.copy()
    solved[chosen] = _within_reach(_combined(pixels, pair, encoding), alpha[chosen], pair, encoding)
    settled = _settled(solved, sharp.alpha, sharp.detailed, unit)
    return np.where(chosen, settled, alpha)


def _chosen(alpha: Float32, edge: Bools, colours: LocalColours, encoding: Encoding, unit: float) -> Bools:
    """The band, and around any edge the pixels where either side is in the look's shoulder or clip."""
    size = 2 * max(1, round(_WIDEN_RADIUS * unit)) + 1
    wide = cv2.dilate(edge.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    bright = compressed(colours.foreground, encoding) | compressed(colours.background, encoding)
    return np.asarray(((alpha > _BAND) & (alpha < 1 - _BAND)) | (wide & bright), np.bool_)


def _alpha_variance(alpha: Float32) -> Float32:
    """How wrong a network's alpha is taken to be: in the band; hardly where it is solid or empty."""
    certain = (alpha <= _BAND) | (alpha >= 1 - _BAND)
    return np.where(certain, np.float32(_LEAST_ALPHA_ERROR**2), np.float32(_ALPHA_ERROR**2))


def _combined(pixels: _Pixels, pair: _Pair, encoding: Encoding) -> Float32:
    """Remap and projection averaged by their variances: (N,) in 0..1."""
    trust = pixels.separation / (pixels.separation + pixels.doubt)
    remapped = pixels.alpha + trust * (_remap(pixels.alpha, pair, encoding) - pixels.alpha)
    deviation = np.sqrt(pixels.alpha_variance)
    low, high = (_remap(pixels.alpha + sign * deviation, pair, encoding) for sign in (-1, 1))
    remap_variance = np.square(np.maximum(0.5 * np.abs(high - low), 0.5 * deviation)) + np.float32(1e-8)
    # What the local model cannot know is about the same number of codes everywhere, on a curve without a shoulder.
    light_per_code = 2.4 * np.power(np.maximum(pixels.light, np.float32(0.003)), np.float32(1 - 1 / 2.4))
    variance = (
        pixels.grain
        + np.square(remapped)[:, None] * pair.foreground_variance
        + np.square(1 - remapped)[:, None] * pair.background_variance
        + np.square(np.float32(_MODEL_ERROR) * light_per_code)
    )
    across = pair.foreground - pair.background
    along = across / variance
    weight = np.einsum("nc,nc->n", across, along)
    projected = np.einsum("nc,nc->n", pixels.light - pair.background, along)
    prior = 1 / remap_variance
    return np.asarray(np.clip((projected + prior * remapped) / (weight + prior), 0, 1), np.float32)


def _within_reach(solved: Float32, network: Float32, pair: _Pair, encoding: Encoding) -> Float32:
    """Where the network saw solid or empty, ``solved`` no farther from it than what the look could have hidden."""
    least, most = (_remap(network + sign * np.float32(_BAND), pair, encoding) for sign in (-1, 1))
    certain = (network <= _BAND) | (network >= 1 - _BAND)
    return np.where(certain, np.clip(solved, least, most), solved).astype(np.float32)


def _remap(alpha: Float32, pair: _Pair, encoding: Encoding) -> Float32:
    """Which mix of light has the code that ``alpha`` mixes: (N,) in 0..1; 0 and 1 stay, and so does equal light."""
    share = np.clip(alpha, 0, 1)[:, None]
    mixed = encoding.inverse(share * pair.foreground_code + (1 - share) * pair.background_code)
    across = pair.foreground - pair.background
    along = np.einsum("nc,nc->n", mixed - pair.background, across)
    mix = np.clip((along + 1e-7 * share[:, 0]) / (np.einsum("nc,nc->n", across, across) + 1e-7), 0, 1)
    return np.where(alpha <= 0, 0, np.where(alpha >= 1, 1, mix)).astype(np.float32)


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
