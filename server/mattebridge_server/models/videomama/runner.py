"""One window through VideoMaMa: latents from the cache or the encoder, one step of the UNet, decode in groups of eight.

At any time at most one frame's pixels are held; what waits for the UNet are latents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mattebridge.errors import FrameError, InputError
from mattebridge_server.models.base import Canvas, Checkpoint, Device, Window
from mattebridge_server.models.coverage import binarise
from mattebridge_server.models.execution import memory_errors
from mattebridge_server.models.noise import frame_noise
from mattebridge_server.models.videomama import network as net
from mattebridge_server.models.videomama.card import MAX_LATENT_TOKENS, memory_need
from mattebridge_server.models.videomama.latents import EMPTY, LatentKey, Memory, WindowKey, content_key, to_image

MAX_FRAMES = 24
Float32 = NDArray[np.float32]


class WindowRunner:
    """Runs windows on one loaded network. ``profile`` identifies it in cache keys."""

    def __init__(self, network: net.Network, memory: Memory, device: Device, precision: str, profile: str) -> None:
        self._network = network
        self._memory = memory
        self._device = device
        self._precision = precision
        self._profile = profile

    def run(self, window: Window, seed: int, checkpoint: Checkpoint) -> Float32:
        """Alpha of all frames of the window, (F, H, W) float32 in 0..1, in the order of ``window.numbers``.

        Raises `InputError` for a window or a canvas that the network cannot take, `OutOfMemory`, and what
        ``checkpoint`` raises.
        """
        numbers = window.numbers
        if not 1 <= len(numbers) <= MAX_FRAMES:
            raise InputError(
                f"VideoMaMa takes 1 to {MAX_FRAMES} frames at once, not {len(numbers)}", remedy="Split the shot."
            )
        keys = tuple((n, window.plate_key(n), window.mask_key(n)) for n in numbers)
        if all(plate for _, plate, _ in keys):
            return self._memory.window(
                WindowKey(self._profile, seed, keys), lambda: self._compute(window, seed, checkpoint)
            )
        return self._compute(window, seed, checkpoint)

    def _compute(self, window: Window, seed: int, checkpoint: Checkpoint) -> Float32:
        plates, masks, canvas = self._encode(window, checkpoint)
        frames = len(window.numbers)
        need = memory_need(canvas, frames, self._precision)
        _, channels, height, width = plates.shape
        noise = torch.from_numpy(np.stack([frame_noise(n, channels, height, width, seed) for n in window.numbers]))
        with memory_errors(f"VideoMaMa at {canvas.width}x{canvas.height}", need):
            checkpoint("network")
            latents = net.denoise(self._network, noise, plates, masks)
            with net.unet_parked(self._network, self._must_park(canvas, frames)):
                return np.concatenate([group.numpy() for group in self._decode(latents, checkpoint)])

    def _decode(self, latents: Tensor, checkpoint: Checkpoint) -> Iterator[Tensor]:
        groups = net.decode(self._network, latents)
        while True:
            checkpoint("decode")
            group = next(groups, None)
            if group is None:
                return
            yield group

    def _encode(self, window: Window, checkpoint: Checkpoint) -> tuple[Tensor, Tensor, Canvas]:
        plates, masks = [], []
        canvas: Canvas | None = None
        for number in window.numbers:
            checkpoint("encode")
            plate = window.plate(number)
            canvas = self._check_plate(plate, number, canvas)
            with memory_errors(f"VideoMaMa at {canvas.width}x{canvas.height}", memory_need(canvas, 1, self._precision)):
                plates.append(self._plate_latent(window, number, plate))
                masks.append(self._mask_latent(window, number, canvas))
        assert canvas is not None
        return torch.cat(plates), torch.cat(masks), canvas

    def _plate_latent(self, window: Window, number: int, plate: Float32) -> Tensor:
        content = content_key(window.plate_key(number), plate)
        key = LatentKey(self._profile, "plate", content, plate.shape[0], plate.shape[1])
        return self._memory.latent(key, lambda: net.encode(self._network, to_image(plate)))

    def _mask_latent(self, window: Window, number: int, canvas: Canvas) -> Tensor:
        mask = window.mask(number)
        shape = (canvas.height, canvas.width)
        if mask is not None and mask.shape != shape:
            raise FrameError(f"the mask is {mask.shape}, the plate {shape}", frame=number)
        hard = np.zeros(shape, np.float32) if mask is None else binarise(mask)
        # All empty masks share one latent, whatever key they came with.
        content = content_key(window.mask_key(number), hard) if hard.any() else EMPTY
        key = LatentKey(self._profile, "mask", content, *shape)
        return self._memory.latent(key, lambda: net.encode(self._network, to_image(hard)))

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
        if tokens > MAX_LATENT_TOKENS:
            raise InputError(
                f"a canvas of {found.width}x{found.height} has {tokens} latent tokens; more than {MAX_LATENT_TOKENS} "
                "break temporal attention",
                remedy="Use a smaller preset.",
            )
        return found

    def _must_park(self, canvas: Canvas, frames: int) -> bool:
        budget = self._device.memory_bytes
        kept = memory_need(canvas, frames, self._precision, unet_parked=False)
        return self._device.kind == "cuda" and 0 < budget < kept
