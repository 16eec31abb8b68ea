"""From a network's alpha to alpha in linear light.

A network learned from pictures that were mixed after encoding, so its alpha a obeys ``code = a code(F) + (1 - a)
code(B)``. A camera mixes light: ``plate = alpha F + (1 - alpha) B``. For white over black an alpha of .5 reads as .735,
for dark hair over a bright sky as .265. The way back, per pixel of the band:

1. Foreground and background are estimated where the network's alpha is right, in codes (`local_colours`).
2. Where a code lies in the look's shoulder or clip, it says little about the light behind it. There the colour is taken
   from the light of the plate nearby instead, and the band is widened, because such an edge lies far inside what the
   network calls solid: hair of .02 over a sky of 8 reads as white up to a coverage of .88.
3. Two estimates of alpha follow. The *remap* mixes the two codes with the network's alpha, decodes, and asks which mix
   of light that is: it has no grain, and the network's errors. The *projection* asks it of the plate itself: it has the
   plate's sharpness, its grain, and every error of the two colours.
4. They are averaged by their variances. Where foreground and background are hard to tell apart the projection has no
   weight, and the remap tends to the network's own alpha.

Each pixel depends on one frame and a fixed neighbourhood; nothing is chosen per frame but the grain level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .grain import DARKEST, grain_level
from .local_colours import SIGMAS, LocalColours, local_colours, share_residual, wide_blur

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

REFERENCE_HEIGHT = 1080

_BAND = 0.004
_WIDEN_RADIUS = 16.0
_COLOUR_RADIUS = 24.0
_COLOUR_HEADROOM = 1.25
_HIGHLIGHT_SIGMA = 10.0
_HIGHLIGHT_POWER = 2
_HIGHLIGHT_ERROR = 0.15
_ALPHA_NOISE = 0.04
_SEPARATION = 0.15
_TRUSTED_SEPARATION = 0.25
_MODEL_ERROR = 0.05
_CODE_STEP = 1.0 / 256.0
_LEAST_VARIANCE = 1e-5


class Encoding(Protocol):
    """What the network saw of the light: one look with one gain, on the light that `solve_linear` is given."""

    @property
    def shoulder_start(self) -> float:
        """Light above which the encoding compresses."""

    @property
    def white_point(self) -> float:
        """Light from which on every code is the same."""

    def forward(self, light: Float32) -> Float32:
        """(..., 3) float32 light → codes in 0..1."""

    def inverse(self, codes: Float32) -> Float32:
        """(..., 3) float32 codes in 0..1 → light in 0..``white_point``."""


@dataclass(frozen=True)
class _Pixels:
    """The pixels to be solved: light (N, 3), the network's alpha and its deviation (N,), colours in codes (N, 3)."""

    light: Float32
    codes: Float32
    alpha: Float32
    local_deviation: Float32
    colours: LocalColours


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
    band = (alpha > _BAND) & (alpha < 1 - _BAND)
    box = _around(edge, round(3 * SIGMAS[0] * unit))
    if box is None:
        return result
    light = np.maximum(plate[box], np.float32(0))
    part, band = np.ascontiguousarray(result[box]), band[box]
    edge = edge[box]
    grain = grain_level(light)
    codes = encoding.forward(light)
    colours = local_colours(codes, part, unit)
    bright_f, bright_b = (_highlights(light, weight, encoding, unit) for weight in (part, 1 - part))
    chosen = _widened(band, edge, colours, encoding, unit)
    pixels = _gather(light, codes, part, colours, chosen)
    ceiling = _brightest_nearby(light, unit)[chosen]
    pair = _pair(pixels, encoding, grain, ceiling, (bright_f[chosen], bright_b[chosen]))
    part[chosen] = _combine(pixels, pair, encoding, grain)
    result[box] = part
    return result


def _around(band: Bools, margin: int) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(band.any(axis=1)), np.flatnonzero(band.any(axis=0))
    if rows.size == 0:
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _disc(radius: float) -> NDArray[np.uint8]:
    size = 2 * max(1, round(radius)) + 1
    return np.ones((size, size), np.uint8)


def _brightest_nearby(light: Float32, unit: float) -> Float32:
    """A colour estimate cannot be much brighter than anything that is there: (H, W, 3)."""
    nearby = cv2.dilate(light, _disc(_COLOUR_RADIUS * unit))
    return np.asarray(nearby * np.float32(_COLOUR_HEADROOM), np.float32)


def _highlights(light: Float32, weight: Float32, encoding: Encoding, unit: float) -> Float32:
    """The light of what the look compresses, near each pixel and on one side: (H, W, 3), 0 where there is none.

    A mean that leans to the brightest, because partly covered pixels are darker than the colour that is sought.
    """
    relative = light / np.float32(encoding.shoulder_start)
    power = np.clip(2.5 * relative - 2, 0, 1) * np.square(weight)[..., None] * relative**_HIGHLIGHT_POWER
    total = wide_blur(power, _HIGHLIGHT_SIGMA * unit)
    mean = wide_blur(power * light, _HIGHLIGHT_SIGMA * unit) / np.maximum(total, np.float32(1e-6))
    return np.where(total > np.float32(1e-4), mean, np.float32(0)).astype(np.float32)


def _widened(band: Bools, edge: Bools, colours: LocalColours, encoding: Encoding, unit: float) -> Bools:
    """The band, and around any edge the pixels where either side is in the look's shoulder or clip."""
    start = encoding.forward(np.full((1, 3), encoding.shoulder_start, np.float32))
    compressed = ((colours.foreground >= 0.98 * start) | (colours.background >= 0.98 * start)).any(axis=-1)
    wide = cv2.dilate(edge.astype(np.uint8), _disc(_WIDEN_RADIUS * unit)) > 0
    return np.asarray(band | (wide & compressed), np.bool_)


def _gather(light: Float32, codes: Float32, alpha: Float32, colours: LocalColours, chosen: Bools) -> _Pixels:
    mean = cv2.blur(alpha, (3, 3))
    deviation = np.sqrt(np.maximum(cv2.blur(alpha * alpha, (3, 3)) - mean * mean, 0))
    return _Pixels(
        light[chosen],
        codes[chosen],
        alpha[chosen],
        np.asarray(deviation, np.float32)[chosen],
        LocalColours(
            np.clip(colours.foreground[chosen], 0, 1),
            np.clip(colours.background[chosen], 0, 1),
            colours.foreground_variance[chosen] + np.float32(_LEAST_VARIANCE),
            colours.background_variance[chosen] + np.float32(_LEAST_VARIANCE),
        ),
    )


def _separation(pixels: _Pixels) -> Float32:
    """Mean square distance of the two local colours in codes: (N,)."""
    return np.asarray(np.square(pixels.colours.foreground - pixels.colours.background).mean(axis=1), np.float32)


def _alpha_deviation(pixels: _Pixels) -> Float32:
    """How wrong the network's alpha may be: a floor, and more where it changes from pixel to pixel.

    The second part counts where the plate can do better, that is, where the colours are well apart.
    """
    separation = _separation(pixels)
    share = separation / (separation + np.float32(_TRUSTED_SEPARATION**2))
    variance = np.float32(_ALPHA_NOISE**2) + np.square(share * pixels.local_deviation)
    return np.asarray(np.sqrt(variance), np.float32)


def _pair(
    pixels: _Pixels, encoding: Encoding, grain: float, ceiling: Float32, highlights: tuple[Float32, Float32]
) -> _Pair:
    noise_light = np.float32(grain) * np.maximum(pixels.light, np.float32(DARKEST))
    step = 0.01 * pixels.light + np.float32(1e-4)
    code_per_light = (encoding.forward(pixels.light + step) - pixels.codes) / step
    distance = pixels.colours.foreground - pixels.colours.background
    noise = np.square(code_per_light) * noise_light + np.square(_alpha_deviation(pixels)[:, None] * distance)
    front, back, spread_f, spread_b = share_residual(pixels.colours, pixels.codes, pixels.alpha, noise)
    sides = []
    for code, spread, bright, smooth in (
        (front, spread_f, highlights[0], pixels.colours.foreground),
        (back, spread_b, highlights[1], pixels.colours.background),
    ):
        code = np.clip(code, 0, 1).astype(np.float32)
        light = np.minimum(encoding.inverse(code), ceiling)
        share = _compressed_share(smooth, encoding) * (bright > 0)
        seen = light + share * (bright - light)
        variance = (1 - share) * spread * np.square(_light_per_code(code, encoding))
        variance += share * np.square(np.float32(_HIGHLIGHT_ERROR) * bright)
        sides.append((encoding.forward(light), seen, variance))
    return _Pair(sides[0][0], sides[1][0], sides[0][1], sides[1][1], sides[0][2], sides[1][2])


def _light_per_code(code: Float32, encoding: Encoding) -> Float32:
    middle = np.clip(code, _CODE_STEP, 1 - _CODE_STEP)
    rise = encoding.inverse(middle + np.float32(_CODE_STEP)) - encoding.inverse(middle - np.float32(_CODE_STEP))
    return np.asarray(rise / np.float32(2 * _CODE_STEP), np.float32)


def _compressed_share(code: Float32, encoding: Encoding) -> Float32:
    """0 for a code below the look's shoulder, 1 above it, a fade between."""
    low, high = (
        encoding.forward(np.full((1, 3), factor * encoding.shoulder_start, np.float32)) for factor in (0.9, 1.1)
    )
    return np.asarray(np.clip((code - low) / np.maximum(high - low, np.float32(1e-6)), 0, 1), np.float32)


def _combine(pixels: _Pixels, pair: _Pair, encoding: Encoding, grain: float) -> Float32:
    deviation = _alpha_deviation(pixels)
    separation = _separation(pixels)
    trust = separation / (separation + np.float32(_SEPARATION**2))
    remapped = pixels.alpha + trust * (_remap(pixels.alpha, pair, encoding) - pixels.alpha)
    low, high = (_remap(pixels.alpha + sign * deviation, pair, encoding) for sign in (-1, 1))
    remap_variance = np.square(np.maximum(0.5 * np.abs(high - low), 0.5 * deviation))
    cover, rest = np.square(remapped)[:, None], np.square(1 - remapped)[:, None]
    # What the local model cannot know is about the same number of codes everywhere, on a curve without a shoulder.
    light_per_code = 2.4 * np.power(np.maximum(pixels.light, np.float32(0.003)), np.float32(1 - 1 / 2.4))
    variance = (
        np.float32(grain) * np.maximum(pixels.light, np.float32(DARKEST))
        + cover * pair.foreground_variance
        + rest * pair.background_variance
        + np.square(np.float32(_MODEL_ERROR) * light_per_code)
    )
    across = pair.foreground - pair.background
    weight = (across * across / variance).sum(axis=1)
    projected = ((pixels.light - pair.background) * across / variance).sum(axis=1)
    prior = 1 / remap_variance
    return np.asarray(np.clip((projected + prior * remapped) / (weight + prior), 0, 1), np.float32)


def _remap(alpha: Float32, pair: _Pair, encoding: Encoding) -> Float32:
    """Which mix of light has the code that ``alpha`` mixes: (N,) in 0..1; 0 and 1 stay, and so does equal light."""
    share = np.clip(alpha, 0, 1)[:, None]
    mixed = encoding.inverse(share * pair.foreground_code + (1 - share) * pair.background_code)
    across = pair.foreground - pair.background
    along = ((mixed - pair.background) * across).sum(axis=1)
    mix = np.clip((along + 1e-7 * share[:, 0]) / ((across * across).sum(axis=1) + 1e-7), 0, 1)
    return np.where(alpha <= 0, 0, np.where(alpha >= 1, 1, mix)).astype(np.float32)
