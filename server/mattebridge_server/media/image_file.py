"""An image file on disk, opened and vetted: the only reader of pixels and headers, whatever the format.

Every complaint of the file system or of OpenImageIO leaves here as an error that names the file and the frame. A file
is recognised by its first bytes, not by its name; only EXR, PNG, TIFF, JPEG and our own ``.planes`` are opened at all.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import OpenImageIO as oiio
from numpy.typing import NDArray

from mattebridge.errors import FrameError, MissingFrames, OutOfMemory
from mattebridge_server.media.channels import Channel, read_names
from mattebridge_server.media.exr_check import lists_at_most
from mattebridge_server.media.geometry import Window
from mattebridge_server.media.half import to_float
from mattebridge_server.media.header import (
    FrameHeader,
    carried_attributes,
    colour_hints,
    own_attributes,
)
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits, prepare_library

Float32 = NDArray[np.float32]

_MAGIC = {
    b"\x76\x2f\x31\x01": "openexr",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\xff\xd8\xff": "jpeg",
}
_ROTATED = "Orientation"
_WHOLE_NUMBER = "uint"
_AGAIN = "Render or copy that frame again, then run the same job; finished frames are kept."
_SURROGATES = re.compile("[\ud800-\udfff]")
_ABSURD = ("limits:", "header claims", "Invalid data window", "Invalid display window")
_SUBSAMPLED = "Subsampled"
_CUT_OFF = ("READ_IO", "End of file", "end of file")
_LONGEST_COMPLAINT = 240


@dataclass(frozen=True)
class Part:
    """One part (subimage) of a file; a file that is not a multi-part EXR has one. ``formats``: one for each channel."""

    data_window: Window
    display_window: Window
    pixel_aspect: float
    formats: tuple[str, ...]
    attributes: dict[str, Any]
    types: dict[str, str]


class ImageFile:
    """An open file: a context manager, not for use by several threads at once.

    ``channels`` are those of all parts. Raises `MissingFrames`, `FrameError` or `OutOfMemory`, here and in `read`.
    """

    def __init__(self, path: str, frame: int, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        prepare_library()
        self.path = path
        self.frame = frame
        self._limits = limits
        self.file_format = _recognise(path, frame, limits)
        with _as_frame_errors(path, frame):
            # Straight alpha stays straight: a mask's red must not be multiplied by its alpha.
            config = oiio.ImageSpec()
            config.attribute("oiio:UnassociatedAlpha", 1)
            opened = oiio.ImageInput.open(path, config)
            complaint = pending_complaint(oiio)
        if opened is None:
            raise self._refused(complaint)
        self._input = opened
        try:
            with _as_frame_errors(path, frame):
                self._parts, self.channels = self._read_layout()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A complaint that nobody fetched would be printed by OpenImageIO, to the standard output."""
        self._input.close()
        pending_complaint(self._input)

    def header(self, part: int = 0) -> FrameHeader:
        """The header of ``part``."""
        source = self._parts[part]
        self._check_sides(source)
        attributes = source.attributes
        # Writers may state what is true of the whole file in its first part alone; colour is each part's own.
        shared = {**self._parts[0].attributes, **attributes}
        types = {**self._parts[0].types, **source.types}
        return FrameHeader(
            path=self.path,
            frame=self.frame,
            file_format=self.file_format,
            data_window=source.data_window,
            display_window=source.display_window,
            pixel_aspect=source.pixel_aspect,
            channels=self.channels,
            views=tuple(dict.fromkeys(channel.view for channel in self.channels if channel.view)),
            part=part,
            storage=source.formats[0],
            compression=str(attributes.get("compression", "")),
            colour=colour_hints(attributes),
            carried=carried_attributes(shared, types),
            own=own_attributes(attributes),
        )

    def read(self, channels: Sequence[Channel]) -> Float32:
        """The stored pixels of ``channels``, all of one part: (H, W, C) float32 over the part's data window.

        Halves keep their exact value; integers become 0..1, but those of an EXR are numbers and stay what they are.
        """
        part = channels[0].part
        source = self._parts[part]
        wanted = [channel.index for channel in channels]
        first, end = min(wanted), max(wanted) + 1
        scattered = end - first > 2 * len(wanted) or self._counts(source, first, end)
        self._check_sides(source)
        self._check_bytes(source, len(wanted) if scattered else end - first)
        if scattered:
            return np.concatenate([self._decode(part, index, index + 1) for index in wanted], axis=2)
        pixels = self._decode(part, first, end)
        in_order = wanted == list(range(first, end))
        return pixels if in_order else np.ascontiguousarray(pixels[:, :, [index - first for index in wanted]])

    def _counts(self, part: Part, first: int, end: int) -> bool:
        """Whether one of the channels holds whole numbers, such as the ids of objects, that OpenImageIO would scale."""
        return self.file_format == "openexr" and _WHOLE_NUMBER in part.formats[first:end]

    def _decode(self, part: int, first: int, end: int) -> Float32:
        source = self._parts[part]
        kind = oiio.HALF if all(name == "half" for name in source.formats[first:end]) else oiio.FLOAT
        if self._counts(source, first, end):
            kind = oiio.UINT32
        with _as_frame_errors(self.path, self.frame):
            pixels = self._input.read_image(part, 0, first, end, kind)
            failed = bool(self._input.has_error)
            complaint = pending_complaint(self._input)
            if pixels is None or failed:
                raise self._error(f"is truncated or damaged: {complaint or 'pixels cannot be decoded'}")
            return to_float(pixels.reshape(source.data_window.height, source.data_window.width, end - first))

    def _read_layout(self) -> tuple[list[Part], tuple[Channel, ...]]:
        parts: list[Part] = []
        channels: list[Channel] = []
        # Only EXR has parts of one picture; the further pages of a TIFF are thumbnails or another matter.
        while (not parts or self.file_format == "openexr") and self._input.seek_subimage(len(parts), 0):
            spec = self._input.spec()
            if spec.deep:
                raise self._error("holds deep pixels", "Flatten it (DeepToImage) and render that frame again.")
            part = _part(spec)
            parts.append(part)
            names = [_readable(name) for name in spec.channelnames]
            channels += read_names(len(parts) - 1, *_name_and_views(part.attributes), stored=names)
            if len(parts) > self._limits.max_parts or len(channels) > self._limits.max_channels:
                raise self._error(
                    f"lists {len(parts)} parts and {len(channels)} channels or more", "Give a file with fewer layers."
                )
        if not channels:
            raise self._error(f"has no channels: {pending_complaint(self._input)}")
        if parts[0].attributes.get(_ROTATED, 1) not in (0, 1):
            raise self._error("is stored rotated or mirrored", "Save it upright (Orientation 1).")
        return parts, tuple(channels)

    def _check_sides(self, part: Part) -> None:
        for name, window in (("data", part.data_window), ("display", part.display_window)):
            if not (0 < window.width <= self._limits.max_side and 0 < window.height <= self._limits.max_side):
                raise self._error(
                    f"has a {name} window of {window}, and {self._limits.max_side} pixels a side is the limit",
                    "If that frame is what you meant to give, scale it down or crop it.",
                )

    def _check_bytes(self, part: Part, channels: int) -> None:
        # Formats other than EXR decode all their channels at once.
        decoded = channels if self.file_format == "openexr" else len(part.formats)
        need = part.data_window.width * part.data_window.height * decoded * 4
        if need > self._limits.max_bytes:
            raise self._error(
                f"would take {need >> 20} MiB decoded, and {self._limits.max_bytes >> 20} MiB is the limit",
                "If that frame is what you meant to give, scale it down or crop it.",
            )

    def _refused(self, complaint: str) -> FrameError:
        if any(sign in complaint for sign in _ABSURD):
            size = complaint.split(" If ", 1)[0]
            return self._error(f"has a header that claims an absurd size: {size}")
        if any(sign in complaint for sign in _CUT_OFF):
            return self._error(f"is truncated in its header: {complaint}")
        if _SUBSAMPLED in complaint:
            return self._error(f"cannot be opened: {complaint}", "Write all its channels at full resolution, as RGB.")
        return self._error(f"cannot be opened: {complaint or 'unknown reason'}")

    def _error(self, what: str, remedy: str = _AGAIN) -> FrameError:
        return frame_error(self.path, self.frame, what, remedy)


def frame_error(path: str, frame: int, what: str, remedy: str = _AGAIN) -> FrameError:
    """An error that reads "frame 1003 WHAT", about ``path``."""
    return FrameError(f"frame {frame} {what}", remedy=remedy, file=path, frame=frame)


def unreadable(path: str, frame: int, error: OSError | ValueError) -> FrameError:
    """The error for a file whose bytes the system does not give."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    remedy = "Check the path and its permissions as the server's user sees them."
    return frame_error(path, frame, f"cannot be read: {reason}", remedy)


def pending_complaint(source: Any) -> str:
    """What OpenImageIO (the module, an input or an output) complains about, as one short line; it is then forgotten."""
    try:
        text: str = source.geterror()
    except UnicodeDecodeError:
        return "its header is garbled"
    lines = dict.fromkeys(re.sub(r"^EXR Error \(.*?\): ", "", line).strip() for line in text.splitlines())
    line = "; ".join(filter(None, lines))
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= _LONGEST_COMPLAINT else line[:_LONGEST_COMPLAINT] + "..."


@contextmanager
def _as_frame_errors(path: str, frame: int) -> Iterator[None]:
    """Turn what the binding raises on a garbled file into errors of ours."""
    try:
        yield
    except (UnicodeError, RuntimeError, OverflowError, TypeError) as error:
        raise frame_error(path, frame, f"is garbled: {type(error).__name__} in its header") from error
    except MemoryError as error:
        raise OutOfMemory(f"no memory to decode frame {frame}", file=path, frame=frame) from error


def _recognise(path: str, frame: int, limits: ReadLimits) -> str:
    """The format by the first bytes of the file. Refuses what is missing, empty, unreadable or not a plain file."""
    try:
        # Before opening: the open of a pipe would wait for its writer.
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise frame_error(
                path, frame, "is a folder", "Name the pictures in it by a pattern, such as plate.####.exr."
            )
        if not stat.S_ISREG(status.st_mode):
            raise frame_error(path, frame, "is not a file", "Give the path of an image file.")
        with Path(path).open("rb") as stream:
            start = stream.read(8)
            found = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
            if found == "openexr" and not lists_at_most(stream, limits.max_attributes):
                raise frame_error(path, frame, f"lists more than {limits.max_attributes} attributes in its header")
    except FileNotFoundError as error:
        raise MissingFrames(f"frame {frame} does not exist", file=path, frame=frame) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, frame, error) from error
    if not start:
        raise frame_error(path, frame, "is empty (0 bytes)")
    if not found and start == start[: status.st_size] and any(m.startswith(start) for m in _MAGIC):
        raise frame_error(path, frame, f"is truncated: it has {status.st_size} bytes")
    if not found:
        raise frame_error(
            path, frame, "is not an EXR, PNG, TIFF or JPEG image", "Give an image file, or render it again."
        )
    return found


def _readable(text: str) -> str:
    """``text`` that can be encoded: what is not UTF-8 in a file (an artist's name, say) must not cost the frame."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _part(spec: Any) -> Part:
    attributes: dict[str, Any] = {}
    types: dict[str, str] = {}
    for entry in spec.extra_attribs:
        name, value = _readable(entry.name), entry.value
        attributes[name] = _readable(value) if isinstance(value, str) else value
        types[name] = str(entry.type)
    aspect = attributes.get("PixelAspectRatio", 1.0)
    usable = isinstance(aspect, (int, float)) and 0.01 <= aspect <= 100
    formats = tuple(str(name) for name in spec.channelformats) or (str(spec.format),) * spec.nchannels
    return Part(
        data_window=Window(spec.x, spec.y, spec.width, spec.height),
        display_window=Window(spec.full_x, spec.full_y, spec.full_width, spec.full_height),
        pixel_aspect=float(aspect) if usable else 1.0,
        formats=formats,
        attributes=attributes,
        types=types,
    )


def _name_and_views(attributes: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """A part's name, its view, and the views of a part that holds several."""
    name = str(attributes.get("oiio:subimagename") or attributes.get("name") or "")
    views = attributes.get("multiView", ())
    return name, str(attributes.get("view") or ""), views if isinstance(views, tuple) else (str(views),)
