"""Float16 pixels for a TD who wants arrays: `Planes`, and the ``.planes`` container that takes one through the socket.

    offset  size  little-endian
    0       4     the bytes ``MBPL``
    4       2     version, 1
    6       2     type of the values, 1 for float16
    8       12    height, width, channels
    20      12    zeros
    32      ...   height × width × channels float16, rows from the top, channels interleaved

One channel is A, two are Y and A, three are R, G and B, four R, G, B and A. This side needs no numpy: `Planes.of` takes
whatever offers the buffer protocol (a numpy float16 array does), and ``numpy.frombuffer(planes.data, "<f2").reshape(
planes.shape)`` is the way back without a copy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Union

from .errors import InputError, UsageError

SUFFIX = ".planes"
MAX_SIDE = 65536

HEADER = struct.Struct("<4sHHIII12x")
FORMAT = (b"MBPL", 1, 1)
"""What a header begins with: the four bytes, the version and the type of the values."""


@dataclass(frozen=True)
class Planes:
    """``data`` holds height × width × channels little-endian float16, rows from the top, channels interleaved."""

    data: Union[bytes, bytearray, memoryview]
    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        if not (0 < self.height <= MAX_SIDE and 0 < self.width <= MAX_SIDE and 1 <= self.channels <= 4):
            raise UsageError(f"planes cannot be {self.width}x{self.height} with {self.channels} channels")
        expected = self.height * self.width * self.channels * 2
        given = memoryview(self.data).nbytes
        if given != expected:
            raise UsageError(
                f"{self.width}x{self.height} planes with {self.channels} channels are {expected} bytes, not {given}",
                remedy="Give float16 values, two bytes each.",
            )

    @classmethod
    def of(cls, array: Any) -> Planes:
        """Planes over an array's own memory: (H, W) or (H, W, C) float16, C-contiguous. Raises `UsageError`."""
        view = memoryview(array)
        if view.format != "e" or view.ndim not in (2, 3) or not view.c_contiguous or view.shape is None:
            raise UsageError(
                "planes need a contiguous float16 array of (H, W) or (H, W, C)",
                remedy="With numpy: numpy.ascontiguousarray(array, numpy.float16).",
            )
        channels = view.shape[2] if view.ndim == 3 else 1
        return cls(view.cast("B"), view.shape[0], view.shape[1], channels)

    @classmethod
    def unpack(cls, content: bytes) -> Planes:
        """Read a ``.planes`` file's content. Raises `InputError` for anything else."""
        if len(content) < HEADER.size:
            raise InputError(f"a {SUFFIX} file is truncated: it has {len(content)} bytes")
        *form, height, width, channels = HEADER.unpack_from(content)
        if tuple(form) != FORMAT:
            raise InputError(f"not a {SUFFIX} file of version 1 with float16 values")
        try:
            return cls(memoryview(content)[HEADER.size :], height, width, channels)
        except UsageError as error:
            raise InputError(f"a damaged {SUFFIX} file: {error.message}") from None

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    def pack(self) -> bytes:
        """The ``.planes`` file's content."""
        start = HEADER.pack(*FORMAT, self.height, self.width, self.channels)
        return start + memoryview(self.data).cast("B")
