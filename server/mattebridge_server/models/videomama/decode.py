"""The temporal decoder of the SVD VAE, spatial layers frame by frame, temporal layers on the group.

Decoding eight frames at 1024 x 576 in one call of the library needs 9 GiB of activations in bf16, most of it in the
spatial layers, which do not look across frames at all. Here each spatial layer sees one frame; only the temporal
residual blocks, whose convolution and group norm run over all frames of the group, see the stack, and they reuse
their buffers: 3.4 GiB. The order of work does not change the result: it is the library's, layer for layer.

A group is part of the result (another grouping changes it), so callers count groups from the start of a window.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

Module = Any
"""A layer of diffusers' `TemporalDecoder`; the library ships no type information."""


def decode_group(decoder: Module, latents: Tensor) -> Tensor:
    """Frames of one group: latents (F, 4, h, w) -> images (F, 3, H, W), both in the decoder's dtype.

    ``decoder`` is ``AutoencoderKLTemporalDecoder.decoder``; latents are unscaled (divided by the scaling factor).
    """
    frames = [decoder.conv_in(latents[i : i + 1]) for i in range(latents.shape[0])]  # [1, C, h, w] each
    frames = _residual(decoder.mid_block.resnets[0], frames)
    # As in the library, one attention serves each but the first residual block; the shorter of the two lists decides.
    for block, attention in zip(decoder.mid_block.resnets[1:], decoder.mid_block.attentions, strict=False):
        frames = _each(attention, frames)
        frames = _residual(block, frames)
    for up_block in decoder.up_blocks:
        for block in up_block.resnets:
            frames = _residual(block, frames)
        for upsampler in up_block.upsamplers or ():
            frames = _each(upsampler, frames)
    for i, frame in enumerate(frames):
        frames[i] = decoder.conv_out(nnf.silu(decoder.conv_norm_out(frame), inplace=True))
    stack = torch.cat(frames)[None].transpose(1, 2)  # [1, 3, F, H, W]
    return _frames_first(decoder.time_conv_out(stack))


def _each(layer: Module, frames: list[Tensor]) -> list[Tensor]:
    """Applies a spatial layer to one frame at a time, letting go of each input as soon as it is used."""
    for i in range(len(frames)):
        frames[i] = layer(frames[i])
    return frames


def _residual(block: Module, frames: list[Tensor]) -> list[Tensor]:
    """One spatio-temporal residual block; the same sum as the library's, with buffers reused."""
    for i in range(len(frames)):
        frames[i] = block.spatial_res_block(frames[i], None)
    spatial = torch.cat(frames)[None].transpose(1, 2)  # [1, C, F, h, w]
    frames.clear()
    temporal = block.temporal_res_block
    # Three stacks are alive at the most: every name is dropped as soon as its layer has been applied.
    normed = nnf.silu(temporal.norm1(spatial), inplace=True)
    hidden = temporal.conv1(normed)
    del normed
    normed = nnf.silu(temporal.norm2(hidden), inplace=True)
    del hidden
    hidden = temporal.conv2(normed)
    del normed
    hidden += spatial
    # The decoder was trained with the two sides of the blend exchanged (switch_spatial_to_temporal_mix).
    share = 1.0 - torch.sigmoid(block.time_mixer.mix_factor).to(spatial.dtype)
    mixed = spatial.mul_(share).add_(hidden.mul_(1.0 - share))
    return list(torch.split(_frames_first(mixed), 1))


def _frames_first(stack: Tensor) -> Tensor:
    """[1, C, F, h, w] -> [F, C, h, w] without a copy where the layout allows it."""
    return stack[0].transpose(0, 1)
