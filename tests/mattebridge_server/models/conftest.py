"""Windows over arrays, and small networks with random weights in the published layouts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_server.models.base import Prompt, Window

Float32 = NDArray[np.float32]
GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"


class ArrayWindow(Window):
    """Frames from dictionaries; keys are digests of the pixels; ``read`` lists the plates fetched so far."""

    def __init__(
        self,
        plates: Mapping[int, Float32],
        masks: Mapping[int, Float32 | None],
        wanted: tuple[int, ...] | None = None,
        prompts: tuple[Prompt, ...] = (),
    ) -> None:
        self.numbers = tuple(sorted(plates))
        self.wanted = self.numbers if wanted is None else wanted
        self.prompts = prompts
        self.read: list[int] = []
        self._plates, self._masks = plates, masks

    def plate(self, number: int) -> Float32:
        self.read.append(number)
        return self._plates[number]

    def mask(self, number: int) -> Float32 | None:
        return self._masks.get(number)

    def plate_key(self, number: int) -> str:
        return _digest(self._plates[number])

    def mask_key(self, number: int) -> str:
        return _digest(self._masks.get(number))


def _digest(pixels: Float32 | None) -> str:
    return "" if pixels is None else hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.fixture
def array_window() -> type[ArrayWindow]:
    return ArrayWindow


@pytest.fixture
def golden() -> Path:
    """A small random model in VideoMaMa's published layout, its inputs, and the alpha of the reference."""
    return GOLDEN


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small networks lose more to threads that wait for each other than they gain, above all on a busy machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


Shot = Callable[..., tuple[dict[int, Float32], dict[int, Float32]]]


@pytest.fixture
def moving_disc() -> Shot:
    """``moving_disc(count, size, start)``: noisy plates and soft disc masks by frame number."""

    def make(count: int, size: int = 32, start: int = 1001) -> tuple[dict[int, Float32], dict[int, Float32]]:
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        plates, masks = {}, {}
        for i in range(count):
            generator = np.random.default_rng(i)
            distance = np.hypot(rows - size / 2, columns - size / 3 - i * size / 100)
            mask = np.clip(size / 4 - distance + 0.5, 0, 1).astype(np.float32)
            noise = generator.random((size, size, 3), dtype=np.float32)
            plates[start + i] = (0.25 * noise + 0.6 * mask[..., None]).astype(np.float32)
            masks[start + i] = mask
        return plates, masks

    return make


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
