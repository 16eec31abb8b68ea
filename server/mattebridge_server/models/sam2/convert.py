"""Checkpoints of the original SAM2 repository in the names that transformers' `Sam2VideoModel` uses.

The two hold the same tensors under other names, but for three things: the four point embeddings are one matrix here,
the positional matrix of the prompt encoder is held twice, and a 3-layer perceptron's layers 0, 1, 2 are called
proj_in, layers.0, proj_out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mattebridge.errors import InputError
from mattebridge_server.models.sam2.card import SIZES, Size

if TYPE_CHECKING:
    from torch import Tensor

POSITIONS = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
POINTS = "sam_prompt_encoder.point_embeddings"

SINGLE = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}
# (pattern of the original name, name here): tried in order, the first match wins.
RULES: tuple[tuple[str, str], ...] = (
    (r"image_encoder\.trunk\.patch_embed\.proj\.(.*)", r"vision_encoder.backbone.patch_embed.projection.\1"),
    (r"image_encoder\.trunk\.(blocks\.\d+)\.norm(\d)\.(.*)", r"vision_encoder.backbone.\1.layer_norm\2.\3"),
    (r"image_encoder\.trunk\.(blocks\.\d+\.mlp)\.layers\.0\.(.*)", r"vision_encoder.backbone.\1.proj_in.\2"),
    (r"image_encoder\.trunk\.(blocks\.\d+\.mlp)\.layers\.1\.(.*)", r"vision_encoder.backbone.\1.proj_out.\2"),
    (r"image_encoder\.trunk\.(.*)", r"vision_encoder.backbone.\1"),
    (r"image_encoder\.neck\.convs\.(\d+)\.conv\.(.*)", r"vision_encoder.neck.convs.\1.\2"),
    (r"sam_prompt_encoder\.mask_downscaling\.0\.(.*)", r"prompt_encoder.mask_embed.conv1.\1"),
    (r"sam_prompt_encoder\.mask_downscaling\.1\.(.*)", r"prompt_encoder.mask_embed.layer_norm1.\1"),
    (r"sam_prompt_encoder\.mask_downscaling\.3\.(.*)", r"prompt_encoder.mask_embed.conv2.\1"),
    (r"sam_prompt_encoder\.mask_downscaling\.4\.(.*)", r"prompt_encoder.mask_embed.layer_norm2.\1"),
    (r"sam_prompt_encoder\.mask_downscaling\.6\.(.*)", r"prompt_encoder.mask_embed.conv3.\1"),
    (r"sam_prompt_encoder\.(.*)", r"prompt_encoder.\1"),
    (r"sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.0\.(.*)", r"mask_decoder.\1.proj_in.\2"),
    (r"sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.1\.(.*)", r"mask_decoder.\1.proj_out.\2"),
    (r"sam_mask_decoder\.(transformer\.layers\.\d+)\.norm(\d)\.(.*)", r"mask_decoder.\1.layer_norm\2.\3"),
    (r"sam_mask_decoder\.transformer\.norm_final_attn\.(.*)", r"mask_decoder.transformer.layer_norm_final_attn.\1"),
    (r"sam_mask_decoder\.(transformer\..*)\.out_proj\.(.*)", r"mask_decoder.\1.o_proj.\2"),
    (r"sam_mask_decoder\.output_upscaling\.0\.(.*)", r"mask_decoder.upscale_conv1.\1"),
    (r"sam_mask_decoder\.output_upscaling\.1\.(.*)", r"mask_decoder.upscale_layer_norm.\1"),
    (r"sam_mask_decoder\.output_upscaling\.3\.(.*)", r"mask_decoder.upscale_conv2.\1"),
    (r"sam_mask_decoder\.(.*)", r"mask_decoder.\1"),
    (r"memory_attention\.(layers\.\d+)\.norm(\d)\.(.*)", r"memory_attention.\1.layer_norm\2.\3"),
    (r"memory_attention\.(.*)\.out_proj\.(.*)", r"memory_attention.\1.o_proj.\2"),
    (r"memory_attention\.norm\.(.*)", r"memory_attention.layer_norm.\1"),
    (r"memory_encoder\.fuser\.(layers\.\d+)\.gamma", r"memory_encoder.memory_fuser.\1.scale"),
    (r"memory_encoder\.fuser\.(layers\.\d+)\.dwconv\.(.*)", r"memory_encoder.memory_fuser.\1.depthwise_conv.\2"),
    (r"memory_encoder\.fuser\.(layers\.\d+)\.pwconv(\d)\.(.*)", r"memory_encoder.memory_fuser.\1.pointwise_conv\2.\3"),
    (r"memory_encoder\.fuser\.(layers\.\d+)\.norm\.(.*)", r"memory_encoder.memory_fuser.\1.layer_norm.\2"),
    (r"memory_encoder\.pix_feat_proj\.(.*)", r"memory_encoder.feature_projection.\1"),
    (r"memory_encoder\.out_proj\.(.*)", r"memory_encoder.projection.\1"),
    (r"obj_ptr_proj\.(.*)", r"object_pointer_proj.\1"),
    (r"obj_ptr_tpos_proj\.(.*)", r"temporal_positional_encoding_projection_layer.\1"),
)
PERCEPTRON = re.compile(
    r"(mask_decoder\.output_hypernetworks_mlps\.\d+|mask_decoder\.iou_prediction_head|"
    r"mask_decoder\.pred_obj_score_head|object_pointer_proj)\.layers\.(\d)\.(.*)"
)
PERCEPTRON_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
DOWNSAMPLER = re.compile(r"memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(.*)")


def is_original(names: Mapping[str, object]) -> bool:
    """Whether these are names of the original repository."""
    return any(name.startswith("image_encoder.trunk.") for name in names)


def convert_names(original: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under transformers' names. Raises `InputError` for a state that lacks the point embeddings."""
    import torch

    last = max((int(m[1]) for name in original if (m := DOWNSAMPLER.fullmatch(name))), default=0)
    result: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for name, tensor in original.items():
        if name.startswith(POINTS + "."):
            points[int(name.removeprefix(POINTS + ".").split(".")[0])] = tensor
        elif name == POSITIONS:
            result["shared_image_embedding.positional_embedding"] = tensor
            result["prompt_encoder.shared_embedding.positional_embedding"] = tensor
        else:
            result[_new_name(name, last)] = tensor
    if sorted(points) != [0, 1, 2, 3]:
        raise InputError(
            f"the checkpoint has {len(points)} point embeddings where SAM2 has 4", remedy="Use a SAM2.1 checkpoint."
        )
    result["prompt_encoder.point_embed.weight"] = torch.cat([points[i] for i in range(4)])
    return result


def _new_name(name: str, last_downsampler_layer: int) -> str:
    if name in SINGLE:
        return SINGLE[name]
    if match := DOWNSAMPLER.fullmatch(name):
        index, rest = int(match[1]), match[2]
        if index == last_downsampler_layer:
            return f"memory_encoder.mask_downsampler.final_conv.{rest}"
        # conv, norm and activation take turns
        kind = "conv" if index % 3 == 0 else "layer_norm"
        return f"memory_encoder.mask_downsampler.layers.{index // 3}.{kind}.{rest}"
    for pattern, replacement in RULES:
        if match := re.fullmatch(pattern, name):
            name = match.expand(replacement)
            break
    if match := PERCEPTRON.fullmatch(name):
        return f"{match[1]}.{PERCEPTRON_LAYERS[match[2]]}.{match[3]}"
    return name


def published_size(original: Mapping[str, Tensor]) -> Size:
    """Which published size a checkpoint is, from its width and depth. Raises `InputError` for any other."""
    weight = original.get("image_encoder.trunk.patch_embed.proj.weight")
    width = 0 if weight is None else int(weight.shape[0])
    depth = 1 + max((int(name.split(".")[3]) for name in original if ".trunk.blocks." in name), default=-1)
    for size in SIZES:
        if (size.embed, sum(size.blocks)) == (width, depth):
            return size
    raise InputError(
        f"the checkpoint's image encoder is {width} wide and {depth} blocks deep, which is no published SAM2 size",
        remedy="Put the config.json of its architecture (model_type sam2_video) beside it.",
    )
