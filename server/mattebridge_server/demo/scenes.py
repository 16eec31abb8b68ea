"""Eight shots with exact truth: plates mixed in linear light from a known foreground, alpha and background.

Each is deterministic in its recipe, size and seed, and any frame can be made alone. What a compositor knows to be hard
is here: dark hair before a bright sky, blond hair before a dark wood, hair before lights of 8 to 40, hair before
clutter of its own colours, motion blur, defocus, fuzz of nearly the background's colour, and soft roto. The coarse
masks are wrong in the ways masks are: eroded, dilated, shifted, polygonal, low resolution, soft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.demo.backdrop import BACKDROPS
from mattebridge_server.demo.figure import HEAD, Figure, Layer, Look

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

REFERENCE_HEIGHT = 1080
FRAME_RATE = 24.0
POLYGON_TOLERANCE = 0.005


@dataclass(frozen=True)
class Frame:
    """One frame of a shot, all on the same grid; colours are scene-linear ACEScg (H, W, 3) float32, unclipped.

    ``plate`` = ``foreground`` x ``alpha`` + ``background`` x (1 - ``alpha``) + grain. ``alpha`` and ``mask`` are
    (H, W) float32 coverage in 0..1; ``foreground`` is straight and defined everywhere.
    """

    plate: Float32
    alpha: Float32
    foreground: Float32
    background: Float32
    mask: Float32


@dataclass(frozen=True)
class Recipe:
    """What is in a shot. Pixel sizes are for a height of 1080 and follow the frame's height."""

    look: Look
    backdrop: str
    mask: str
    exposure: float = 1.0
    move: tuple[float, float] = (1.3, 0.4)
    pan: tuple[float, float] = (-0.7, 0.0)
    streak: tuple[float, float] = (0.0, 0.0)
    defocus: float = 0.0
    grain: float = 0.012


@dataclass(frozen=True)
class Shot:
    """A recipe at one size. `frame` may be called in any order; equal arguments give equal bits."""

    recipe: Recipe
    width: int
    height: int
    seed: int = 1
    _built: dict[str, Figure | Float32] = field(default_factory=dict, repr=False, compare=False)

    def frame(self, index: int) -> Frame:
        """Frame ``index`` (0, 1, 2 ...)."""
        recipe, unit = self.recipe, self.height / REFERENCE_HEIGHT
        moved = (
            HEAD[0] + recipe.move[0] * unit * index / self.width,
            HEAD[1] + recipe.move[1] * unit * index / self.height,
        )
        layer, solid = self._figure().draw(moved, index / FRAME_RATE)
        kernel = _lens(recipe.streak, recipe.defocus, unit)
        if kernel is not None:
            layer, solid = _through(layer, solid, kernel)
        background = self._background(index, unit)
        alpha = np.clip(layer.alpha, 0, 1)
        cover = alpha[..., None]
        clean = layer.colour * cover + background * (1 - cover)
        mask = MASKS[recipe.mask](np.asarray(solid, np.float32), unit)
        return Frame(self._grain(clean, index), alpha, layer.colour, background, mask)

    def frames(self, count: int) -> Iterator[Frame]:
        """The first ``count`` frames."""
        return (self.frame(index) for index in range(count))

    def _figure(self) -> Figure:
        if "figure" not in self._built:
            rng = np.random.default_rng([self.seed, 1])
            self._built["figure"] = Figure(self.recipe.look, self.width, self.height, rng)
        figure = self._built["figure"]
        assert isinstance(figure, Figure)
        return figure

    def _background(self, index: int, unit: float) -> Float32:
        if "backdrop" not in self._built:
            rng = np.random.default_rng([self.seed, 2])
            wide = BACKDROPS[self.recipe.backdrop](rng, self.width, self.height)
            self._built["backdrop"] = np.asarray(wide * np.float32(self.recipe.exposure), np.float32)
        still = self._built["backdrop"]
        assert isinstance(still, np.ndarray)
        pan_x, pan_y = (step * unit * index for step in self.recipe.pan)
        shift = np.array([[1, 0, pan_x], [0, 1, pan_y]], np.float32)
        size = (self.width, self.height)
        moved = cv2.warpAffine(still, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(moved, np.float32)

    def _grain(self, clean: Float32, index: int) -> Float32:
        """Photon and read noise, a little softened as by debayering; new on every frame."""
        rng = np.random.default_rng([self.seed, 3, index])
        noise = cv2.GaussianBlur(rng.standard_normal(clean.shape, np.float32), (3, 3), 0.55)
        level = self.recipe.grain
        sigma = np.sqrt(np.float32(level * level) * np.maximum(clean, 0) + np.float32((0.12 * level) ** 2))
        return np.asarray(clean + noise * sigma * np.float32(1.6), np.float32)


def _lens(streak: tuple[float, float], defocus: float, unit: float) -> Float32 | None:
    """The point spread of motion (a line of ``streak`` pixels) or of the lens (a disc), summing to 1; None if sharp."""
    over = 8
    reach = max(abs(streak[0]), abs(streak[1])) / 2 + defocus
    radius = int(np.ceil(reach * unit)) + 1
    if reach * unit < 0.5:
        return None
    size = 2 * radius + 1
    fine = np.zeros((size * over, size * over), np.uint8)
    middle = size * over / 2 - 0.5
    if defocus:
        cv2.circle(fine, (round(middle), round(middle)), round(defocus * unit * over), 255, -1)
    else:
        half = np.array(streak) * unit * over / 2
        start, end = (tuple(np.round(middle + sign * half).astype(int).tolist()) for sign in (-1, 1))
        cv2.line(fine, start, end, 255, over)
    kernel = cv2.resize(fine.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _through(layer: Layer, solid: Float32, kernel: Float32) -> tuple[Layer, Float32]:
    """Layer and silhouette as the kernel integrates them: premultiplied colour and coverage are averaged."""
    margin = kernel.shape[0]
    covered = np.flatnonzero(layer.alpha.max(0) > 0)
    left, right = max(0, int(covered[0]) - margin), int(covered[-1]) + margin
    sharp = np.dstack([layer.colour * layer.alpha[..., None], layer.alpha])[:, left:right]
    parts = [
        cv2.filter2D(np.ascontiguousarray(sharp[..., i]), -1, kernel, borderType=cv2.BORDER_REPLICATE) for i in range(4)
    ]
    blurred = np.zeros(layer.alpha.shape, np.float32)
    blurred[:, left:right] = parts[3]
    cover = np.where(blurred < 1e-5, 0, np.where(blurred > 1 - 1e-5, 1, blurred)).astype(np.float32)
    colour = layer.colour.copy()
    seen = cover[:, left:right, None] > 1e-3
    straight = np.dstack(parts[:3]) / np.maximum(cover[:, left:right], 1e-3)[..., None]
    colour[:, left:right] = np.where(seen, np.maximum(straight, 0), colour[:, left:right])
    return Layer(colour, cover), np.asarray(
        cv2.filter2D(solid, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32
    )


def _traced(solid: Float32, unit: float) -> NDArray[np.uint8]:
    """The outline a person would trace: half covered counts, loose hair does not."""
    soft = cv2.GaussianBlur(solid, (0, 0), max(2.0 * unit, 0.5))
    return np.asarray(soft > 0.5, np.uint8)


def _grown(mask: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    away = cv2.distanceTransform(mask if pixels < 0 else 1 - mask, cv2.DIST_L2, 5)
    return np.asarray(away > -pixels if pixels < 0 else away <= pixels, np.uint8)


def _hard(mask: NDArray[np.uint8]) -> Float32:
    return mask.astype(np.float32)


def _shifted(mask: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    shift = np.array([[1, 0, round(pixels)], [0, 1, -round(pixels)]], np.float32)
    size = (mask.shape[1], mask.shape[0])
    moved = cv2.warpAffine(mask, shift, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _polygon(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros_like(mask)
    for contour in contours:
        corners = cv2.approxPolyDP(contour, POLYGON_TOLERANCE * cv2.arcLength(contour, True), True)
        cv2.fillPoly(drawn, [corners], 1)
    return drawn


def _coarse(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (mask.shape[1], mask.shape[0])
    small = cv2.resize(mask.astype(np.float32), (size[0] // 8, size[1] // 8), interpolation=cv2.INTER_AREA)
    back = cv2.resize((small > 0.5).astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return back.astype(np.uint8)


def _feathered(solid: Float32, unit: float) -> Float32:
    """Soft roto: a polygon with a feather of some 20 pixels, over whatever motion blur the shape already has."""
    shape = _grown(_polygon(_traced(solid, unit)), 5 * unit).astype(np.float32)
    soft = cv2.GaussianBlur(shape, (0, 0), 8 * unit)
    return np.asarray(np.clip((soft - 0.02) / 0.96, 0, 1), np.float32)


MASKS: Mapping[str, Callable[[Float32, float], Float32]] = {
    "exact": lambda solid, unit: _hard(_traced(solid, unit)),
    "eroded": lambda solid, unit: _hard(_grown(_traced(solid, unit), -7 * unit)),
    "dilated": lambda solid, unit: _hard(_grown(_traced(solid, unit), 8 * unit)),
    "shifted": lambda solid, unit: _hard(_shifted(_traced(solid, unit), max(1.0, 4 * unit))),
    "polygonal": lambda solid, unit: _hard(_polygon(_traced(solid, unit))),
    "coarse": lambda solid, unit: _hard(_coarse(_traced(solid, unit))),
    "soft": _feathered,
}

_DARK, _BROWN, _BLOND = (0.03, 0.018, 0.012), (0.16, 0.085, 0.045), (0.95, 0.66, 0.36)

SHOTS: Mapping[str, Recipe] = {
    "dark_hair_bright": Recipe(Look(hair=_DARK, reach=0.09), "sky", "eroded"),
    "bright_hair_dark": Recipe(
        Look(hair=_BLOND, cloth=(0.3, 0.05, 0.06), rim=1.6, reach=0.1), "undergrowth", "shifted"),
    "hair_highlights": Recipe(Look(hair=_BROWN, cloth=(0.05, 0.05, 0.06), reach=0.09), "street", "polygonal"),
    "clutter": Recipe(Look(hair=_BROWN, cloth=(0.12, 0.14, 0.1), strands=900, reach=0.06), "clutter", "shifted"),
    "motion_blur": Recipe(
        Look(hair=_DARK, long=False, strands=500, reach=0.03, cloth=(0.5, 0.42, 0.3)),
        "garden", "dilated", move=(24.0, 1.0), streak=(30.0, 6.0)),
    "defocus": Recipe(
        Look(hair=_BROWN, long=False, strands=900, reach=0.04, cloth=(0.25, 0.1, 0.08)),
        "plaza", "eroded", defocus=9.0),
    "fuzz": Recipe(
        Look(hair=(0.3, 0.24, 0.18), cloth=(0.3, 0.22, 0.16), long=False, strands=0, fuzz=9000, reach=0.016),
        "wool", "coarse"),
    "soft_roto": Recipe(
        Look(hair=(0.2, 0.09, 0.05), strands=1000, reach=0.07, cloth=(0.06, 0.1, 0.18)), "garden", "soft",
        move=(6.0, 1.0), streak=(5.0, 1.0)),
}  # fmt: skip
"""The eight shots of the benchmark, by name."""


def make_shot(name: str, width: int = 1920, height: int = 1080, seed: int = 1) -> Shot:
    """One of `SHOTS` at a size; raises KeyError for an unknown name."""
    return Shot(SHOTS[name], width, height, seed)
