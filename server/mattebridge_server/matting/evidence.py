"""What the plate says about each pixel near the mask's edge: a coverage between local colours, and what speaks for it.

    1. Foreground colours and texture are learned inside the mask, away from its edge; background texture outside.
    2. A pixel's distance from the foreground, in stops and by the foreground's own texture, is closed morphologically:
       between hairs the distance rises, and those gaps are the background as it is right there (over a highlight, too).
    3. The pixel is projected on the line between the two local colours, in linear light, with the directions in which
       the textures vary counting less.
    4. The same projection far outside, where the object is not, and deep inside, where nothing else is, tells how
       often the picture answers falsely. Clutter answers falsely everywhere; a plain sky never does.

Steps 1 to 3 give a coverage, all four the features by which `judge` decides how far to believe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.matting import kernels
from mattebridge_server.matting.band import FAR, Band, ramp
from mattebridge_server.matting.fields import PAIRS, Grid, inverse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Flags = NDArray[np.bool_]

FLOOR = 0.01
"""Added before the logarithm: half a per cent of diffuse white is as dark as texture is worth comparing."""
GAP = 21.0
"""Hairs closer than this many pixels leave no gap to see the background through."""
TEXTURE_FLOOR = 0.02
STEPS = np.float32(256)
"""A distance of 1 in whole steps: morphology is twice as quick on 16 bits. From black to the largest half float there
are 16 natural-log units in three channels, over `TEXTURE_FLOOR` a distance of 192: 16 bits hold 256."""
PHOTON_NOISE, READ_NOISE, RELATIVE_NOISE = 1e-4, 1e-7, 7.5e-5


@dataclass(frozen=True)
class Evidence:
    """What is known about every observed pixel of a crop. ``maps`` are (h, w) float32 images by name.

    ``coarse`` (rows, columns, C) float32 on ``grid`` holds the last of `FEATURES`, in their order.
    """

    grid: Grid
    maps: Mapping[str, Float32]
    coarse: Float32

    @property
    def coverage(self) -> Float32:
        """The projection, clipped to 0..1: (h, w)."""
        return self.maps["coverage"]

    @property
    def false_answers(self) -> Float32:
        """How often the picture answers falsely nearby, the mean of both sides: (h, w), 0.5 is a guess."""
        first = len(FEATURES) - self.coarse.shape[2]
        sides = [self.coarse[..., FEATURES.index(name) - first] for name in ("outside_mean", "inside_mean")]
        size = (self.grid.width, self.grid.height)
        mean = np.ascontiguousarray(0.5 * (sides[0] + sides[1]), np.float32)
        return np.asarray(cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def features(self, where: NDArray[np.int64]) -> Float32:
        """Features of the pixels ``where`` (N, 2; row, column): (len(FEATURES), N) float32."""
        at = where[:, 0] * self.grid.width + where[:, 1]
        seen = {name: image.reshape(-1).take(at) for name, image in self.maps.items()}
        seen["edge"], seen["way"] = np.tanh(seen["away"] / 20), np.tanh(seen["away"] / 120)
        seen["mix"] = np.clip(seen["mix"], -1, 2)
        seen["doubt"] = np.log(seen["doubt"] + np.float32(0.003))
        seen["misfit"] = np.minimum(seen["misfit"], 4)
        seen["distance"], seen["gap_distance"] = np.log(1 + seen["distance"]), np.log(1 + seen["gap_distance"])
        seen["detail"] = seen["coverage"] - seen["coverage_2"]
        out = np.empty((len(FEATURES), len(where)), np.float32)
        plain = len(FEATURES) - self.coarse.shape[2]
        for row, name in enumerate(FEATURES[:plain]):
            out[row] = seen[name]
        kernels.sample(0, len(where), np.ascontiguousarray(where), self.coarse, self.grid.step, plain, out)
        return out


FEATURES = (
    "edge", "way", "mask", "mask_wide", "mix", "coverage", "doubt", "misfit", "distance", "gap_distance", "gap",
    "coverage_2", "detail",
    "coverage_6", "coverage_14", "coverage_35", "unrest_6", "unrest_20",
    "outside_mean", "outside_spread", "inside_mean", "inside_spread",
    "separation", "contrast", "contrast_outside", "contrast_inside", "contrast_wide",
)  # fmt: skip


@dataclass(frozen=True)
class _Colours:
    """Coarse fields: straight colours in linear light, texture covariances in natural-log space (`PAIRS`)."""

    foreground: Float32
    background: Float32
    foreground_texture: Float32
    background_texture: Float32


class _Crop:
    """The plate inside the band's crop and the few images that several steps need."""

    def __init__(self, plate: Float32, band: Band) -> None:
        self.band, self.plate = band, plate
        height, width = band.mask.shape
        self.grid = Grid(height, width, max(2, round(4 * band.unit)), band.threads)
        self.stops = band.by_rows(lambda part: cv2.log(np.maximum(part, 0) + np.float32(FLOOR)), plate)
        self.observed = band.observed
        self.away = band.distance / np.float32(band.unit)
        self.beyond = band.distance > band.reach * FAR

    def scaled(self, *sigmas: float) -> Sequence[float]:
        return [sigma * self.band.unit for sigma in sigmas]


def gather_evidence(plate: Float32, band: Band) -> Evidence:
    """Evidence for every observed pixel of ``band``; ``plate`` is its crop (h, w, 3) float32 scene-linear, finite."""
    crop = _Crop(plate, band)
    inner = crop.band.by_rows(lambda away: ramp((-away - 2) / 8) * np.float32(0.02) + ramp((-away - 6) / 24), crop.away)
    foreground = crop.grid.mean(crop.plate, inner, crop.scaled(6, 16, 40, 100))
    textures = _textures(crop)
    distance, gap_distance, gap = _gaps(crop, inner, textures[0])
    weight = _background_weight(crop, distance, gap_distance, gap)
    mix, _ = _project(crop, _Colours(foreground, _background(crop, weight), *textures))
    # Once more, with colours from the pixels that turned out to be wholly on one side.
    weight = crop.band.by_rows(_wholly_background, weight, crop.beyond, mix)
    inner = crop.band.by_rows(_wholly_foreground, inner, mix)
    foreground = crop.grid.mean(crop.plate, inner, crop.scaled(6, 16, 40, 100))
    colours = _Colours(foreground, _background(crop, weight), *textures)
    mix, doubt = _project(crop, colours)
    coverage = crop.band.by_rows(lambda mix: np.clip(mix, 0, 1), mix)
    maps = {
        "away": crop.away, "mask": crop.band.calm(band.mask, 1.5), "mask_wide": crop.band.calm(band.mask, 9),
        "mix": mix, "doubt": doubt, "misfit": _misfit(crop, colours, coverage),
        "distance": distance, "gap_distance": gap_distance, "gap": gap,
        "coverage": coverage, "coverage_2": crop.band.calm(coverage, 2),
    }  # fmt: skip
    return Evidence(crop.grid, maps, _coarse_features(crop, colours, coverage))


def _wholly_background(weight: Float32, beyond: Flags, mix: Float32) -> Float32:
    return weight * np.where(beyond, np.float32(1), np.exp(-22 * np.square(np.maximum(mix, 0))))


def _wholly_foreground(weight: Float32, mix: Float32) -> Float32:
    return np.asarray(weight * (np.exp(-5.5 * np.square(np.maximum(1 - mix, 0))) + 1e-5), np.float32)


def _textures(crop: _Crop) -> tuple[Float32, Float32]:
    """Covariance of fine texture inside and outside, learned where the side is certain, known everywhere."""
    unit, far = crop.band.unit, 0.8 * crop.band.reach / crop.band.unit
    inside = crop.band.by_rows(lambda away: (away < -12) + np.float32(1e-4) * (away < -3), crop.away)
    outside = crop.band.by_rows(lambda away: (away > far) + np.float32(1e-4) * (away > 10), crop.away)
    return (
        crop.grid.covariance(crop.stops, inside, 12 * unit, crop.scaled(16, 40, 100)),
        crop.grid.covariance(crop.stops, outside, 12 * unit, crop.scaled(30, 100, 200)),
    )


def _gaps(crop: _Crop, inner: Float32, texture: Float32) -> tuple[Float32, Float32, Float32]:
    """Distance from the foreground's colours, that of the gaps around, and how far a pixel falls short of it (0..1)."""
    centre = crop.grid.mean(crop.stops, inner, crop.scaled(6, 16, 40, 100))
    field = np.ascontiguousarray(
        np.dstack([centre, crop.band.by_rows(lambda part: inverse(part, TEXTURE_FLOOR), texture)])
    )
    distance = np.zeros(crop.away.shape, np.float32)
    kernels.in_stripes(
        crop.band.threads,
        crop.grid.height,
        kernels.distance_from,
        crop.stops,
        field,
        crop.observed,
        crop.grid.step,
        distance,
    )
    band = crop.band
    steps = band.by_rows(lambda part: np.minimum(part * STEPS, 65535), band.calm(distance, 0.8), dtype=np.uint16)
    closed = band.by_rows(lambda part: part / STEPS, band.morphology(cv2.MORPH_CLOSE, steps, GAP))
    closed = band.calm(closed, GAP / 4)
    short = band.by_rows(lambda closed, own: np.clip((closed - own) / np.maximum(closed, 1), 0, 1), closed, distance)
    return distance, closed, short


def _background_weight(crop: _Crop, distance: Float32, gap_distance: Float32, gap: Float32) -> Float32:
    """How surely a pixel shows background alone: the gaps outside, hardly anything inside, all of it far away."""

    def some(away: Float32, beyond: Flags, distance: Float32, gap_distance: Float32, gap: Float32) -> Float32:
        inside = np.float32(0.02) * ramp(away / 30 + 1) * (distance > 3)
        side = np.where(away > 2, np.float32(1), inside)
        weight = np.exp(np.float32(-12.5) * np.square(gap)) * side * ramp((gap_distance - 1) / 3)
        return np.where(beyond, np.float32(1), weight)

    return crop.band.by_rows(some, crop.away, crop.beyond, distance, gap_distance, gap)


def _background(crop: _Crop, weight: Float32) -> Float32:
    weight = crop.band.by_rows(lambda weight, away: weight + np.float32(1e-6) * (away > 0), weight, crop.away)
    stops = crop.grid.mean(crop.stops, weight, crop.scaled(4, 12, 30, 80))
    return np.asarray(np.exp(stops) - np.float32(FLOOR), np.float32)


def _project(crop: _Crop, colours: _Colours) -> tuple[Float32, Float32]:
    """Unclipped coverage, and its deviation."""
    sides = colours.foreground_texture, colours.background_texture, colours.foreground, colours.background
    precision = crop.band.by_rows(_precision, *sides)
    field = np.ascontiguousarray(np.dstack([colours.foreground, colours.background, precision]), np.float32)
    mix, doubt = (np.zeros(crop.away.shape, np.float32) for _ in range(2))
    kernels.in_stripes(
        crop.band.threads, crop.grid.height, kernels.project,
        crop.plate, field, crop.observed, crop.grid.step, mix, doubt,
    )  # fmt: skip
    return mix, doubt


def _misfit(crop: _Crop, colours: _Colours, coverage: Float32) -> Float32:
    """How far the two colours mixed by ``coverage`` lie from the plate, in stops."""
    field = np.ascontiguousarray(np.dstack([colours.foreground, colours.background]), np.float32)
    misfit = np.zeros(crop.away.shape, np.float32)
    kernels.in_stripes(
        crop.band.threads, crop.grid.height, kernels.compare,
        crop.plate, field, crop.observed, crop.grid.step, np.float32(FLOOR), coverage, misfit,
    )  # fmt: skip
    return misfit


def _precision(fore_texture: Float32, back_texture: Float32, foreground: Float32, background: Float32) -> Float32:
    """Inverse covariance of what neither of the two colours explains, as `PAIRS`."""
    fore, back = foreground + np.float32(FLOOR), background + np.float32(FLOOR)
    # Texture is relative; half of each side's amplitude is what a half-covered pixel shows.
    unexplained = [
        0.25 * back_texture[..., k] * back[..., i] * back[..., j]
        + 0.075 * fore_texture[..., k] * fore[..., i] * fore[..., j]
        for k, (i, j) in enumerate(PAIRS)
    ]
    for i in range(3):
        level = np.maximum(0.5 * (foreground[..., i] + background[..., i]), 0)
        relative = RELATIVE_NOISE * np.square(fore[..., i] + back[..., i])
        unexplained[i] = unexplained[i] + READ_NOISE + PHOTON_NOISE * level + relative
    scale = np.maximum(unexplained[0] + unexplained[1] + unexplained[2], 1e-12)[..., None]
    return np.asarray(inverse(np.stack(unexplained, -1).astype(np.float32) / scale, 1e-4) / scale, np.float32)


def _coarse_features(crop: _Crop, colours: _Colours, coverage: Float32) -> Float32:
    grid, unit, away = crop.grid, crop.band.unit, crop.away
    cover, square = grid.gather(coverage), grid.gather(crop.band.by_rows(np.square, coverage))
    outer = grid.gather(crop.band.by_rows(lambda away: away > 0, away))
    outer_cover = grid.gather(crop.band.by_rows(lambda cover, away: cover * (away > 0), coverage, away))

    def outside(sigma: float) -> Float32:
        return np.asarray(
            grid.blur(outer_cover, sigma * unit) / np.maximum(grid.blur(outer, sigma * unit), 1e-2), np.float32
        )

    def unrest(sigma: float) -> Float32:
        mean = grid.blur(cover, sigma * unit)
        return np.sqrt(np.maximum(grid.blur(square, sigma * unit) - np.square(mean), 0))

    reach, depth, band = crop.band.reach, crop.band.depth, crop.band
    far = grid.gather(crop.band.by_rows(lambda distance: distance > reach, band.distance))
    far = far * (grid.gather(crop.band.by_rows(lambda seen: seen, crop.observed)) > 0.5) + np.float32(1e-6)
    deep = grid.gather(
        crop.band.by_rows(lambda distance, seen: (distance < -depth) & seen, band.distance, crop.observed)
    )
    near = outside(14)
    within = grid.gather(crop.band.by_rows(lambda away: away < 0, away))
    missed = grid.gather(crop.band.by_rows(lambda cover, away: (1 - cover) * (away < 0), coverage, away))
    own = grid.blur(missed, 14 * unit) / np.maximum(grid.blur(within, 14 * unit), 1e-2)
    inner = np.where(deep > 0, 1 - grid.blur(cover, 14 * unit), own)
    deep = deep + np.float32(1e-6) * within  # nothing of a thin object is deep: then all of it, and nothing around it
    contrasts, far_contrast, deep_contrast = _contrasts(crop, far, deep)
    false_outside = grid.coarse_mean(np.dstack([near, np.square(near)]), far, crop.scaled(60, 160, 400))
    false_inside = grid.coarse_mean(np.dstack([inner, np.square(inner)]), deep, crop.scaled(40, 100, 300))
    apart = np.log((colours.foreground + FLOOR).clip(1e-3) / (colours.background + FLOOR).clip(1e-3))
    return np.ascontiguousarray(np.dstack([
        grid.blur(cover, 6 * unit), near, outside(35), unrest(6), unrest(20),
        false_outside[..., 0], np.sqrt(np.maximum(false_outside[..., 1] - np.square(false_outside[..., 0]), 0)),
        false_inside[..., 0], np.sqrt(np.maximum(false_inside[..., 1] - np.square(false_inside[..., 0]), 0)),
        np.abs(apart).max(axis=-1), contrasts[0], far_contrast, deep_contrast, contrasts[1],
    ]), np.float32)  # fmt: skip


def _contrasts(crop: _Crop, far: Float32, deep: Float32) -> tuple[tuple[Float32, Float32], Float32, Float32]:
    """Log of local contrast at two scales here, far outside and deep inside: blur and coverage both take it away."""
    grey = crop.stops[..., 1]
    level, square = (crop.grid.gather(crop.band.by_rows(part, grey)) for part in (np.positive, np.square))

    def contrast(sigma: float) -> Float32:
        mean = crop.grid.blur(level, sigma * crop.band.unit)
        spread = np.maximum(crop.grid.blur(square, sigma * crop.band.unit) - np.square(mean), 0)
        return np.asarray(0.5 * np.log(spread + np.float32(1e-4)), np.float32)

    here = contrast(5)
    certain = crop.grid.coarse_mean(here[..., None], far, crop.scaled(60, 160, 400))
    solid = crop.grid.coarse_mean(here[..., None], deep, crop.scaled(40, 100, 300))
    return (here, contrast(16)), certain[..., 0], solid[..., 0]
