"""Loads VideoMaMa's published layout: the UNet and SVD's VAE, safetensors only.

Every way in which a file can be wrong ends in an `InputError` that names the file, what was found and where a good one
comes from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mattebridge.errors import InputError
from mattebridge_server.models import folders
from mattebridge_server.models.base import Weights
from mattebridge_server.models.cpu_precision import compute_in_float32
from mattebridge_server.models.videomama.card import CARD, UNET, VAE
from mattebridge_server.models.videomama.network import Network

SOURCES = {weights.path: weights for weights in CARD.weights}


def load_network(model_folders: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Network:
    """The networks on ``device``.

    The VAE's encoder overflows in float16, as its own configuration says (force_upcast), and is kept in float32 there.
    Raises `ModelNotInstalled` for a missing file and `InputError` for a wrong one.
    """
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    files = folders.require(CARD, model_folders)
    unet = _load_module(UNetSpatioTemporalConditionModel, UNET, "diffusion_pytorch_model.safetensors", files, dtype)
    vae = _load_module(AutoencoderKLTemporalDecoder, VAE, "diffusion_pytorch_model.fp16.safetensors", files, dtype)
    _check_channels(files[f"{UNET}/config.json"], unet, in_channels=12, out_channels=4)
    _check_channels(files[f"{VAE}/config.json"], vae, latent_channels=4, out_channels=3)
    encode_dtype = torch.float32 if dtype is torch.float16 and vae.config.force_upcast else dtype
    vae.encoder.to(encode_dtype)
    vae.quant_conv.to(encode_dtype)
    if device.type == "cpu" and dtype is not torch.float32:
        compute_in_float32(unet)
        compute_in_float32(vae)
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return Network(
        unet=unet.to(device),
        vae=vae.to(device),
        device=device,
        dtype=dtype,
        encode_dtype=encode_dtype,
        scale=scale,
        multiple=scale * 2 ** (len(unet.config.block_out_channels) - 1),
    )


def _load_module(cls: Any, folder: str, name: str, files: dict[str, Path], dtype: torch.dtype) -> Any:
    config_path, weights_path = files[f"{folder}/config.json"], files[f"{folder}/{name}"]
    config = _read_config(config_path, cls.__name__)
    try:
        with torch.device("meta"):
            module = cls.from_config(config)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise _wrong(config_path, f"does not describe a {cls.__name__} ({error})") from error
    state = _read_state(weights_path, dtype)
    _check_state(weights_path, module, state)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _read_config(path: Path, class_name: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(path, f"is not readable JSON ({error})") from error
    if not isinstance(config, dict) or config.get("_class_name") != class_name:
        found = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
        raise _wrong(path, f"is for {found!r}, not for {class_name}")
    return config


def _read_state(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors by name, converted one at a time so that the host never holds two copies of 6 GB."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise _wrong(path, f"is truncated or not a safetensors file ({error})") from error


def _check_state(path: Path, module: Any, state: dict[str, torch.Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    lacking = sorted(expected.keys() - state.keys())
    if lacking:
        raise _wrong(path, f"lacks {len(lacking)} of {len(expected)} tensors, first {lacking[0]}")
    surplus = sorted(state.keys() - expected.keys())
    if surplus:
        raise _wrong(path, f"holds {len(surplus)} tensors that the network does not have, first {surplus[0]}")
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise _wrong(path, f"has {name} of shape {tuple(state[name].shape)} where the config means {shape}")


def _check_channels(path: Path, module: Any, **expected: int) -> None:
    for name, value in expected.items():
        if module.config[name] != value:
            raise _wrong(path, f"has {name} {module.config[name]}; VideoMaMa has {value}")


def _wrong(path: Path, what: str) -> InputError:
    suffix = "/".join(path.parts[-3:])
    weights: Weights | None = SOURCES.get(suffix)
    origin = folders.source(weights) if weights else "it"
    return InputError(
        f"{path.name} {what}",
        remedy=f"Remove it and get {origin} again: `mattebridge models pull videomama`, or copy it there.",
        file=str(path),
    )
