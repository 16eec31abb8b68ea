"""What lies behind the subject in a composite: whether it fits the plate, and its pixels in the plate's own space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import FrameError
from mattebridge_ocio.config import ColourConfig

from ..media import FrameHeader, Plate, read_header
from .colour import contradicted, convert, stated_space
from .inputs import ShotInputs, exists

Float32 = NDArray[np.float32]


def require_background(inputs: ShotInputs, plate: FrameHeader, config: ColourConfig, plate_space: str) -> str:
    """See that the first background fits the shot's ``plate``, before any frame is read. One that is missing is no
    question of this function. Returns a warning where it may be in another space than it is taken to be, else "".
    Raises `FrameError` and `ColourSpaceUnknown`.
    """
    path = inputs.path("background", inputs.frames[0])
    if path is None or not exists(path):
        return ""
    header = read_header(str(path), frame=inputs.frames[0], view=inputs.view)
    space, stated = space_behind(header, plate, config, plate_space), header.colour.chromaticities
    return "" if stated == plate.colour.chromaticities else contradicted(config, space, stated, "background")


def space_behind(header: FrameHeader, plate: FrameHeader, config: ColourConfig, plate_space: str) -> str:
    """A background's space: ``plate_space`` unless its header states another than the plate's own header does.

    Raises `FrameError` for another format than the plate's, `ColourSpaceUnknown` for a space that the config lacks.
    """
    shown, wanted = header.display_window, plate.display_window
    if shown != wanted:
        raise FrameError(
            f"the background's display window is {shown}, the plate's {wanted}",
            file=header.path,
            frame=header.frame,
            remedy="Give a background of the plate's format.",
        )
    if header.colour.stated in ("", plate.colour.stated):
        return plate_space
    return stated_space(config, header.colour.stated, header.path)


def behind(background: Plate, plate: FrameHeader, config: ColourConfig, plate_space: str) -> Float32:
    """The background's pixels, (H, W, 3), in ``plate_space``. Raises as `space_behind` does."""
    space = space_behind(background.header, plate, config, plate_space)
    return convert(config, space, plate_space, background.pixels)
