"""Plates: the picture of one frame, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattebridge_server.media.channels import find_picture
from mattebridge_server.media.header import FrameHeader
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits
from mattebridge_server.media.source import open_source

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Plate:
    """One frame of a plate.

    ``pixels``: (H, W, 3) float32 over the header's data window, scene-linear as stored, in no particular colour space;
    halves keep their exact value, and non-finite values are still there (see `usable`). ``channels`` are
    the full names that were read: three, or the one of a grey picture.
    """

    pixels: Float32
    header: FrameHeader
    channels: tuple[str, ...]


def read_plate(path: str, *, frame: int, layer: str = "", view: str = "", limits: ReadLimits = DEFAULT_LIMITS) -> Plate:
    """Read R, G and B of ``layer`` in ``view``; a grey picture (Y) gives three equal channels. Alpha is ignored.

    Raises `MissingFrames`, `FrameError` (damaged, deep, no RGB, unknown layer or view, beyond ``limits``) or
    `OutOfMemory`, each naming the file and the frame.
    """
    with open_source(path, frame, limits) as source:
        picture = find_picture(source.channels, file=path, frame=frame, layer=layer, view=view)
        header = source.header(picture.part)
        pixels = source.read(picture.channels)
    if picture.grey:
        pixels = np.repeat(pixels, 3, axis=2)
    return Plate(pixels, header, tuple(channel.name for channel in picture.channels))
