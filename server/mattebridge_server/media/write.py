"""Results on disk: alpha, and colour that goes with it, as EXR.

Alpha is data: half, ``A`` or named layers, ZIPS, tagged ``data``, with the plate's windows, pixel aspect, timecode and
rate, and never its chromaticities or its ACES container flag. Colour (a straight foreground, clean plate, composite) is
RGB without alpha and keeps what the plate says about its colour. Every file is written by `commit`: whole or not at
all. The same values give the same bytes, since no time of writing is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import OpenImageIO as oiio
from numpy.typing import NDArray

from mattebridge.errors import UsageError
from mattebridge_server.media.commit import commit, output_failed
from mattebridge_server.media.exr_check import is_complete
from mattebridge_server.media.half import HALF_MAX, Float16, to_half
from mattebridge_server.media.header import OWN_PREFIX, FrameHeader
from mattebridge_server.media.image_file import pending_complaint
from mattebridge_server.media.library import prepare_library

Float32 = NDArray[np.float32]
Attributes = Mapping[str, str | int | float]

_LAYER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN_ALPHA = ("", "A")


@dataclass(frozen=True)
class Written:
    """One file on disk. ``clamped`` counts values that were not finite or did not fit the range of the file."""

    path: str
    frame: int
    clamped: int = 0


def write_alpha(
    path: str,
    alpha: Float32 | Mapping[str, Float32],
    *,
    like: FrameHeader,
    frame: int,
    attributes: Attributes | None = None,
    compression: str = "zips",
) -> Written:
    """Write ``alpha``, (H, W) float32 over the data window of ``like``, or one alpha for each named object.

    A layer ``hero`` becomes the channel ``matte_hero.A``, the layer "" or "A" the channel ``A``. Values are clamped to
    0..1, NaN becomes 0. ``attributes`` are stored as text under ``mattebridge:``. Raises `OutputFailed`, and
    `UsageError` for a layer name that hosts would not accept.
    """
    layers = {"": alpha} if isinstance(alpha, np.ndarray) else alpha
    names = [_alpha_channel(layer) for layer in layers]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"layers have to have different names: {', '.join(names) or 'none given'}")
    half, clamped = to_half(_stacked([layers[layer] for layer in layers], like), 0.0, 1.0)
    spec = _spec(like, names, attributes or {}, compression)
    spec.attribute("colorInteropID", "data")
    _write(path, frame, spec, half)
    return Written(path, frame, clamped)


def write_rgb(
    path: str,
    rgb: Float32,
    *,
    like: FrameHeader,
    frame: int,
    attributes: Attributes | None = None,
    compression: str = "zip",
) -> Written:
    """Write ``rgb``, (H, W, 3) float32 over the data window of ``like``, in the colour space of that plate.

    Values beyond half's range are clamped to +-65504 and counted, NaN becomes 0. Raises `OutputFailed`.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"colour is (H, W, 3), not {rgb.shape}")
    half, clamped = to_half(_stacked([rgb], like), -HALF_MAX, HALF_MAX)
    spec = _spec(like, ["R", "G", "B"], attributes or {}, compression)
    # The container flag itself asks for an uncompressed file of a fixed make; its meaning is this id.
    if like.colour.stated:
        spec.attribute("colorInteropID", like.colour.stated)
    if like.colour.chromaticities:
        spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), like.colour.chromaticities)
    _write(path, frame, spec, half)
    return Written(path, frame, clamped)


def _alpha_channel(layer: str) -> str:
    if layer in _PLAIN_ALPHA:
        return "A"
    if not _LAYER.fullmatch(layer):
        raise UsageError(
            f"{layer!r} cannot name a layer",
            remedy="Use letters, digits and underscores, and begin with a letter.",
        )
    return f"{layer}.A" if layer.startswith("matte_") else f"matte_{layer}.A"


def _stacked(images: Sequence[Float32], like: FrameHeader) -> Float32:
    """(H, W) or (H, W, C) images as one (H, W, C); each has to fill the data window of ``like``."""
    for image in images:
        if image.shape[:2] != (like.height, like.width):
            raise ValueError(f"an image of shape {image.shape} does not fill a data window of {like.data_window}")
    return np.dstack(images) if len(images) > 1 else images[0].reshape(like.height, like.width, -1)


def _spec(like: FrameHeader, names: Sequence[str], attributes: Attributes, compression: str) -> Any:
    """The header of a result: the plate's geometry and what it carries, and our own attributes."""
    prepare_library()
    spec = oiio.ImageSpec(like.width, like.height, len(names), oiio.HALF)
    spec.channelnames = tuple(names)
    spec.x, spec.y = like.data_window.x, like.data_window.y
    shown = like.display_window
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = shown.x, shown.y, shown.width, shown.height
    spec.attribute("compression", compression)
    spec.attribute("PixelAspectRatio", float(like.pixel_aspect))
    # An empty date keeps the writer from storing the time, so that equal results are equal files.
    spec.attribute("DateTime", "")
    for carried in like.carried:
        spec.attribute(carried.name, oiio.TypeDesc(carried.type), carried.value)
    for name, value in attributes.items():
        spec.attribute(name if name.startswith(OWN_PREFIX) else OWN_PREFIX + name, str(value))
    return spec


def _write(path: str, frame: int, spec: Any, pixels: Float16) -> None:
    commit(path, frame, lambda temporary: _write_exr(path, frame, temporary, spec, pixels))


def _write_exr(path: str, frame: int, temporary: str, spec: Any, pixels: Float16) -> None:
    """Write to ``temporary``; ``path`` is for the error. Every step is checked, then the file: the steps may lie."""
    if pixels.ndim != 3 or pixels.shape[2] != spec.nchannels or not pixels.flags.c_contiguous:
        # OpenImageIO's binding reads past the end of an array with two dimensions and kills the process.
        raise ValueError(f"pixels are C-ordered (H, W, {spec.nchannels}), not {pixels.shape}")
    output = oiio.ImageOutput.create("openexr")
    if output is None:
        raise output_failed(path, frame, "this OpenImageIO cannot write EXR")
    opened = output.open(temporary, spec)
    written = opened and output.write_image(pixels)
    complaint = pending_complaint(output)
    closed = output.close()
    complaint = complaint or pending_complaint(output)
    if not (opened and written and closed):
        raise output_failed(path, frame, complaint or "the writer failed")
    if not is_complete(temporary, spec.y, spec.height):
        raise output_failed(path, frame, "its last bytes did not reach the disk")
