"""A person seen from behind, head and shoulders: body once per shot, hair drawn anew on every frame.

Everything is laid out in units of the frame's height with the head's centre as origin (x right, y down), so that the
same person appears at any size. Coverage is exact up to the sampling: shapes are drawn at two to four times the
size with antialiasing and averaged down, so an edge or a hair has the alpha that a camera would have integrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mattebridge_server.demo.backdrop import acescg, clouds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

HEAD = (0.5, 0.36)
LEAST_SAMPLES, MOST_SAMPLES, SAMPLED_HEIGHT = 2, 4, 2160
SUBPIXEL_BITS = 4
STRAND_POINTS = 14
SHADES = 10
PASSES = 4

_SHOULDERS = [(-0.075, 0.19), (-0.09, 0.25), (-0.2, 0.31), (-0.33, 0.37), (-0.4, 0.48), (-0.44, 0.7), (-0.46, 1.1),
              (0.46, 1.1), (0.44, 0.7), (0.4, 0.48), (0.33, 0.37), (0.2, 0.31), (0.09, 0.25),
              (0.075, 0.19)]  # fmt: skip
_NECK = [(-0.075, 0.05), (-0.07, 0.16), (-0.085, 0.27), (0.0, 0.33), (0.085, 0.27), (0.07, 0.16), (0.075, 0.05)]
_LONG = [(0.01, -0.2), (0.1, -0.185), (0.165, -0.12), (0.185, -0.02), (0.18, 0.08), (0.2, 0.16), (0.205, 0.26),
         (0.185, 0.36), (0.14, 0.42), (0.06, 0.39), (-0.02, 0.44), (-0.11, 0.41), (-0.19, 0.38), (-0.215, 0.28),
         (-0.2, 0.18), (-0.185, 0.08), (-0.182, -0.02), (-0.155, -0.12), (-0.09, -0.185)]  # fmt: skip
_SHORT = [(0.0, -0.195), (0.09, -0.18), (0.145, -0.11), (0.155, -0.01), (0.135, 0.09), (0.085, 0.16), (0.0, 0.175),
          (-0.085, 0.16), (-0.135, 0.09), (-0.155, -0.01), (-0.145, -0.11), (-0.09, -0.18)]  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One person: colours are linear Rec.709 albedo, lengths are fractions of the frame's height."""

    hair: tuple[float, float, float] = (0.05, 0.03, 0.02)
    cloth: tuple[float, float, float] = (0.08, 0.12, 0.2)
    skin: tuple[float, float, float] = (0.55, 0.34, 0.25)
    long: bool = True
    strands: int = 1500
    reach: float = 0.1
    thickness: int = 1
    fuzz: int = 0
    rim: float = 1.0


@dataclass(frozen=True)
class Layer:
    """Straight colour (H, W, 3) float32 scene-linear ACEScg, defined everywhere, and coverage (H, W) float32."""

    colour: Float32
    alpha: Float32


class Figure:
    """The person at one frame size. `draw` gives a layer for a position and an instant; equal calls, equal bits."""

    def __init__(self, look: Look, width: int, height: int, rng: np.random.Generator) -> None:
        self._look, self._width, self._height = look, width, height
        # Small frames take more samples, so that a hair keeps its share of the head's size.
        self._samples = min(max(round(SAMPLED_HEIGHT / height), LEAST_SAMPLES), MOST_SAMPLES)
        self._outline = _smooth(_LONG if look.long else _SHORT)
        self._strands = _Strands(look, self._outline, rng)
        self._body = self._render_body(rng)
        self._sheen = clouds(rng, width, height, 5, 4)

    def draw(self, centre: tuple[float, float], instant: float) -> tuple[Layer, Float32]:
        """The person with the head at ``centre`` (fractions of width and height) at ``instant`` seconds.

        Returns the layer and the solid silhouette without loose hair, (H, W) float32, as a roto artist would trace it.
        """
        at_x, at_y = centre[0] * self._width, centre[1] * self._height
        rest_x, rest_y = self._rest()
        shift = np.array([[1, 0, at_x - rest_x], [0, 1, at_y - rest_y]], np.float32)
        body = cv2.warpAffine(self._body, shift, (self._width, self._height), flags=cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        strands = self._draw_hair((at_x, at_y), instant)
        hair_alpha, tone = strands[..., 0], strands[..., 1]
        hair = acescg(self._look.hair) * self._hair_light(at_x, at_y)[..., None]
        straight_tone = tone / np.maximum(hair_alpha, 1e-3)
        # Beyond the drawn hair the colour still has to be defined: it is what an unpremultiply would need there.
        hair = hair * np.where(hair_alpha > 0.02, straight_tone, 0.5)[..., None]
        body_alpha = body[..., 3]
        alpha = hair_alpha + body_alpha * (1 - hair_alpha)
        share = np.where(alpha > 1e-4, hair_alpha / np.maximum(alpha, 1e-4), (body_alpha <= 0).astype(np.float32))
        colour = body[..., :3] + (hair - body[..., :3]) * share[..., None]
        solid = np.maximum(body_alpha, self._fill([(self._outline, 255)], (at_x, at_y)))
        return Layer(np.asarray(colour, np.float32), np.asarray(alpha, np.float32)), np.asarray(solid, np.float32)

    def _fill(self, shapes: list[tuple[Float32, int]], origin: tuple[float, float]) -> Float32:
        canvas = np.zeros((self._height * self._samples, self._width * self._samples), np.uint8)
        for outline, value in shapes:
            cv2.fillPoly(canvas, [self._to_pixels(outline, origin)], value, cv2.LINE_AA, SUBPIXEL_BITS)
        return self._average(canvas)

    def _average(self, canvas: NDArray[np.uint8]) -> Float32:
        small = cv2.resize(canvas.astype(np.float32), (self._width, self._height), interpolation=cv2.INTER_AREA)
        return np.asarray(small / np.float32(255), np.float32)

    def _to_pixels(self, points: Float32, origin: tuple[float, float]) -> NDArray[np.int32]:
        scale = self._samples * 2**SUBPIXEL_BITS
        return np.asarray(np.round((points * self._height + np.asarray(origin, np.float32)) * scale), np.int32)

    def _rest(self) -> tuple[float, float]:
        """Where the head is, in pixels, in the picture of the body that `draw` moves about."""
        return HEAD[0] * self._width, HEAD[1] * self._height

    def _render_body(self, rng: np.random.Generator) -> Float32:
        """Shaded straight colour and coverage with the head at `HEAD`: (H, W, 4)."""
        look, origin = self._look, self._rest()
        ears = [_ellipse(side * 0.152, 0.03, 0.03, 0.05) for side in (-1, 1)] if not look.long else []
        skin = self._fill([(_smooth(_NECK), 255), (_ellipse(0, 0, 0.14, 0.18), 255)] + [(e, 255) for e in ears], origin)
        cloth = self._fill([(_smooth(_SHOULDERS), 255)], origin)
        shade_skin = _inflate(skin, 0.07 * self._height)
        shade_cloth = _inflate(cloth, 0.16 * self._height)
        folds = 0.16 * clouds(rng, self._width, self._height, 3, 5) + 0.05 * clouds(
            rng, self._width, self._height, 8, 24
        )
        rows = np.arange(self._height, dtype=np.float32)[:, None]
        columns = np.arange(self._width, dtype=np.float32)[None, :]
        knit = 0.1 * np.sin(rows * (2 * np.pi / (0.009 * self._height)) + 1.2 * np.sin(columns * (540 / self._height)))
        skin_colour = acescg(look.skin) * shade_skin[..., None] * np.exp(0.03 * folds)[..., None]
        cloth_colour = acescg(look.cloth) * (shade_cloth * np.exp(folds + knit))[..., None]
        hair = cv2.GaussianBlur(self._fill([(self._outline, 255)], origin), (0, 0), 0.02 * self._height)
        under_hair = np.clip(1.25 - hair, 0.25, 1)[..., None]
        collar = origin[1] + 0.235 * self._height + 2.0 * (columns - origin[0]) ** 2 / self._height
        skin_over = (skin * np.clip((collar - rows) / 2, 0, 1))[..., None]
        colour = (cloth_colour + (skin_colour - cloth_colour) * skin_over) * under_hair
        return np.dstack([colour, np.maximum(skin, cloth)]).astype(np.float32)

    def _hair_light(self, at_x: float, at_y: float) -> Float32:
        """A band of sheen over the crown and a rim that the backlight leaves on loose hair: (H, W)."""
        x = (np.arange(self._width, dtype=np.float32)[None, :] - at_x) / self._height
        y = (np.arange(self._height, dtype=np.float32)[:, None] - at_y) / self._height
        band = np.exp(-(((y + 0.08 + 0.8 * x * x) / 0.05) ** 2)) * np.exp(-((x / 0.12) ** 2))
        far = np.clip((np.hypot(x, y * 0.6) - 0.13) / 0.12, 0, 1)
        side = 0.8 + 1.2 * np.clip(-x / 0.3 - y / 0.5 + 0.3, 0, 1)
        return np.asarray(side * (0.7 + 1.5 * band + self._look.rim * far) * np.exp(0.12 * self._sheen), np.float32)

    def _draw_hair(self, origin: tuple[float, float], instant: float) -> Float32:
        """Coverage and coverage-weighted tone of all strands: (H, W, 2). Painting over is the `over` operation."""
        canvas = np.zeros((self._height * self._samples, self._width * self._samples, 3), np.uint8)
        mass = self._to_pixels(self._outline, origin)
        cv2.fillPoly(canvas, [mass], (255, 60, 0), cv2.LINE_AA, SUBPIXEL_BITS)
        pixels = self._to_pixels(self._strands.paths(instant).reshape(-1, 2), origin).reshape(-1, STRAND_POINTS, 2)
        size = max(1, round(self._look.thickness * self._height / 1080))
        groups = np.array_split(np.arange(len(pixels)), PASSES * SHADES)
        for group, shade in zip(groups, self._strands.shades, strict=True):
            cv2.polylines(canvas, list(pixels[group]), False, (255, int(shade), 0), size, cv2.LINE_AA, SUBPIXEL_BITS)
        small = cv2.resize(
            canvas.astype(np.float32)[..., :2], (self._width, self._height), interpolation=cv2.INTER_AREA
        )
        return np.asarray(small / np.float32(255), np.float32)


class _Strands:
    """Curves rooted on the hair's outline: inner ones give the mass its texture, outer ones fly away from it."""

    def __init__(self, look: Look, outline: Float32, rng: np.random.Generator) -> None:
        loose = look.strands
        roots = [self._on_outline(outline, rng, loose, -0.02), self._inside(outline, rng, 2 * loose)]
        lengths = [look.reach * rng.gamma(1.6, 0.62, loose), rng.uniform(0.04, 0.16, 2 * loose)]
        if look.fuzz:
            edge = np.vstack([outline, _smooth(_SHOULDERS)])
            roots += [self._on_outline(edge, rng, look.fuzz, -0.003), self._inside(outline, rng, look.fuzz)]
            lengths += [rng.uniform(0.3, 1.0, look.fuzz) * look.reach] * 2
        root, outward = (np.vstack(part) for part in zip(*roots, strict=True))
        order = rng.permutation(len(root))
        self._root, self._out = root[order].astype(np.float32), outward[order].astype(np.float32)
        self._length = np.concatenate(lengths)[order].astype(np.float32)[:, None]
        self._phase = rng.uniform(0, 2 * np.pi, (len(root), 1)).astype(np.float32)
        self._curl = (rng.normal(0, 0.10, (len(root), 1)) * self._length).astype(np.float32)
        self._waves = rng.uniform(2, 8, (len(root), 1)).astype(np.float32)
        self._fall = (np.full((len(root), 1), 0.9 if look.long else 0.25) * rng.uniform(0.1, 1, (len(root), 1))).astype(
            np.float32
        )
        self._sway = (0.10 * self._length * rng.normal(0, 1, (len(root), 1))).astype(np.float32)
        self.shades = rng.permutation(np.tile(np.linspace(35, 235, SHADES), PASSES)).astype(int)

    @staticmethod
    def _on_outline(outline: Float32, rng: np.random.Generator, count: int, inset: float) -> tuple[Float32, Float32]:
        nearest = rng.integers(0, len(outline), count)
        tangent = np.roll(outline, -2, axis=0)[nearest] - np.roll(outline, 2, axis=0)[nearest]
        normal = (
            np.stack([tangent[:, 1], -tangent[:, 0]], 1) / np.maximum(np.linalg.norm(tangent, axis=1), 1e-6)[:, None]
        )
        # Gravity combs hair down the sides; at the crown it stands off a little.
        combed = 0.9 * np.clip(outline[nearest, 1:] * 4 + 0.75, 0, 1) * np.array([[0.0, 1.0]])
        outward = 0.62 * normal + combed + rng.normal(0, 0.3, (count, 2))
        root = outline[nearest] + normal * (inset + rng.normal(0, 0.004, (count, 1)))
        return root.astype(np.float32), (outward / np.linalg.norm(outward, axis=1, keepdims=True)).astype(np.float32)

    @staticmethod
    def _inside(outline: Float32, rng: np.random.Generator, count: int) -> tuple[Float32, Float32]:
        """Roots spread over the mass, combed from the crown downwards."""
        rim = outline[rng.integers(0, len(outline), count)]
        crown = np.array([0.0, -0.12])
        root = crown + (rim - crown) * np.sqrt(rng.random((count, 1))) * 0.86
        away = root - crown
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-3)
        down = np.clip((root[:, 1:] + 0.15) * 3, 0.2, 1)
        comb = away * (1 - down) + np.stack([0.25 * away[:, 0], np.ones(count)], 1) * down
        return root.astype(np.float32), (comb / np.linalg.norm(comb, axis=1, keepdims=True)).astype(np.float32)

    def paths(self, instant: float) -> Float32:
        """Points of all strands at ``instant`` seconds: (N, STRAND_POINTS, 2)."""
        t = np.linspace(0, 1, STRAND_POINTS, dtype=np.float32)[None, :]
        across = np.stack([-self._out[:, 1], self._out[:, 0]], 1)
        swing = self._curl * t * np.sin(self._waves * t + self._phase)
        swing = swing + self._sway * t * t * np.sin(np.float32(2.2 * instant) + self._phase)
        along = self._length * t
        drop = self._fall * self._length * t * t
        x = self._root[:, :1] + self._out[:, :1] * along + across[:, :1] * swing
        y = self._root[:, 1:] + self._out[:, 1:] * along + across[:, 1:] * swing + drop
        return np.stack([x, y], -1).astype(np.float32)


def _smooth(points: list[tuple[float, float]]) -> Float32:
    """Chaikin's corner cutting of a closed outline, then even spacing: (240, 2), clockwise on screen."""
    outline = np.asarray(points, np.float64)
    for _ in range(4):
        after = np.roll(outline, -1, axis=0)
        outline = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], 1).reshape(-1, 2)
    closed = np.vstack([outline, outline[:1]])
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    even = np.linspace(0, travelled[-1], 240, endpoint=False)
    x, y = (np.interp(even, travelled, closed[:, axis]) for axis in (0, 1))
    if float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) < 0:
        x, y = x[::-1], y[::-1]
    return np.stack([x, y], 1).astype(np.float32)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Float32:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1).astype(np.float32)


def _inflate(cover: Float32, roundness: float) -> Float32:
    """Light on a shape blown up like a cushion of ``roundness`` pixels: key from the upper left, some from behind."""
    inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rise = np.sqrt(np.clip(1 - (1 - np.minimum(inside / roundness, 1)) ** 2, 0, 1)) * roundness
    rise = cv2.GaussianBlur(rise, (0, 0), roundness / 6)
    dx, dy = cv2.Sobel(rise, cv2.CV_32F, 1, 0, ksize=3) / 8, cv2.Sobel(rise, cv2.CV_32F, 0, 1, ksize=3) / 8
    facing = (0.55 * dx + 0.6 * dy + 0.58) / np.sqrt(1 + dx * dx + dy * dy)
    return np.asarray(
        0.22 + 0.9 * np.clip(facing, 0, None) + 0.25 * np.clip(1 - 5 * inside / roundness, 0, 1), np.float32
    )
