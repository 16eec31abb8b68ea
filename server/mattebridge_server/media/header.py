"""What a file's header says, read without decoding a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mattebridge.errors import FrameError
from mattebridge_server.media.channels import Channel
from mattebridge_server.media.geometry import Raster, Window

AttributeValue = str | int | float | tuple[int, ...] | tuple[float, ...]

OWN_PREFIX = "mattebridge:"
"""Attributes of our own outputs: the frame's key, the model and so on, all of them strings."""
ACES_CONTAINER_ID = "lin_ap0_scene"
"""What the flag of an ACES container means."""

_CARRIED = frozenset(
    {
        "smpte:TimeCode",
        "smpte:KeyCode",
        "framesPerSecond",
        "screenWindowCenter",
        "screenWindowWidth",
        "camera",
        "cameraLabel",
        "cameraModel",
        "cameraSerialNumber",
        "cameraUuid",
        "imageCounter",
        "lens",
        "lensModel",
        "reel",
        "reelName",
        "scene",
        "shot",
        "show",
        "slate",
        "take",
        "tape",
        "nuke/input/filename",
        "nuke/input/timecode",
        "nuke/camera",
        "nuke/reelName",
        "nuke/shot",
    }
)
_LONGEST_CARRIED = 4096


@dataclass(frozen=True)
class CarriedAttribute:
    """One attribute of a plate that its alpha takes over. ``type`` is OpenImageIO's name for it, such as "timecode"."""

    name: str
    type: str
    value: AttributeValue


@dataclass(frozen=True)
class ColourHints:
    """What a header says about colour, and nothing more: ``interop_id`` such as ``lin_ap1_scene``, "" where absent.

    ``chromaticities`` are the eight numbers of the EXR attribute (red, green, blue, white as x and y), or empty.
    """

    interop_id: str = ""
    aces_container: bool = False
    chromaticities: tuple[float, ...] = ()

    @property
    def stated(self) -> str:
        """The space that the header names, as an interop id; "" where it names none."""
        named = "" if self.interop_id.lower() == "unknown" else self.interop_id
        return named or (ACES_CONTAINER_ID if self.aces_container else "")


@dataclass(frozen=True)
class FrameHeader:
    """The header of one frame: of the part that holds its picture, with the channels of all parts.

    ``file_format`` is "openexr", "png", "tiff", "jpeg" or "planes"; ``storage`` the type of the picture's channels,
    such as "half". ``own`` holds our own attributes (`OWN_PREFIX`).
    """

    path: str
    frame: int
    file_format: str
    data_window: Window
    display_window: Window
    pixel_aspect: float = 1.0
    channels: tuple[Channel, ...] = ()
    views: tuple[str, ...] = ()
    part: int = 0
    storage: str = "half"
    compression: str = ""
    colour: ColourHints = ColourHints()
    carried: tuple[CarriedAttribute, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def width(self) -> int:
        """Width of the data window in pixels."""
        return self.data_window.width

    @property
    def height(self) -> int:
        """Height of the data window in pixels."""
        return self.data_window.height

    @property
    def raster(self) -> Raster:
        """The windows and the pixel aspect alone."""
        return Raster(self.data_window, self.display_window, self.pixel_aspect)


def check_same_geometry(expected: FrameHeader, found: FrameHeader) -> None:
    """Raise `FrameError` where ``found`` is not of the size of ``expected``, the first frame of the shot.

    The stored rectangle may change, as in renders cropped to their content; `mattebridge_server.media.place` brings
    such frames to one grid.
    """
    differences = []
    if found.display_window != expected.display_window:
        differences.append(f"display window {found.display_window} instead of {expected.display_window}")
    if abs(found.pixel_aspect - expected.pixel_aspect) > 1e-3 * expected.pixel_aspect:
        differences.append(f"pixel aspect {found.pixel_aspect:g} instead of {expected.pixel_aspect:g}")
    if differences:
        raise FrameError(
            f"frame {found.frame} has another size than frame {expected.frame}: {'; '.join(differences)}",
            remedy="Render the whole shot in one format, or split it where the format changes.",
            file=found.path,
            frame=found.frame,
        )


def colour_hints(attributes: Mapping[str, Any]) -> ColourHints:
    """The colour hints among a part's attributes."""
    numbers = attributes.get("chromaticities")
    return ColourHints(
        interop_id=str(attributes.get("colorInteropID") or ""),
        aces_container=attributes.get("acesImageContainerFlag") == 1,
        chromaticities=tuple(float(n) for n in numbers) if isinstance(numbers, tuple) and len(numbers) == 8 else (),
    )


def own_attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Our own attributes among a part's."""
    return {name: value for name, value in attributes.items() if name.startswith(OWN_PREFIX) and isinstance(value, str)}


def carried_attributes(attributes: Mapping[str, Any], types: Mapping[str, str]) -> tuple[CarriedAttribute, ...]:
    """What an alpha takes over from its plate: an allow-list, since much of a header is true of the plate alone."""
    return tuple(
        CarriedAttribute(name, types[name], value)
        for name, value in sorted(attributes.items())
        if name in _CARRIED and isinstance(value, (str, int, float, tuple)) and len(str(value)) <= _LONGEST_CARRIED
    )
