"""VideoMaMa as functions of tensors: plate, mask and noise in, alpha out.

    image ──encode──► plate latent c ┐
    mask  ──encode──► mask latent  m ├─ [n, c, m] 12 channels ──UNet, one step──► alpha latent ──decode──► alpha
    noise ──────────────────────── n ┘

There is no scheduler, no text and no sampling: the UNet gives the clean alpha latent directly. Encodings are the
posterior's mean, unscaled; only the UNet's output is divided by the VAE's scaling factor. F frames, H x W pixels,
h x w latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mattebridge_server.models.videomama import fused
from mattebridge_server.models.videomama.card import DECODE_GROUP
from mattebridge_server.models.videomama.decode import PLAIN, decode_group

TIMESTEP = 1
FPS, MOTION_BUCKET, NOISE_AUGMENTATION = 7.0, 127.0, 0.0


@dataclass(frozen=True)
class Network:
    """The two loaded networks. ``scale`` is pixels per latent, ``multiple`` what H and W must be divisible by."""

    unet: Any
    vae: Any
    device: torch.device
    dtype: torch.dtype
    encode_dtype: torch.dtype
    scale: int
    multiple: int


def posterior_mean(vae: Any, centred: Tensor) -> Tensor:
    """The VAE's encoding of one image: (1, 3, H, W) in -1..1 -> (1, 4, h, w)."""
    mean: Tensor = vae.encode(centred).latent_dist.mode()
    return mean


@torch.inference_mode()
def encode(network: Network, image: Tensor, *, compiled: bool = False) -> Tensor:
    """Latent of one image: (1, 3, H, W) float32 in 0..1 on any device -> (1, 4, h, w), the posterior's mean.

    Always one frame: a batch gives other bits. Nothing waits for the device.
    """
    mean_of = fused.encoder() if compiled else posterior_mean
    centred = image.to(network.device, torch.float32).mul(2.0).sub_(1.0)
    return mean_of(network.vae, centred.to(network.encode_dtype)).to(network.dtype)


@torch.inference_mode()
def denoise(network: Network, noise: Tensor, plates: Tensor, masks: Tensor) -> Tensor:
    """Alpha latents: three (F, 4, h, w) -> (F, 4, h, w), divided by the scaling factor and ready to decode."""
    place: dict[str, Any] = {"device": network.device, "dtype": network.dtype}
    stacked = torch.cat([part.to(**place) for part in (noise, plates, masks)], dim=1)[None]  # [1, F, 12, h, w]
    context = torch.zeros(1, 1, int(network.unet.config.cross_attention_dim), **place)
    times = torch.tensor([[FPS, MOTION_BUCKET, NOISE_AUGMENTATION]], **place)
    timestep = torch.tensor([TIMESTEP], device=network.device)
    latents: Tensor = network.unet(stacked, timestep, context, added_time_ids=times, return_dict=False)[0]
    return latents[0].div(float(network.vae.config.scaling_factor))


@torch.inference_mode()
def decode(network: Network, latents: Tensor, *, compiled: bool = False) -> Iterator[Tensor]:
    """Alpha of each group of eight frames in turn: (F, 4, h, w) -> (up to 8, H, W) float32 in 0..1 on the device.

    Nothing waits for the device. ``compiled`` holds for whole groups only.
    """
    for group in torch.split(latents, DECODE_GROUP):
        whole = group.shape[0] == DECODE_GROUP
        images = decode_group(network.vae.decoder, group, fused.layers() if compiled and whole else PLAIN)
        yield images.float().mul_(0.5).add_(0.5).clamp_(0.0, 1.0).mean(dim=1)


def refine(network: Network, frames: Tensor, masks: Tensor, noise: Tensor, *, compiled: bool = False) -> Tensor:
    """Alpha of one window: frames (F, 3, H, W) and masks (F, 1, H, W) float32 in 0..1, noise (F, 4, h, w).

    Returns (F, H, W) float32 in 0..1 on the host. A pure function: nothing is cached, nothing is drawn.
    """
    triple = masks.expand(-1, 3, -1, -1)
    plates, mask_latents = (
        torch.cat([encode(network, image[None], compiled=compiled) for image in images]) for images in (frames, triple)
    )
    latents = denoise(network, noise, plates, mask_latents)
    return torch.cat(list(decode(network, latents, compiled=compiled))).cpu()


def park_unet(network: Network) -> None:
    """The UNet's weights to the host: room for the decoder. They come back when the next window needs them."""
    network.unet.to("cpu")
    if network.device.type == "cuda":
        torch.cuda.empty_cache()


def fetch_unet(network: Network) -> None:
    """The UNet's weights to the device, where most times they are.

    Before it is needed and not after decoding: where a full device bars the way back, the next try asks again.
    """
    network.unet.to(network.device)
