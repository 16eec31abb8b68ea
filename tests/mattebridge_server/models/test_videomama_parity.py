"""Our VideoMaMa gives the reference implementation's alpha, in every precision, however its decoder is arranged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the [models] extra is not installed")

from safetensors.torch import load_file  # noqa: E402

from mattebridge_server.models.base import Device  # noqa: E402
from mattebridge_server.models.execution import reproducible  # noqa: E402
from mattebridge_server.models.videomama import network as net  # noqa: E402
from mattebridge_server.models.videomama.decode import decode_group  # noqa: E402
from mattebridge_server.models.videomama.weights import load_network  # noqa: E402

pytestmark = pytest.mark.models


def _load(golden: Path, dtype: Any) -> net.Network:
    return load_network((golden,), torch.device("cpu"), dtype)


def _refine(golden: Path, dtype: Any, count: int = 12) -> tuple[Any, Any]:
    """Our alpha for the first ``count`` frames of the golden clip, and the reference's, which saw all of it."""
    data = load_file(golden / "golden.safetensors")
    frames = data["rgb"][:count].permute(0, 3, 1, 2).float() / 255
    masks = data["mask"][:count, None].float() / 255
    with reproducible(Device(threads=1)):
        return net.refine(_load(golden, dtype), frames, masks, data["noise"][0, :count]), data["alpha"]


def test_float32_matches_the_reference_within_2e_5(golden: Path) -> None:
    alpha, expected = _refine(golden, torch.float32)
    assert alpha.shape == (12, 64, 128) and alpha.dtype is torch.float32
    assert float((alpha - expected).abs().max()) <= 2e-5


@pytest.mark.slow
def test_bfloat16_matches_the_reference_within_2e_2(golden: Path) -> None:
    alpha, expected = _refine(golden, torch.bfloat16)
    assert float((alpha - expected).abs().max()) <= 2e-2


@pytest.mark.parametrize(("name", "limit"), [("bfloat16", 2e-2), ("float16", 5e-3)])
def test_two_byte_precisions_stay_near_float32_without_being_it(golden: Path, name: str, limit: float) -> None:
    alpha, _ = _refine(golden, getattr(torch, name), 2)
    exact, _ = _refine(golden, torch.float32, 2)
    assert 1e-5 < float((alpha - exact).abs().max()) <= limit


def test_float16_keeps_the_encoder_in_float32(golden: Path) -> None:
    network = _load(golden, torch.float16)
    assert network.encode_dtype is torch.float32
    assert next(network.vae.encoder.parameters()).dtype is torch.float32
    assert next(network.vae.decoder.parameters()).dtype is torch.float16


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_decoding_frame_by_frame_gives_the_bits_of_the_library(
    golden: Path, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library on the whole group, its spatial layers told to take one frame at a time: a batch rounds otherwise."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    network = _load(golden, torch.float32)
    latents = torch.randn(frames, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), reproducible(Device(threads=1)):
        ours = decode_group(network.vae.decoder, latents)
        batched = network.vae.decode(latents, num_frames=frames).sample
        for layer in (Attention, ResnetBlock2D, Upsample2D, torch.nn.Conv2d):
            monkeypatch.setattr(layer, "forward", _one_by_one(layer.forward))
        alone = network.vae.decode(latents, num_frames=frames).sample
    assert torch.equal(ours, alone)
    assert float((ours - batched).abs().max()) < 1e-5


def _one_by_one(forward: Callable[..., Any]) -> Callable[..., Any]:
    def each(self: Any, hidden: Any, *args: Any, **kwargs: Any) -> Any:
        return torch.cat([forward(self, part, *args, **kwargs) for part in hidden.split(1)])

    return each


def test_the_decode_group_is_part_of_the_result(golden: Path) -> None:
    network = _load(golden, torch.float32)
    latents = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = decode_group(network.vae.decoder, latents)
        halves = torch.cat([decode_group(network.vae.decoder, half) for half in latents.split(4)])
    assert float((whole - halves).abs().max()) > 1e-3


def test_groups_of_eight_are_counted_from_the_first_frame(golden: Path) -> None:
    network = _load(golden, torch.float32)
    latents = torch.randn(17, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    groups = list(net.decode(network, latents))
    assert [len(group) for group in groups] == [8, 8, 1]
    again = next(net.decode(network, latents[8:16]))
    assert torch.equal(groups[1], again)


def test_parking_the_unet_changes_no_bit(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _load(golden, torch.float32)
    moves: list[str] = []
    monkeypatch.setattr(network.unet, "to", lambda place: moves.append(str(place)))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    net.park_unet(network)
    parked = next(net.decode(network, latents))
    assert moves == ["cpu"]
    net.fetch_unet(network)
    assert moves == ["cpu", str(network.device)]
    assert torch.equal(parked, next(net.decode(network, latents)))
