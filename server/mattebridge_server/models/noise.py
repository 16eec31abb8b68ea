"""Noise that belongs to a frame, not to a run: the same frame number gives the same noise in any window or chunk."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

DEFAULT_SEED = 42


def frame_noise(number: int, channels: int, height: int, width: int, seed: int = DEFAULT_SEED) -> NDArray[np.float32]:
    """Standard normal noise of one frame: (channels, height, width) float32.

    Drawn on the host from a counter-based generator (Philox) keyed by seed, absolute frame number and size, so that it
    depends neither on the device nor on the number of threads nor on which frames were drawn before.
    """
    name = f"{seed}/{number}/{channels}x{height}x{width}".encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.standard_normal((channels, height, width), dtype=np.float32)
