"""VideoMaMa at full size: what it costs by arithmetic, and what it delivers on this machine.

    python tests/benchmarks/videomama.py count       peak memory and TFLOP by stage and preset, without weights
    python tests/benchmarks/videomama.py run         small random network on the CPU: ratios of reuse and region
    python tests/benchmarks/videomama.py run --full  full-size random weights (7 GiB of host memory in float32)
    python tests/benchmarks/videomama.py run --full --device cuda --size 1024x576 --frames 40 --precision bf16

Random weights in the published layout; times do not depend on their values. Delivered frames per second are frames
written per second of a shot in windows of 16 every 12, best of three rounds. The arithmetic limit for 1024 x 576 is
23 delivered frames a second unfused on a device of 790 TFLOP/s.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mattebridge_server.models.base import Canvas, Device, LoadSpec, Window
from mattebridge_server.models.videomama import VideoMaMa
from mattebridge_server.models.videomama import network as net
from mattebridge_server.models.videomama.card import CARD, STRIDE, UNET, VAE, WINDOW, memory_need

sys.path.insert(0, str(Path(__file__).parent))
from tensor_meter import metering  # type: ignore[import-not-found]

GIB = 2**30
LIMIT_FPS, LIMIT_PIXELS = 23.0, 1024 * 576
CROSS, PLAIN = "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"
FULL_UNET = {
    "in_channels": 12,
    "down_block_types": [CROSS, CROSS, CROSS, PLAIN],
    "up_block_types": [name.replace("Down", "Up") for name in (PLAIN, CROSS, CROSS, CROSS)],
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
}
FULL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "force_upcast": True,
}
SMALL_UNET = FULL_UNET | {
    "block_out_channels": [32, 64, 64, 64],
    "num_attention_heads": [1, 2, 2, 2],
    "layers_per_block": 1,
    "cross_attention_dim": 64,
}
SMALL_UNET |= {"addition_time_embed_dim": 32, "projection_class_embeddings_input_dim": 96}
SMALL_VAE = FULL_VAE | {"block_out_channels": [32, 32, 64, 64], "layers_per_block": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("count", "run"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--size", default="256x256", help="canvas, WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=28)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.what == "count":
        count()
    else:
        run(args)


# -- by arithmetic -----------------------------------------------------------------------------------------------


def count() -> None:
    """Peak of live tensors and TFLOP of each stage, for a window of 16 frames, on tensors without data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    print(f"{'preset':<8}{'canvas':<11}{'stage':<9}{'bf16 GiB':>9}{'fp32 GiB':>9}{'TFLOP':>8}{'per frame':>10}")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        networks = {"bf16": fake_network(torch.bfloat16), "fp32": fake_network(torch.float32)}
        for preset in CARD.presets:
            canvas = canvas_of(preset.canvas_pixels)
            peaks = {name: stages(network, canvas) for name, network in networks.items()}
            for stage in peaks["bf16"]:
                live, flops = peaks["bf16"][stage]
                gib = f"{live / GIB:9.2f}{peaks['fp32'][stage][0] / GIB:9.2f}"
                print(f"{preset.name:<8}{canvas.width}x{canvas.height:<6}{stage:<9}{gib}{flops / 1e12:8.1f}", end="")
                print(f"{flops / 1e12 / WINDOW:10.2f}")
            declared = ", ".join(f"{p} {memory_need(canvas, WINDOW, p) / GIB:.1f}" for p in CARD.precisions)
            print(f"{preset.name:<8}declared peak with weights and driver, GiB: {declared}")


def canvas_of(pixels: int) -> Canvas:
    return {1024 * 576: Canvas(1024, 576), 1472 * 832: Canvas(1472, 832), 1792 * 1024: Canvas(1792, 1024)}[pixels]


def fake_network(dtype: torch.dtype) -> net.Network:
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    torch.set_default_dtype(dtype)
    classes: tuple[Any, Any] = UNetSpatioTemporalConditionModel, AutoencoderKLTemporalDecoder
    unet, vae = (cls.from_config(config) for cls, config in zip(classes, (FULL_UNET, FULL_VAE), strict=True))
    torch.set_default_dtype(torch.float32)
    return net.Network(unet.eval(), vae.eval(), torch.device("cpu"), dtype, dtype, 8, 64)


def stages(network: net.Network, canvas: Canvas) -> dict[str, tuple[int, int]]:
    """Peak bytes and operations by stage. Encoding is of 16 plates and 16 masks, one at a time."""
    found: dict[str, tuple[int, int]] = {}
    with metering() as (live, flops):
        net.encode(network, torch.rand(1, 3, canvas.height, canvas.width))
    found["encode"] = live.peak, 2 * WINDOW * flops.get_total_flops()
    latents = torch.zeros(WINDOW, 4, canvas.height // 8, canvas.width // 8, dtype=network.dtype)
    with metering() as (live, flops):
        refined = net.denoise(network, latents, latents, latents)
    found["network"] = live.peak, flops.get_total_flops()
    with metering() as (live, flops):
        for _ in net.decode(network, refined):
            pass
    found["decode"] = live.peak, flops.get_total_flops()
    with metering() as (live, flops):
        network.vae.decode(refined[:8], num_frames=8)
    found["(library)"] = live.peak, 2 * flops.get_total_flops()
    return found


# -- on this machine ---------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds by stage, told by the checkpoints of a run: each names the stage that begins."""

    device: str
    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = 0.0

    def __call__(self, stage: str) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


class RandomShot(Window):
    """A window over random plates that are made when asked for, so that a long shot needs no memory."""

    def __init__(self, first: int, count: int, canvas: Canvas, mask_edits: frozenset[int] = frozenset()) -> None:
        self.numbers = self.wanted = tuple(range(first, first + count))
        self._canvas, self._edits = canvas, mask_edits
        rows, columns = np.mgrid[0 : canvas.height, 0 : canvas.width]
        radius = canvas.height / 3
        self._mask = (np.hypot(rows - canvas.height / 2, columns - canvas.width / 2) < radius).astype(np.float32)

    def plate(self, number: int) -> NDArray[np.float32]:
        shape = self._canvas.height, self._canvas.width, 3
        return np.random.default_rng(abs(number)).random(shape, dtype=np.float32)

    def mask(self, number: int) -> NDArray[np.float32]:
        return np.roll(self._mask, number + 7 * (number in self._edits), axis=1)

    def plate_key(self, number: int) -> str:
        return f"plate {number} {self._canvas}"

    def mask_key(self, number: int) -> str:
        return f"mask {number} {number in self._edits} {self._canvas}"


def run(args: argparse.Namespace) -> None:
    canvas = Canvas(*map(int, args.size.split("x")))
    with tempfile.TemporaryDirectory() as folder:
        write_layout(Path(folder), full=args.full)
        spec = LoadSpec(Device(args.device, threads=args.threads), args.precision, (Path(folder),))
        began = time.perf_counter()
        warm, cold = VideoMaMa(), VideoMaMa(latent_bytes=0, result_bytes=0)
        warm.load(spec)
        print(f"load {time.perf_counter() - began:.1f} s, {'full size' if args.full else 'small network'}, {args}")
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        reuse = best(lambda: shot_seconds(warm, args, canvas, forget=True), args.rounds)
        report_stages(reuse, args, canvas)
        edit = best(lambda: retake_seconds(warm, args, canvas), args.rounds)
        small = Canvas(max(64, canvas.width // 2 // 64 * 64), max(64, canvas.height // 2 // 64 * 64))
        region = best(lambda: shot_seconds(warm, args, small, forget=True), args.rounds)
        warm.unload()
        cold.load(spec)
        alone = best(lambda: shot_seconds(cold, args, canvas), args.rounds)
        print(f"latent reuse, first take    : {alone.total / reuse.total:5.2f} times the speed of no reuse")
        print(f"one mask fixed, second take : {alone.total / edit.total:5.2f} times the speed of no reuse")
        area = small.pixels / canvas.pixels
        print(f"region of interest, {area:.2f} area: {reuse.total / region.total:5.2f} times the whole frame's")


@dataclass(frozen=True)
class Timing:
    total: float
    stages: dict[str, float]


def best(measure: Any, rounds: int) -> Timing:
    """The fastest of some rounds: what the machine can do when it is left alone."""
    timings: list[Timing] = [measure() for _ in range(rounds)]
    return min(timings, key=lambda timing: timing.total)


def shot_seconds(model: VideoMaMa, args: argparse.Namespace, canvas: Canvas, *, forget: bool = False) -> Timing:
    """One whole shot in windows; ``forget`` empties the caches first."""
    if forget:
        model.forget()
    return _time(model, args, canvas, frozenset())


def retake_seconds(model: VideoMaMa, args: argparse.Namespace, canvas: Canvas) -> Timing:
    """The shot again after one mask near its start was repaired."""
    model.forget()
    _time(model, args, canvas, frozenset())
    return _time(model, args, canvas, frozenset({2}))


def _time(model: VideoMaMa, args: argparse.Namespace, canvas: Canvas, edits: frozenset[int]) -> Timing:
    clock = Clock(args.device)
    began = time.perf_counter()
    for first, count_ in spans(args.frames):
        for _ in model.run(RandomShot(first, count_, canvas, edits), {}, clock):
            pass
    clock("end")
    return Timing(time.perf_counter() - began, clock.seconds)


def spans(frames: int) -> Iterator[tuple[int, int]]:
    """Windows of 16 every 12, the last moved back."""
    if frames <= WINDOW:
        yield 0, frames
        return
    for start in [*range(0, frames - WINDOW, STRIDE), frames - WINDOW]:
        yield start, WINDOW


def report_stages(timing: Timing, args: argparse.Namespace, canvas: Canvas) -> None:
    fps = args.frames / timing.total
    print(f"delivered {fps:.3f} frames/s at {canvas.width}x{canvas.height} {args.precision} on {args.device}")
    for stage, seconds in timing.stages.items():
        print(f"  {stage:<8}{seconds / args.frames * 1e3:9.1f} ms a frame  {seconds / timing.total:5.0%}")
    if args.device == "cuda":
        limit = LIMIT_FPS * LIMIT_PIXELS / canvas.pixels
        peak = torch.cuda.max_memory_allocated() / GIB
        reserved = torch.cuda.max_memory_reserved() / GIB
        print(f"  {fps / limit:.0%} of the arithmetic limit; peak {peak:.2f} GiB of tensors, {reserved:.2f} reserved")
    else:
        print("  no GPU here: the share of the arithmetic limit and the device's peak were not measured")


def write_layout(folder: Path, *, full: bool) -> None:
    """Random weights in the published layout. The UNet is written in two-byte precision to spare the disk."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel, FULL_UNET if full else SMALL_UNET, UNET, "diffusion_pytorch_model"
    vae = AutoencoderKLTemporalDecoder, FULL_VAE if full else SMALL_VAE, VAE, "diffusion_pytorch_model.fp16"
    for cls, config, place, name in (unet, vae):
        _write_one(cls, config, folder / place, name)


def _write_one(cls: Any, config: dict[str, Any], folder: Path, name: str) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    with torch.device("meta"):
        module = cls.from_config(config)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in module.state_dict().items():
        if tensor.ndim > 1:
            scale = tensor[0].numel() ** -0.5
            state[key] = (torch.randn(tensor.shape, generator=generator, dtype=torch.float16) * scale).contiguous()
        else:
            state[key] = torch.full(tensor.shape, 1.0 if key.endswith("weight") else 0.0, dtype=torch.float16)
    save_file(state, folder / f"{name}.safetensors")
    stored = {key: value for key, value in module.config.items() if not key.startswith("_")}
    (folder / "config.json").write_text(json.dumps({"_class_name": cls.__name__, **stored}), encoding="utf-8")


@contextmanager
def quiet() -> Iterator[None]:
    """The library's own advice is no part of the report."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    with quiet():
        main()
