"""The three looks: how scene-linear light becomes the display-encoded picture that a network sees.

A look acts per channel on linear Rec.709 after the shot's gain, and gives codes in 0..1:

    srgb     the sRGB curve, clipped at 1: what the networks were trained on
    filmic   linear up to .8, then a logarithmic shoulder that reaches white at 16, then the sRGB curve; the default
    view     the studio's display and view through OCIO, as the artist saw it

Every look has an inverse, because an alpha solved in codes has to be re-solved in light. `srgb` and `filmic` invert
exactly between black and white. A view mixes channels and compresses gamut; its inverse is a fit per channel on the
neutral axis, good for judging how much light stands behind a code and never for bringing a plate back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .processors import Transform

Float32 = NDArray[np.float32]
LookName = Literal["srgb", "filmic", "view"]

_SHOULDER_START = 0.8
_FILMIC_WHITE = 16.0
_FIT_STOPS = (-14.0, 12.0)
_FIT_SAMPLES = 4096
_CODE_STEP = 1.0 / 512.0


class Look(Protocol):
    """``shoulder_start`` and ``white_point`` are linear Rec.709 after the gain.

    Above ``shoulder_start`` the look compresses light; from ``white_point`` on every light has the same code.
    """

    @property
    def name(self) -> str: ...
    @property
    def shoulder_start(self) -> float: ...
    @property
    def white_point(self) -> float: ...
    def forward(self, light: Float32) -> Float32:
        """(..., 3) float32 linear Rec.709 after the gain, finite → a new array of codes in 0..1."""

    def inverse(self, codes: Float32) -> Float32:
        """(..., 3) float32 codes in 0..1 → a new array of light in 0..``white_point``."""


def encode_srgb(light: Float32) -> Float32:
    """The sRGB curve of IEC 61966-2-1 on light in 0..1; above 1 it goes on, below 0 it gives 0."""
    light = np.maximum(light, np.float32(0))
    curve = np.float32(1.055) * np.power(light, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.where(light <= np.float32(0.0031308), np.float32(12.92) * light, curve).astype(np.float32)


def decode_srgb(codes: Float32) -> Float32:
    """The inverse of `encode_srgb` for codes of 0 and above."""
    codes = np.maximum(codes, np.float32(0))
    curve = np.power((codes + np.float32(0.055)) / np.float32(1.055), np.float32(2.4))
    return np.where(codes <= np.float32(0.04045), codes / np.float32(12.92), curve).astype(np.float32)


@dataclass(frozen=True)
class SrgbLook:
    """The sRGB curve and a clip."""

    name: Literal["srgb"] = "srgb"
    shoulder_start: float = 1.0
    white_point: float = 1.0

    def forward(self, light: Float32) -> Float32:
        return np.clip(encode_srgb(light), np.float32(0), np.float32(1))

    def inverse(self, codes: Float32) -> Float32:
        return decode_srgb(np.clip(codes, np.float32(0), np.float32(1)))


def _shoulder_rate(span: float) -> float:
    """k with ln(1 + k span) = k: the shoulder then starts with slope 1 and ends exactly at white."""
    rate = 1.0
    for _ in range(64):
        rate = math.log1p(rate * span)
    return rate


_ROOM = 1.0 - _SHOULDER_START
_RATE = _shoulder_rate((_FILMIC_WHITE - _SHOULDER_START) / _ROOM)


@dataclass(frozen=True)
class FilmicLook:
    """Linear to .8, a logarithmic shoulder to 16, the sRGB curve: a highlight keeps some shape instead of clipping.

    Above the start s the light x becomes ``s + (1 - s) ln(1 + k t) / k`` with ``t = (x - s) / (1 - s)``.
    """

    name: Literal["filmic"] = "filmic"
    shoulder_start: float = _SHOULDER_START
    white_point: float = _FILMIC_WHITE

    def forward(self, light: Float32) -> Float32:
        start = np.float32(self.shoulder_start)
        seen = np.minimum(light, start)
        over = light > start
        if over.any():
            excess = (light[over] - start) / np.float32(_ROOM)
            seen[over] += np.log1p(np.float32(_RATE) * excess) * np.float32(_ROOM / _RATE)
        return np.clip(encode_srgb(seen), np.float32(0), np.float32(1))

    def inverse(self, codes: Float32) -> Float32:
        compressed = decode_srgb(np.clip(codes, np.float32(0), np.float32(1)))
        share = np.clip((compressed - self.shoulder_start) / _ROOM, 0.0, 1.0).astype(np.float32)
        excess = np.expm1(np.float32(_RATE) * share) * np.float32(_ROOM / _RATE)
        light: Float32 = np.minimum(compressed, np.float32(self.shoulder_start)) + excess
        return light


@dataclass(frozen=True)
class ViewLook:
    """A display and view of the config. ``light`` and ``codes`` hold the neutral axis that the inverse is read from."""

    name: str
    transform: Transform
    shoulder_start: float
    white_point: float
    light: tuple[Float32, ...] = field(repr=False)
    codes: tuple[Float32, ...] = field(repr=False)

    @classmethod
    def of(cls, transform: Transform, name: str = "view") -> ViewLook:
        """Measure the view on the neutral axis: ``transform`` takes linear Rec.709 to the display's codes."""
        light = np.concatenate([[0.0], np.exp2(np.linspace(*_FIT_STOPS, _FIT_SAMPLES))]).astype(np.float32)
        seen = np.clip(transform.apply(np.repeat(light[:, None], 3, axis=1)), 0.0, 1.0)
        seen = np.maximum.accumulate(seen, axis=0)
        rising = [np.concatenate([[True], np.diff(seen[:, c]) > 0]) for c in range(3)]
        mean = seen.mean(axis=1)
        white = float(light[np.argmax(mean >= mean[-1] - _CODE_STEP)])
        return cls(
            name=name,
            transform=transform,
            shoulder_start=min(_shoulder_of(light, mean), white),
            white_point=white,
            light=tuple(light[keep] for keep in rising),
            codes=tuple(seen[keep, c] for c, keep in enumerate(rising)),
        )

    def forward(self, light: Float32) -> Float32:
        return np.clip(self.transform.apply(light), np.float32(0), np.float32(1))

    def inverse(self, codes: Float32) -> Float32:
        light = np.empty(codes.shape, dtype=np.float32)
        for c in range(3):
            light[..., c] = np.interp(codes[..., c], self.codes[c], self.light[c])
        return np.minimum(light, np.float32(self.white_point))


def _shoulder_of(light: Float32, mean: Float32) -> float:
    """Where the view's slope per stop has fallen to half of its steepest, above mid grey."""
    slope = np.gradient(mean[1:], np.log2(light[1:]))
    above = (light[1:] > 0.18) & (slope < 0.5 * slope.max())
    above[: np.argmax(slope)] = False  # a plain display curve grows steeper up to its clip
    return float(light[1:][np.argmax(above)]) if above.any() else float(light[-1])
