"""SAM2 from both layouts: transformers' folder, and the original repository's checkpoint by its own names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mattebridge.errors import InputError, ModelNotInstalled
from mattebridge_server.models import folders
from mattebridge_server.models.base import Device, LoadSpec
from mattebridge_server.models.sam2 import Sam2, Sam2Matte
from mattebridge_server.models.sam2.card import SIZES, TRACK

torch = pytest.importorskip("torch", reason="the [models] extra is not installed")
pytestmark = pytest.mark.models

DOWNSAMPLER_LAYERS = 4


def original_name(name: str) -> list[str]:
    """The names under which the original repository holds what `Sam2VideoModel` calls ``name``.

    Written from the original modules' own attribute names, the other way round from the converter.
    """
    parts = name.split(".")
    if parts[0] == "vision_encoder":
        return ["image_encoder." + _image_encoder(parts[1:])]
    if parts[0] == "prompt_encoder":
        return _prompt_encoder(parts[1:])
    if parts[0] == "mask_decoder":
        return ["sam_mask_decoder." + _mask_decoder(parts[1:])]
    if parts[0] == "memory_attention":
        return [".".join(_attention(parts))]
    if parts[0] == "memory_encoder":
        return ["memory_encoder." + _memory_encoder(parts[1:])]
    renamed = {
        "memory_temporal_positional_encoding": "maskmem_tpos_enc",
        "no_memory_embedding": "no_mem_embed",
        "no_memory_positional_encoding": "no_mem_pos_enc",
        "no_object_pointer": "no_obj_ptr",
        "occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
        "temporal_positional_encoding_projection_layer": "obj_ptr_tpos_proj",
    }
    if parts[0] == "object_pointer_proj":
        return [".".join(["obj_ptr_proj", *_perceptron(parts[1:])])]
    if parts[0] == "shared_image_embedding":
        return ["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    return [".".join([renamed.get(parts[0], parts[0]), *parts[1:]])]


def _norms(parts: list[str]) -> list[str]:
    return [p.replace("layer_norm", "norm") for p in parts]


def _attention(parts: list[str]) -> list[str]:
    return [p.replace("o_proj", "out_proj") for p in _norms(parts)]


def _two_layers(parts: list[str]) -> list[str]:
    return ".".join(parts).replace("proj_in", "layers.0").replace("proj_out", "layers.1").split(".")


def _perceptron(parts: list[str]) -> list[str]:
    joined = ".".join(parts).replace("layers.0", "layers.1")
    return joined.replace("proj_in", "layers.0").replace("proj_out", "layers.2").split(".")


def _image_encoder(parts: list[str]) -> str:
    if parts[0] == "neck":
        return ".".join([*parts[:3], "conv", *parts[3:]])
    parts = ["trunk", *parts[1:]]
    if parts[1] == "patch_embed":
        parts[2] = "proj"
    if "mlp" in parts:
        parts = _two_layers(parts)
    return ".".join(_norms(parts))


def _prompt_encoder(parts: list[str]) -> list[str]:
    if parts[0] == "shared_embedding":
        return ["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    if parts[0] == "point_embed":
        return [f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    if parts[0] == "mask_embed":
        index = {"conv1": 0, "layer_norm1": 1, "conv2": 3, "layer_norm2": 4, "conv3": 6}[parts[1]]
        return [f"sam_prompt_encoder.mask_downscaling.{index}.{parts[2]}"]
    return ["sam_prompt_encoder." + ".".join(parts)]


def _mask_decoder(parts: list[str]) -> str:
    index = {"upscale_conv1": 0, "upscale_layer_norm": 1, "upscale_conv2": 3}.get(parts[0])
    if index is not None:
        return f"output_upscaling.{index}.{parts[1]}"
    if parts[0] == "transformer":
        return ".".join(_two_layers(_attention(parts)) if "mlp" in parts else _attention(parts))
    if parts[0] in ("output_hypernetworks_mlps", "iou_prediction_head", "pred_obj_score_head"):
        return ".".join(_perceptron(parts))
    return ".".join(parts)


def _memory_encoder(parts: list[str]) -> str:
    if parts[0] == "mask_downsampler":
        if parts[1] == "final_conv":
            return f"mask_downsampler.encoder.{3 * DOWNSAMPLER_LAYERS}.{parts[2]}"
        return f"mask_downsampler.encoder.{3 * int(parts[2]) + (parts[3] == 'layer_norm')}.{parts[4]}"
    if parts[0] == "memory_fuser":
        names = {"scale": "gamma", "depthwise_conv": "dwconv", "layer_norm": "norm"}
        names |= {"pointwise_conv1": "pwconv1", "pointwise_conv2": "pwconv2"}
        return ".".join(["fuser", *(names.get(p, p) for p in parts[1:])])
    return ".".join([{"feature_projection": "pix_feat_proj", "projection": "out_proj"}[parts[0]], *parts[1:]])


@pytest.fixture
def original_state(sam2_model: Any) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, tensor in sam2_model.state_dict().items():
        names = original_name(name)
        chunks = tensor.split(1) if len(names) > 1 else [tensor]
        state |= {old: chunk.clone() for old, chunk in zip(names, chunks, strict=True)}
    return state


@pytest.fixture
def checkpoint_folder(original_state: dict[str, Any], sam2_model: Any, tmp_path: Path) -> Path:
    """A model folder with an original checkpoint and, as its size is no published one, a config beside it."""
    folder = tmp_path / "models" / "sam2-matte"
    folder.mkdir(parents=True)
    torch.save({"model": original_state}, folder / "sam2-matte.pt")
    sam2_model.config.save_pretrained(folder)
    return folder.parent


def test_names_of_the_original_are_those_that_its_checkpoints_have(original_state: dict[str, Any]) -> None:
    for name in (
        "image_encoder.trunk.blocks.0.mlp.layers.1.bias",
        "image_encoder.neck.convs.3.conv.weight",
        "sam_prompt_encoder.point_embeddings.3.weight",
        "sam_mask_decoder.transformer.layers.1.cross_attn_image_to_token.out_proj.weight",
        "sam_mask_decoder.output_hypernetworks_mlps.2.layers.1.weight",
        "memory_attention.layers.0.cross_attn_image.k_proj.weight",
        "memory_encoder.mask_downsampler.encoder.12.weight",
        "memory_encoder.fuser.layers.1.gamma",
        "obj_ptr_proj.layers.2.bias",
        "maskmem_tpos_enc",
    ):
        assert name in original_state


def test_every_tensor_of_an_original_checkpoint_finds_its_place(
    checkpoint_folder: Path, sam2_folder: Path, sam2_model: Any
) -> None:
    from mattebridge_server.models.sam2.weights import load_model

    converted = load_model(Sam2Matte.card, (checkpoint_folder,), torch.device("cpu"), torch.float32)
    published = load_model(Sam2Matte.card, (sam2_folder,), torch.device("cpu"), torch.float32)
    for name, tensor in sam2_model.state_dict().items():
        assert torch.equal(converted.state_dict()[name], tensor), name
        assert torch.equal(published.state_dict()[name], tensor), name


def test_a_checkpoint_that_would_run_code_is_refused(checkpoint_folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    torch.save({"model": Trap()}, checkpoint_folder / "sam2-matte" / "sam2-matte.pt")
    with pytest.raises(InputError, match="tensors only"):
        Sam2Matte().load(LoadSpec(Device(threads=1), "", (checkpoint_folder,)))
    assert not marker.exists()


def test_lacking_and_foreign_tensors_are_named(checkpoint_folder: Path, original_state: dict[str, Any]) -> None:
    path = checkpoint_folder / "sam2-matte" / "sam2-matte.pt"
    load = LoadSpec(Device(threads=1), "", (checkpoint_folder,))
    lacking = {name: tensor for name, tensor in original_state.items() if name != "no_obj_ptr"}
    torch.save({"model": lacking}, path)
    with pytest.raises(InputError, match="lacks 1 tensors, first no_object_pointer"):
        Sam2Matte().load(load)
    torch.save({"model": {**original_state, "student.head": torch.zeros(1)}}, path)
    with pytest.raises(InputError, match=r"first student\.head"):
        Sam2Matte().load(load)
    torch.save({"weights": original_state}, path)
    with pytest.raises(InputError, match="original names"):
        Sam2Matte().load(load)


def test_a_size_that_nobody_published_asks_for_its_config(checkpoint_folder: Path) -> None:
    (checkpoint_folder / "sam2-matte" / "config.json").unlink()
    with pytest.raises(InputError, match=r"16 wide and 5 blocks deep.*config\.json"):
        Sam2Matte().load(LoadSpec(Device(threads=1), "", (checkpoint_folder,)))


def test_a_truncated_safetensors_file_is_named(sam2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sam2_folder, tmp_path / "models")
    path = folder / "sam2-matte" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        Sam2Matte().load(LoadSpec(Device(threads=1), "", (folder,)))
    assert caught.value.file == str(path)


def test_any_published_size_serves_and_the_largest_is_what_is_asked_for(sam2_folder: Path, tmp_path: Path) -> None:
    tiny = folders.find(TRACK, (sam2_folder,))
    assert [file.weights.repo for file in tiny] == ["facebook/sam2.1-hiera-tiny"] * 2
    with pytest.raises(ModelNotInstalled, match=r"sam2\.1-hiera-large/config\.json"):
        Sam2().load(LoadSpec(Device(threads=1), "", (tmp_path,)))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_published_sizes_have_the_published_number_of_parameters(size: Any) -> None:
    from transformers import Sam2VideoModel

    from mattebridge_server.models.sam2.weights import _published_config

    with torch.device("meta"):
        model = Sam2VideoModel(_published_config(size))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count, -5) == size.parameters
    assert {"tiny": 39_000_000, "large": 224_400_000}.get(size.name, size.parameters) == size.parameters
