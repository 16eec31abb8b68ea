"""Weights that are missing or wrong: which file, what is wrong with it, where a good one comes from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mattebridge.errors import InputError, ModelNotInstalled
from mattebridge_server.models import folders
from mattebridge_server.models.base import Canvas, Device, LoadSpec
from mattebridge_server.models.videomama import VideoMaMa
from mattebridge_server.models.videomama.card import CARD, GIB, UNET, VAE

UNET_FILE = f"{UNET}/diffusion_pytorch_model.safetensors"
VAE_FILE = f"{VAE}/diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture
def copied(golden: Path, tmp_path: Path) -> Path:
    """A model folder copied by hand."""
    return shutil.copytree(golden, tmp_path / "models")


def _load(*model_folders: Path) -> VideoMaMa:
    pytest.importorskip("torch", reason="the [models] extra is not installed")
    model = VideoMaMa()
    model.load(LoadSpec(Device(threads=1), "fp32", model_folders))
    return model


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.models
def test_a_folder_copied_by_hand_loads(copied: Path) -> None:
    assert _load(copied).digest().startswith(f"videomama/{CARD.version}/")


@pytest.mark.models
def test_files_may_lie_in_several_folders(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "site"
    shutil.move(copied / "VideoMaMa", other / "VideoMaMa")
    assert _load(tmp_path / "absent", other, copied).digest() == _load(copied, other).digest()


@pytest.mark.models
@pytest.mark.parametrize("name", [f"{UNET}/config.json", UNET_FILE, f"{VAE}/config.json", VAE_FILE])
def test_a_missing_file_is_named_with_its_source_and_how_to_get_it(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelNotInstalled) as caught:
        _load(copied)
    text = str(caught.value)
    assert name in text and "mattebridge models pull videomama" in text
    assert ("SammyLim/VideoMaMa" if UNET in name else "stabilityai/stable-video-diffusion-img2vid-xt") in text


@pytest.mark.models
@pytest.mark.parametrize("name", [UNET_FILE, VAE_FILE])
def test_a_truncated_file_is_named(copied: Path, name: str) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated") as caught:
        _load(copied)
    assert caught.value.file == str(path)


@pytest.mark.models
def test_a_pickle_in_place_of_safetensors_is_never_unpickled(copied: Path) -> None:
    (copied / UNET_FILE).write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(InputError, match="not a safetensors file"):
        _load(copied)


@pytest.mark.models
def test_the_plain_svd_unet_is_told_from_videomamas(copied: Path) -> None:
    _edit(copied / UNET / "config.json", in_channels=8)
    with pytest.raises(InputError, match=r"conv_in\.weight of shape"):
        _load(copied)


@pytest.mark.models
def test_a_config_of_another_network_is_named(copied: Path) -> None:
    _edit(copied / VAE / "config.json", _class_name="AutoencoderKL")
    with pytest.raises(InputError, match="AutoencoderKL"):
        _load(copied)


@pytest.mark.models
def test_a_config_that_is_not_json_is_named(copied: Path) -> None:
    (copied / UNET / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="JSON"):
        _load(copied)


@pytest.mark.models
def test_lacking_and_surplus_tensors_are_counted(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copied / VAE_FILE)
    state["decoder.extra"] = state.pop("quant_conv.bias")
    save_file(state, copied / VAE_FILE)
    with pytest.raises(InputError, match=r"lacks 1 of .* quant_conv\.bias"):
        _load(copied)


@pytest.mark.models
def test_a_load_that_fails_leaves_the_old_network_in_service(copied: Path, array_window: Any, moving_disc: Any) -> None:
    model = _load(copied)
    digest = model.digest()
    (copied / UNET_FILE).write_bytes(b"")
    with pytest.raises(InputError):
        model.load(LoadSpec(Device(threads=1), "fp32", (copied,)))
    assert model.digest() == digest
    assert len(list(model.run(array_window(*moving_disc(1, 16)), {}, lambda stage: None))) == 1


@pytest.mark.models
def test_a_precision_it_does_not_have_is_refused(copied: Path) -> None:
    with pytest.raises(InputError, match="int8"):
        VideoMaMa().load(LoadSpec(Device(), "int8", (copied,)))


def test_the_digest_changes_with_any_weight_and_not_with_the_place(copied: Path, golden: Path) -> None:
    path, same = copied / UNET_FILE, golden / UNET_FILE
    before = folders.weights_digest([path])
    assert before == folders.weights_digest([same])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert folders.weights_digest([path]) != before


def test_the_smallest_preset_fits_eleven_gib_and_the_sizes_are_multiples_of_64() -> None:
    small, medium, large = VideoMaMa.card.presets
    assert small.peak_bytes < 11 * GIB
    assert small.peak_bytes < medium.peak_bytes < large.peak_bytes
    assert [round(p.canvas_pixels / 1e6, 1) for p in (small, medium, large)] == [0.6, 1.2, 1.8]


def test_memory_grows_with_canvas_frames_and_precision() -> None:
    need = VideoMaMa().memory_need
    canvas = Canvas(1024, 576)
    assert need(canvas, 8, "bf16") < need(canvas, 16, "bf16") < need(canvas, 16, "fp32")
    assert need(canvas, 16, "bf16") < need(Canvas(1792, 1024), 16, "bf16")
