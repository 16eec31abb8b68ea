"""``.planes``: float16 pixels with their shape and nothing else, laid out as `mattebridge.planes` says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import FrameError, MissingFrames
from mattebridge.planes import FORMAT, HEADER, SUFFIX
from mattebridge_server.media.channels import Channel, read_names
from mattebridge_server.media.commit import commit
from mattebridge_server.media.geometry import Window
from mattebridge_server.media.half import HALF_MAX, to_float, to_half
from mattebridge_server.media.header import FrameHeader
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits

Float32 = NDArray[np.float32]

_NAMES = {1: "A", 2: "YA", 3: "RGB", 4: "RGBA"}


class PlanesFile:
    """A ``.planes`` file read like any other image; the counterpart of `ImageFile`."""

    file_format = "planes"

    def __init__(self, path: str, frame: int, limits: ReadLimits = DEFAULT_LIMITS) -> None:
        self.path = path
        self.frame = frame
        self._shape = self._read_shape(limits)
        self.channels: tuple[Channel, ...] = tuple(read_names(0, "", "", (), list(_NAMES[self._shape[2]])))

    def __enter__(self) -> PlanesFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def header(self, part: int = 0) -> FrameHeader:
        """Windows at the origin, square pixels, no colour hints: the format knows no more."""
        window = Window(0, 0, self._shape[1], self._shape[0])
        return FrameHeader(self.path, self.frame, self.file_format, window, window, channels=self.channels, part=part)

    def read(self, channels: Sequence[Channel]) -> Float32:
        """The pixels of ``channels``: (H, W, C) float32, exact."""
        try:
            stored = np.fromfile(self.path, "<f2", offset=HEADER.size)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}") from error
        if stored.size != np.prod(self._shape):
            raise self._error("changed its size while it was read")
        pixels = to_float(stored.astype(np.float16, copy=False).reshape(self._shape))
        wanted = [channel.index for channel in channels]
        return pixels if wanted == list(range(self._shape[2])) else np.ascontiguousarray(pixels[:, :, wanted])

    def _read_shape(self, limits: ReadLimits) -> tuple[int, int, int]:
        """Height, width and channels, checked against the limits and the size of the file."""
        try:
            with Path(self.path).open("rb") as stream:
                start = stream.read(HEADER.size)
                size = os.fstat(stream.fileno()).st_size
        except FileNotFoundError as error:
            raise MissingFrames(f"frame {self.frame} does not exist", file=self.path, frame=self.frame) from error
        except (OSError, ValueError) as error:
            raise self._error(f"cannot be read: {error}") from error
        if len(start) < HEADER.size:
            raise self._error(f"is truncated: it has {len(start)} bytes")
        *form, height, width, channels = HEADER.unpack(start)
        if tuple(form) != FORMAT:
            raise self._error(f"is not a {SUFFIX} file of version {FORMAT[1]} with float16 values")
        if channels not in _NAMES:
            raise self._error(f"has {channels} channels, and 1 to 4 are known")
        inside = 0 < height <= limits.max_side and 0 < width <= limits.max_side
        if not inside or height * width * channels * 4 > limits.max_bytes:
            raise self._error(f"claims an absurd size: {width}x{height} with {channels} channels")
        if size != HEADER.size + height * width * channels * 2:
            raise self._error(f"has {size} bytes where {width}x{height} with {channels} channels needs another number")
        return height, width, channels

    def _error(self, what: str) -> FrameError:
        return FrameError(
            f"frame {self.frame} {what}", remedy="Write that frame again.", file=self.path, frame=self.frame
        )


def write_planes(path: str, pixels: NDArray[Any], *, frame: int) -> int:
    """Write (H, W) or (H, W, C) floats as ``.planes``, atomically; returns how many values did not fit a half.

    Those are clamped to +-65504, NaN to 0. Raises `OutputFailed`.
    """
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[2] not in _NAMES:
        raise ValueError(f"planes are (H, W) or (H, W, 1 to 4), not {pixels.shape}")
    half, changed = to_half(planes.astype(np.float32, copy=False), -HALF_MAX, HALF_MAX)
    start = HEADER.pack(*FORMAT, *planes.shape)

    def write(temporary: str) -> None:
        with Path(temporary).open("wb") as stream:
            stream.write(start)
            stream.write(half.astype("<f2", copy=False).data)

    commit(path, frame, write)
    return changed
