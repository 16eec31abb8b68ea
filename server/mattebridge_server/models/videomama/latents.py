"""Latents and whole windows that were computed before: the difference between a retake and a first take.

A frame's plate latent depends on nothing but the frame, so overlapping windows, and later jobs that only changed a
mask, find it here; at 1024 x 576 it is 0.15 MB. A whole window is kept under the keys of everything that went into it,
so that a mask fix on one frame recomputes only the windows that cover it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mattebridge_server.models.byte_cache import ByteCache

EMPTY = "empty"


@dataclass(frozen=True)
class Counters:
    """How much work was done, and how much was found done, since the model was made."""

    windows_computed: int = 0
    windows_reused: int = 0
    plate_latents_computed: int = 0
    plate_latents_reused: int = 0
    mask_latents_computed: int = 0
    mask_latents_reused: int = 0


@dataclass(frozen=True)
class LatentKey:
    """What a latent depends on. ``profile`` names weights, precision and device."""

    profile: str
    kind: str
    content: str
    height: int
    width: int


@dataclass(frozen=True)
class WindowKey:
    """What a window's result depends on: the profile, the seed, and number, plate and mask of each frame."""

    profile: str
    seed: int
    frames: tuple[tuple[int, str, str], ...]


class Memory:
    """The two caches and their counters. Survives `unload`: the profile in every key keeps stale entries apart."""

    def __init__(self, latent_bytes: int, result_bytes: int) -> None:
        self._latents: ByteCache[LatentKey, Tensor] = ByteCache(latent_bytes, lambda t: t.nelement() * t.element_size())
        self._windows: ByteCache[WindowKey, NDArray[np.float32]] = ByteCache(result_bytes, lambda a: a.nbytes)
        self._fresh: dict[LatentKey, Tensor] = {}
        self._counts = dict.fromkeys(Counters.__dataclass_fields__, 0)

    def counters(self) -> Counters:
        """A snapshot."""
        return Counters(**self._counts)

    def latent(self, key: LatentKey, compute: Callable[[], Tensor]) -> Tensor:
        """The latent of ``key``, (1, 4, h, w) on the host, or where it is being computed until `settle`."""
        held = self._latents.get(key)
        if held is None:
            held = self._fresh.get(key)
        self._counts[f"{key.kind}_latents_{'computed' if held is None else 'reused'}"] += 1
        if held is None:
            held = self._fresh[key] = compute()
        return held

    def settle(self) -> None:
        """Bring new latents to the host. The only wait for the device between two windows' first kernels."""
        for key, latent in self._fresh.items():
            self._latents.put(key, latent.to("cpu", copy=True))  # as it is, it is half of the encoder's answer
        self._fresh.clear()

    def window(self, key: WindowKey, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Alpha of a window, (F, H, W) float32, computed if it is not held."""
        held = self._windows.get(key)
        self._counts["windows_computed" if held is None else "windows_reused"] += 1
        if held is None:
            held = compute()
            held.flags.writeable = False
            self._windows.put(key, held)
        return held

    def clear(self) -> None:
        """Forgets latents and windows; the counters go on."""
        self._latents.clear()
        self._windows.clear()


def content_key(stated: str, pixels: NDArray[np.float32] | None) -> str:
    """The caller's key, or a digest of the pixels where it stated none."""
    if stated or pixels is None:
        return stated
    import hashlib

    return hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


def to_image(pixels: NDArray[np.float32]) -> Tensor:
    """(H, W, 3) or (H, W) -> (1, 3, H, W) float32 without the array's later changes showing through."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
    if tensor.ndim == 2:
        return tensor[None, None].expand(1, 3, -1, -1)
    return tensor.permute(2, 0, 1)[None]
