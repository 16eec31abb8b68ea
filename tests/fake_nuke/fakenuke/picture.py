"""Pictures on real EXR files: named planes with a data window, a display window and a pixel aspect.

Windows are (x0, y0, x1, y1), exclusive at the far end, y down as in EXR; the fake never needs Nuke's y up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Window = tuple[int, int, int, int]

LONG = {"R": "rgba.red", "G": "rgba.green", "B": "rgba.blue", "A": "rgba.alpha"}
SHORT = {long: short for short, long in LONG.items()}
TAILS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}


class ReadFailed(RuntimeError):
    """What a render stops with when a file is not there or cannot be read."""


@dataclass(frozen=True)
class Picture:
    """``planes`` by Nuke's channel name, each (H, W) float32 over ``data``."""

    planes: dict[str, Plane]
    data: Window
    display: Window
    pixel_aspect: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)

    def plane(self, name: str) -> Plane:
        """The plane, or zeros: an absent channel is black in Nuke."""
        return self.planes.get(name, self.zeros())

    def zeros(self) -> Plane:
        return np.zeros((self.data[3] - self.data[1], self.data[2] - self.data[0]), np.float32)

    def with_planes(self, planes: dict[str, Plane]) -> Picture:
        return replace(self, planes={**self.planes, **planes})

    def on_window(self, data: Window) -> Picture:
        """The same picture over another data window, zero outside its own."""
        if data == self.data:
            return self
        height, width = data[3] - data[1], data[2] - data[0]
        x0, y0 = max(data[0], self.data[0]), max(data[1], self.data[1])
        x1, y1 = min(data[2], self.data[2]), min(data[3], self.data[3])
        moved: dict[str, Plane] = {}
        for name, plane in self.planes.items():
            target = np.zeros((height, width), np.float32)
            if x1 > x0 and y1 > y0:
                inner = plane[y0 - self.data[1] : y1 - self.data[1], x0 - self.data[0] : x1 - self.data[0]]
                target[y0 - data[1] : y1 - data[1], x0 - data[0] : x1 - data[0]] = inner
            moved[name] = target
        return replace(self, planes=moved, data=data)

    def half_size(self) -> Picture:
        """What a proxy at half resolution gives."""
        planes = {name: plane[::2, ::2].copy() for name, plane in self.planes.items()}
        height, width = next(iter(planes.values())).shape if planes else (1, 1)
        x, y = self.data[0] // 2, self.data[1] // 2
        display: Window = (self.display[0] // 2, self.display[1] // 2, self.display[2] // 2, self.display[3] // 2)
        return replace(self, planes=planes, data=(x, y, x + width, y + height), display=display)


def nuke_name(exr: str) -> str:
    """`R` is `rgba.red`, `matte_hero.A` is `matte_hero.alpha`."""
    if exr in LONG:
        return LONG[exr]
    layer, _, channel = exr.rpartition(".")
    long = {short: tail for tail, short in TAILS.items()}.get(channel, channel)
    return f"{layer or 'other'}.{long}"


def exr_name(nuke: str) -> str:
    if nuke in SHORT:
        return SHORT[nuke]
    layer, _, channel = nuke.rpartition(".")
    return f"{layer}.{TAILS.get(channel, channel)}"


def read_exr(path: Path) -> Picture:
    """Raises `ReadFailed` for a file that is not there or not an image."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        oiio.geterror()
        raise ReadFailed(f"{path.as_posix()}: No such file or directory")
    try:
        spec = source.spec()
        pixels = source.read_image(oiio.FLOAT)
    finally:
        source.close()
    if pixels is None:
        raise ReadFailed(f"{path.as_posix()}: cannot be read")
    pixels = pixels.reshape(spec.height, spec.width, spec.nchannels)
    planes = {nuke_name(name): np.ascontiguousarray(pixels[..., i]) for i, name in enumerate(spec.channelnames)}
    return Picture(
        planes,
        (spec.x, spec.y, spec.x + spec.width, spec.y + spec.height),
        (spec.full_x, spec.full_y, spec.full_x + spec.full_width, spec.full_y + spec.full_height),
        float(spec.get_float_attribute("PixelAspectRatio", 1.0)),
    )


def write_exr(path: Path, picture: Picture, channels: list[str], half: bool = True) -> None:
    """Raises `OSError` when the file cannot be written."""
    names = [exr_name(name) for name in channels]
    pixels = np.dstack([picture.plane(name) for name in channels]).astype(np.float32)
    height, width = pixels.shape[:2]
    spec = oiio.ImageSpec(width, height, len(channels), oiio.HALF if half else oiio.FLOAT)
    spec.channelnames = names
    spec.x, spec.y = picture.data[:2]
    spec.full_x, spec.full_y = picture.display[:2]
    spec.full_width = picture.display[2] - picture.display[0]
    spec.full_height = picture.display[3] - picture.display[1]
    spec.attribute("PixelAspectRatio", picture.pixel_aspect)
    spec.attribute("compression", "zips")
    for key, text in picture.attributes.items():
        spec.attribute(key, text)
    out = oiio.ImageOutput.create(str(path))
    if out is None or not out.open(str(path), spec):
        raise OSError(f"{path.as_posix()}: {oiio.geterror()}")
    written = out.write_image(np.ascontiguousarray(pixels))
    if not out.close() or not written:
        raise OSError(f"{path.as_posix()}: {out.geterror()}")


def decoded(picture: Picture, space: str) -> Picture:
    """From a named encoding to the working space: linear names pass, everything else is taken as sRGB."""
    if "linear" in space.lower() or "acescg" in space.lower() or space.startswith("default"):
        return picture
    planes = dict(picture.planes)
    for name in ("rgba.red", "rgba.green", "rgba.blue"):
        if name in planes:
            value = planes[name]
            low, high = value / 12.92, np.power((np.maximum(value, 0.0) + 0.055) / 1.055, 2.4)
            planes[name] = np.where(value <= 0.04045, low, high).astype(np.float32)
    return replace(picture, planes=planes)
