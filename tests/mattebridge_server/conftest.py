"""Small networks with random weights in the published layouts, for every test of the server that needs one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def _sam2_config() -> Any:
    from transformers import Sam2VideoConfig

    return Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 128,
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "image_size": [128, 128],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [4, 2, 4, 2],
                "global_attention_blocks": [3],
            },
        },
        prompt_encoder_config={"hidden_size": 128, "image_size": 128, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=128,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
    )


@pytest.fixture(scope="session")
def sam2_model() -> Any:
    """A small `Sam2VideoModel` at 128 x 128 whose random weights are loud enough to tell frames apart."""
    torch = pytest.importorskip("torch", reason="the [models] extra is not installed")
    from transformers import Sam2VideoModel

    torch.manual_seed(5)
    model = Sam2VideoModel(_sam2_config())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.0 / parameter[0].numel() ** 0.5)
        matrix = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(matrix)
        # The object is there: an absent one would give the same empty mask on every frame.
        model.mask_decoder.pred_obj_score_head.proj_out.weight.zero_()
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    model.train(False)
    return model.requires_grad_(False)


@pytest.fixture(scope="session")
def sam2_folder(sam2_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with that network as ``sam2.1-hiera-tiny`` and as ``sam2-matte``, in transformers' layout."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("sam2.1-hiera-tiny", "sam2-matte"):
        sam2_model.save_pretrained(folder / name)
    return folder
