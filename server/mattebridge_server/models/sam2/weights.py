"""Loads SAM2 from either layout: transformers' folder, or the original repository's ``.pt`` checkpoint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mattebridge.errors import InputError
from mattebridge_server.models import folders
from mattebridge_server.models.base import ModelCard
from mattebridge_server.models.sam2.card import Size
from mattebridge_server.models.sam2.convert import convert_names, is_original, published_size


def load_model(card: ModelCard, model_folders: Sequence[Path], device: torch.device, dtype: torch.dtype) -> Any:
    """`Sam2VideoModel` on ``device``.

    Raises `ModelNotInstalled` for missing files and `InputError` for wrong ones.
    """
    files = list(folders.require(card, model_folders).values())
    checkpoint = next((path for path in files if path.suffix == ".pt"), None)
    model = _from_checkpoint(checkpoint) if checkpoint else _from_folder(files[0].parent)
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _from_folder(folder: Path) -> Any:
    from transformers import Sam2VideoModel
    from transformers.utils import logging

    config = _read_config(folder / "config.json")
    load: Any = Sam2VideoModel.from_pretrained
    quiet: Any = logging.disable_progress_bar
    quiet()  # the engine's output is not a terminal
    try:
        model, info = load(folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _wrong(folder / "model.safetensors", f"cannot be loaded ({str(error).splitlines()[0]})") from error
    except Exception as error:
        # safetensors raises a class of its own, outside every tree above, for a truncated file.
        if type(error).__name__ != "SafetensorError":
            raise
        raise _wrong(folder / "model.safetensors", f"is truncated or not a safetensors file ({error})") from error
    _check(folder / "model.safetensors", info["missing_keys"], info["unexpected_keys"])
    return model


def _from_checkpoint(path: Path) -> Any:
    """Unpickled with ``weights_only``: a checkpoint may hold tensors and nothing that runs."""
    from transformers import Sam2VideoModel

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _wrong(path, f"is not a checkpoint of tensors only ({str(error).splitlines()[0]})") from error
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not is_original(state):
        raise _wrong(path, "does not hold a SAM2 network under its original names")
    beside = path.with_name("config.json")
    config = _read_config(beside) if beside.is_file() else _published_config(published_size(state))
    model = Sam2VideoModel(config)
    try:
        missing, unexpected = model.load_state_dict(convert_names(state), strict=False)
    except RuntimeError as error:
        raise _wrong(path, f"does not fit its architecture ({str(error).splitlines()[-1].strip()})") from error
    _check(path, missing, unexpected)
    return model


def _published_config(size: Size) -> Any:
    from transformers import Sam2VideoConfig

    dims = [size.embed * 2**stage for stage in range(4)]
    return Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_channel_list": dims[::-1],
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": size.embed,
                "num_attention_heads": size.heads,
                "blocks_per_stage": list(size.blocks),
                "embed_dim_per_stage": dims,
                "num_attention_heads_per_stage": [size.heads * 2**stage for stage in range(4)],
                "window_size_per_stage": list(size.windows),
                "window_positional_embedding_background_size": list(size.background),
                "global_attention_blocks": list(size.global_blocks),
            },
        }
    )


def _read_config(path: Path) -> Any:
    from transformers import Sam2VideoConfig

    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(path, f"is not readable JSON ({error})") from error
    kind = stated.get("model_type") if isinstance(stated, dict) else None
    if kind != "sam2_video":
        raise _wrong(path, f"describes {kind!r}, not 'sam2_video'")
    return Sam2VideoConfig.from_dict(stated)


def _check(path: Path, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    if missing:
        raise _wrong(path, f"lacks {len(missing)} tensors, first {sorted(missing)[0]}")
    if unexpected:
        raise _wrong(path, f"holds {len(unexpected)} tensors that SAM2 does not have, first {sorted(unexpected)[0]}")


def _wrong(path: Path, what: str) -> InputError:
    return InputError(
        f"{path.name} {what}",
        remedy="Use SAM2.1 in transformers' layout (config.json, model.safetensors) or its authors' .pt checkpoint.",
        file=str(path),
    )
