"""The temporal decoder of the SVD VAE, spatial layers frame by frame, temporal layers on the group.

Decoding eight frames at 1024 x 576 in one call of the library needs 9 GiB of activations in bf16, most of it in the
spatial layers, which do not look across frames at all. Here each spatial layer sees one frame; only the temporal
residual blocks, whose convolution and group norm run over all frames of the group, see the stack, and they reuse
their buffers: 3.4 GiB. The order of work does not change the result: it is the library's, layer for layer.

A group is part of the result (another grouping changes it), so callers count groups from the start of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

Module = Any
"""A layer of diffusers' `TemporalDecoder`; the library ships no type information."""


def spatial(block: Module, frame: Tensor) -> Tensor:
    """The spatial half of a residual block: [1, C, h, w] -> [1, C', h, w]."""
    result: Tensor = block.spatial_res_block(frame, None)
    return result


def temporal(block: Module, frames: list[Tensor]) -> Tensor:
    """The temporal half, on the group: F times [1, C, h, w], which it uses up -> [F, C, h, w]. The library's sum."""
    stack = torch.cat(frames)[None].transpose(1, 2)  # [1, C, F, h, w]
    frames.clear()
    half = block.temporal_res_block
    # Three stacks are alive at the most: every name is dropped as soon as its layer has been applied.
    normed = nnf.silu(half.norm1(stack), inplace=True)
    hidden = half.conv1(normed)
    del normed
    normed = nnf.silu(half.norm2(hidden), inplace=True)
    del hidden
    hidden = half.conv2(normed)
    del normed
    hidden += stack
    # The decoder was trained with the two sides of the blend exchanged (switch_spatial_to_temporal_mix).
    share = 1.0 - torch.sigmoid(block.time_mixer.mix_factor).to(stack.dtype)
    return _frames_first(stack.mul_(share).add_(hidden.mul_(1.0 - share)))


def head(decoder: Module, frame: Tensor) -> Tensor:
    """What follows the last block: [1, C, H, W] -> [1, 3, H, W]."""
    result: Tensor = decoder.conv_out(nnf.silu(decoder.conv_norm_out(frame), inplace=True))
    return result


@dataclass(frozen=True)
class Layers:
    """How the decoder's parts are called: as they are, or compiled."""

    spatial: Callable[[Module, Tensor], Tensor] = spatial
    temporal: Callable[[Module, list[Tensor]], Tensor] = temporal
    head: Callable[[Module, Tensor], Tensor] = head


PLAIN = Layers()


def decode_group(decoder: Module, latents: Tensor, layers: Layers = PLAIN) -> Tensor:
    """Frames of one group: latents (F, 4, h, w) -> images (F, 3, H, W), both in the decoder's dtype.

    ``decoder`` is ``AutoencoderKLTemporalDecoder.decoder``; latents are unscaled (divided by the scaling factor).
    """
    frames = [decoder.conv_in(latents[i : i + 1]) for i in range(latents.shape[0])]  # [1, C, h, w] each
    frames = _residual(layers, decoder.mid_block.resnets[0], frames)
    # As in the library, one attention serves each but the first residual block; the shorter of the two lists decides.
    for block, attention in zip(decoder.mid_block.resnets[1:], decoder.mid_block.attentions, strict=False):
        frames = _residual(layers, block, _each(attention, frames))
    for up_block in decoder.up_blocks:
        for block in up_block.resnets:
            frames = _residual(layers, block, frames)
        for upsampler in up_block.upsamplers or ():
            frames = _each(upsampler, frames)
    for i, frame in enumerate(frames):
        frames[i] = layers.head(decoder, frame)
    stack = torch.cat(frames)[None].transpose(1, 2)  # [1, 3, F, H, W]
    return _frames_first(decoder.time_conv_out(stack))


def _each(layer: Module, frames: list[Tensor]) -> list[Tensor]:
    """Applies a spatial layer to one frame at a time, letting go of each input as soon as it is used."""
    for i in range(len(frames)):
        frames[i] = layer(frames[i])
    return frames


def _residual(layers: Layers, block: Module, frames: list[Tensor]) -> list[Tensor]:
    """One spatio-temporal residual block, its two halves in turn."""
    for i in range(len(frames)):
        frames[i] = layers.spatial(block, frames[i])
    return list(torch.split(layers.temporal(block, frames), 1))


def _frames_first(stack: Tensor) -> Tensor:
    """[1, C, F, h, w] -> [F, C, h, w] without a copy where the layout allows it."""
    return stack[0].transpose(0, 1)
