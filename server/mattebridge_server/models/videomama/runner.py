"""One window through VideoMaMa: latents from the cache or the encoder, one step of the UNet, decode in groups of eight.

What waits for the UNet are latents. While the device encodes one frame, the host prepares the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mattebridge.errors import FrameError, InputError
from mattebridge_server.models.base import Canvas, Checkpoint, LoadSpec, Window
from mattebridge_server.models.canvas import MOST_TOKENS
from mattebridge_server.models.coverage import binarise
from mattebridge_server.models.execution import memory_errors
from mattebridge_server.models.noise import frame_noise
from mattebridge_server.models.videomama import network as net
from mattebridge_server.models.videomama.card import memory_need
from mattebridge_server.models.videomama.latents import EMPTY, LatentKey, Memory, WindowKey, content_key, to_image

MAX_FRAMES = 24
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Take:
    """One run of one window. ``profile`` keeps apart in the caches what does not have the same bits."""

    window: Window
    seed: int
    compiled: bool
    checkpoint: Checkpoint
    profile: str


class WindowRunner:
    """Runs windows on one loaded network. ``profile`` identifies it in cache keys."""

    def __init__(self, network: net.Network, memory: Memory, spec: LoadSpec, precision: str, profile: str) -> None:
        self._network = network
        self._memory = memory
        self._room = spec.room
        self._precision = precision
        self._profile = profile

    def run(self, window: Window, seed: int, compiled: bool, checkpoint: Checkpoint) -> Float32:
        """Alpha of all frames of the window, (F, H, W) float32 in 0..1, in the order of ``window.numbers``.

        Raises `InputError` for a window or a canvas that the network cannot take, `OutOfMemory`, and what
        ``checkpoint`` raises.
        """
        numbers = window.numbers
        if not 1 <= len(numbers) <= MAX_FRAMES:
            raise InputError(
                f"VideoMaMa takes 1 to {MAX_FRAMES} frames at once, not {len(numbers)}", remedy="Split the shot."
            )
        take = _Take(window, seed, compiled, checkpoint, f"{self._profile}/compiled" if compiled else self._profile)
        keys = tuple((n, window.plate_key(n), window.mask_key(n)) for n in numbers)
        if all(plate for _, plate, _ in keys):
            return self._memory.window(WindowKey(take.profile, seed, keys), lambda: self._compute(take))
        return self._compute(take)

    def _compute(self, take: _Take) -> Float32:
        """Every step is handed to the device before the first result is waited for."""
        numbers = take.window.numbers
        try:
            plates, masks, canvas = self._encode(take)
            _, channels, height, width = plates.shape
            noise = np.stack([frame_noise(n, channels, height, width, take.seed) for n in numbers])
            need = memory_need(canvas, len(numbers), self._precision)
            with memory_errors(f"VideoMaMa at {canvas.width}x{canvas.height}", need):
                take.checkpoint("network")
                net.fetch_unet(self._network)
                latents = net.denoise(self._network, torch.from_numpy(noise), plates, masks)
                if self._must_park(canvas, len(numbers)):
                    net.park_unet(self._network)
                groups = list(self._decode(latents, take))
                return np.concatenate([group.cpu().numpy() for group in groups])
        finally:
            self._memory.settle()

    def _decode(self, latents: Tensor, take: _Take) -> Iterator[Tensor]:
        groups = net.decode(self._network, latents, compiled=take.compiled)
        while True:
            take.checkpoint("decode")
            group = next(groups, None)
            if group is None:
                return
            yield group

    def _encode(self, take: _Take) -> tuple[Tensor, Tensor, Canvas]:
        plates, masks = [], []
        canvas: Canvas | None = None
        for number in take.window.numbers:
            take.checkpoint("encode")
            plate = take.window.plate(number)
            canvas = self._check_plate(plate, number, canvas)
            with memory_errors(f"VideoMaMa at {canvas.width}x{canvas.height}", memory_need(canvas, 1, self._precision)):
                plates.append(self._plate_latent(take, number, plate))
                masks.append(self._mask_latent(take, number, canvas))
        assert canvas is not None
        return self._stacked(plates), self._stacked(masks), canvas

    def _stacked(self, latents: list[Tensor]) -> Tensor:
        """F times (1, 4, h, w), some on the host and some on the device -> (F, 4, h, w) on the device."""
        return torch.cat([latent.to(self._network.device) for latent in latents])

    def _plate_latent(self, take: _Take, number: int, plate: Float32) -> Tensor:
        content = content_key(take.window.plate_key(number), plate)
        key = LatentKey(take.profile, "plate", content, plate.shape[0], plate.shape[1])
        return self._memory.latent(key, lambda: net.encode(self._network, to_image(plate), compiled=take.compiled))

    def _mask_latent(self, take: _Take, number: int, canvas: Canvas) -> Tensor:
        mask = take.window.mask(number)
        shape = (canvas.height, canvas.width)
        if mask is not None and mask.shape != shape:
            raise FrameError(f"the mask is {mask.shape}, the plate {shape}", frame=number)
        hard = np.zeros(shape, np.float32) if mask is None else binarise(mask)
        # All empty masks share one latent, whatever key they came with.
        content = content_key(take.window.mask_key(number), hard) if hard.any() else EMPTY
        key = LatentKey(take.profile, "mask", content, *shape)
        return self._memory.latent(key, lambda: net.encode(self._network, to_image(hard), compiled=take.compiled))

    def _check_plate(self, plate: Float32, number: int, canvas: Canvas | None) -> Canvas:
        if plate.ndim != 3 or plate.shape[2] != 3:
            raise FrameError(f"the plate has shape {plate.shape}, not (H, W, 3)", frame=number)
        found = Canvas(plate.shape[1], plate.shape[0])
        if canvas is not None and found != canvas:
            raise FrameError(
                f"the plate is {found.width}x{found.height} where the window began at {canvas.width}x{canvas.height}",
                frame=number,
            )
        multiple, scale = self._network.multiple, self._network.scale
        if found.width % multiple or found.height % multiple:
            raise InputError(
                f"a canvas of {found.width}x{found.height} is not a multiple of {multiple}",
                remedy="Let the plan choose the canvas.",
            )
        tokens = found.pixels // scale**2
        if tokens > MOST_TOKENS:
            raise InputError(
                f"a canvas of {found.width}x{found.height} has {tokens} latent tokens; more than {MOST_TOKENS} "
                "break temporal attention",
                remedy="Use a smaller preset.",
            )
        return found

    def _must_park(self, canvas: Canvas, frames: int) -> bool:
        """Whether the UNet has to leave for the decoder: what is declared counts only one of the two."""
        kept = memory_need(canvas, frames, self._precision, unet_parked=False)
        on_device = self._network.device.type == "cuda"
        return on_device and self._room is not None and self._room() < kept
