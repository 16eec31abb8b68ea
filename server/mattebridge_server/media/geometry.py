"""Windows of an image, and how a mask's pixels lie on a plate's.

Coordinates are those of OpenEXR with y down: a window is a rectangle of whole pixels, and the pixel ``(x, y)`` covers
``x..x+1`` by ``y..y+1``, so its centre is at ``.5``. The *display window* is the picture area; the *data window* is
where pixels are stored, smaller (cropped) or larger (overscan) than the display window.

A mask is laid over a plate display window to display window: the point at a fraction ``f`` of the one is at the
fraction ``f`` of the other, at any resolution of either. Pixel centres never move by half a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import InputError, UsageError

Float32 = NDArray[np.float32]

WARN_MISMATCH = 0.001
REFUSE_MISMATCH = 0.02


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels: ``width`` by ``height`` with its top left pixel at (``x``, ``y``)."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column to the right of the window."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.y + self.height

    def holds(self, other: Window) -> bool:
        """Whether every pixel of ``other`` is one of this window."""
        across = self.x <= other.x and other.right <= self.right
        return across and self.y <= other.y and other.bottom <= self.bottom

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.x},{self.y}"


@dataclass(frozen=True)
class Span:
    """How one axis of an image is resampled, in pixels of the source array (``0..size``).

    Output pixel ``j`` has its centre at ``start + (j + .5) * step`` in the source. A *held* edge repeats the source's
    last pixel, since the picture ends there; past an edge that is not held the source is 0.
    """

    start: float
    step: float
    size: int
    held_low: bool
    held_high: bool


@dataclass(frozen=True)
class MaskMapping:
    """Where each pixel of a plate's data window lies in a mask's stored pixels.

    ``known_x`` and ``known_y`` are False for columns and rows that the mask says nothing about: beyond its display
    window and beyond its pixels. ``warning`` is for the job's log and empty where there is nothing to say.
    """

    x: Span
    y: Span
    known_x: NDArray[np.bool_]
    known_y: NDArray[np.bool_]
    warning: str


def place(pixels: Float32, stored: Window, wanted: Window) -> Float32:
    """``pixels`` of the window ``stored`` on the grid of ``wanted``: cropped where it is smaller, 0 where it is larger.

    (H, W) or (H, W, C) in and out; the array itself where the two windows are equal.
    """
    if stored == wanted:
        return pixels
    out = np.zeros((wanted.height, wanted.width, *pixels.shape[2:]), pixels.dtype)
    x0, x1 = max(stored.x, wanted.x), min(stored.right, wanted.right)
    y0, y1 = max(stored.y, wanted.y), min(stored.bottom, wanted.bottom)
    if x0 < x1 and y0 < y1:
        source = pixels[y0 - stored.y : y1 - stored.y, x0 - stored.x : x1 - stored.x]
        out[y0 - wanted.y : y1 - wanted.y, x0 - wanted.x : x1 - wanted.x] = source
    return out


@dataclass(frozen=True)
class Raster:
    """What mapping needs to know of an image: its windows and the width of a pixel relative to its height."""

    data_window: Window
    display_window: Window
    pixel_aspect: float = 1.0

    def aspects(self) -> tuple[float, float]:
        """Width by height of the display window in pixels, and as it is shown."""
        stored = self.display_window.width / self.display_window.height
        return stored, stored * self.pixel_aspect


def map_mask(mask: Raster, plate: Raster, fit: str = "", *, file: str = "", frame: int | None = None) -> MaskMapping:
    """Lay ``mask`` over ``plate``.

    Aspects that differ by .1 to 2 % are stretched with a warning. Beyond that `InputError`, unless ``fit`` says what
    to do: "stretch" fills the plate, "crop" keeps the mask's proportions, fills the plate and loses what stands over.
    A mask may be stored squeezed like an anamorphic plate or desqueezed: the closer reading counts. ``file`` and
    ``frame`` are for the error.
    """
    if fit not in ("", "stretch", "crop"):
        raise UsageError(f"unknown mask fit {fit!r}", remedy="Use stretch or crop.")
    ratio = _aspect_ratio(mask, plate)
    mismatch = max(ratio, 1 / ratio) - 1
    sizes = (
        f"the mask is {_size(mask)} ({mask.aspects()[0]:.3f}) and the plate {_size(plate)} ({plate.aspects()[0]:.3f})"
    )
    if mismatch > REFUSE_MISMATCH and not fit:
        raise InputError(
            f"{sizes}: their proportions differ by {mismatch:.1%}",
            remedy="Render the mask with the plate's format, or pass --mask-fit stretch or --mask-fit crop.",
            file=file,
            frame=frame,
        )
    warning = ""
    if mismatch > WARN_MISMATCH:
        warning = f"{sizes}: {'cropped' if fit == 'crop' else 'stretched'} by {mismatch:.1%}"
    # The part of the mask's display window that fills the plate's: all of it, or with "crop" its middle.
    keep_x, keep_y = (min(1.0, 1 / ratio), min(1.0, ratio)) if fit == "crop" else (1.0, 1.0)
    md, pd = mask.display_window, plate.display_window
    ms, ps = mask.data_window, plate.data_window
    x, known_x = _span((md.x, md.width), (ms.x, ms.width), (pd.x, pd.width), (ps.x, ps.width), keep_x)
    y, known_y = _span((md.y, md.height), (ms.y, ms.height), (pd.y, pd.height), (ps.y, ps.height), keep_y)
    return MaskMapping(x, y, known_x, known_y, warning)


def _span(
    mask_display: tuple[int, int],
    mask_data: tuple[int, int],
    plate_display: tuple[int, int],
    plate_data: tuple[int, int],
    keep: float,
) -> tuple[Span, NDArray[np.bool_]]:
    """One axis; every window is (first pixel, size). Coordinates are exact for equal sizes: no rounding creeps in."""
    step = mask_display[1] * keep / plate_display[1]
    shown_from = mask_display[0] + mask_display[1] * (1 - keep) / 2
    start = shown_from - mask_data[0] + (plate_data[0] - plate_display[0]) * step
    size = mask_data[1]
    low, high = mask_display[0] - mask_data[0], mask_display[0] + mask_display[1] - mask_data[0]
    centres = start + (np.arange(plate_data[1]) + 0.5) * step
    known = (centres > min(0, low)) & (centres < max(size, high))
    return Span(start, step, size, held_low=low >= 0, held_high=high <= size), known


def _aspect_ratio(mask: Raster, plate: Raster) -> float:
    """How much wider the mask is than the plate: 1 where they agree as stored or as shown."""
    ratios = [m / p for m, p in zip(mask.aspects(), plate.aspects(), strict=True)]
    return min(ratios, key=lambda ratio: max(ratio, 1 / ratio))


def _size(raster: Raster) -> str:
    return f"{raster.display_window.width}x{raster.display_window.height}"
