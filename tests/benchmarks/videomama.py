"""VideoMaMa at full size: what it costs by arithmetic, and what it delivers on this machine.

    python tests/benchmarks/videomama.py             all of it: on a GPU at full size, every preset and precision,
                                                     on a CPU a small random network
    python tests/benchmarks/videomama.py count       peak memory and TFLOP by stage and preset, without weights
    python tests/benchmarks/videomama.py routing     what small features gain from `edge`
    python tests/benchmarks/videomama.py run --full  full-size random weights on a CPU (7 GiB of memory in float32)
    python tests/benchmarks/videomama.py run --size 1024x576 --precision bf16 --frames 40

Random weights in the published layout; times do not depend on their values. Delivered frames per second are frames
written per second of a shot in windows of 16 every 12, best of three rounds. The arithmetic limit for 1024 x 576 is
23 delivered frames a second unfused on a device of 790 TFLOP/s. Stages are timed in a round of their own, since the
clock waits for the device at every step.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mattebridge.errors import OutOfMemory
from mattebridge_server.matting.restore import Placement, restore
from mattebridge_server.metrics.matting import mad
from mattebridge_server.models.auto import SMALL_FEATURE_PX
from mattebridge_server.models.base import Canvas, Device, LoadSpec, Window
from mattebridge_server.models.edge import Edge
from mattebridge_server.models.execution import release_device_memory
from mattebridge_server.models.videomama import VideoMaMa
from mattebridge_server.models.videomama import network as net
from mattebridge_server.models.videomama.card import CARD, STRIDE, UNET, VAE, WINDOW, memory_need
from mattebridge_server.pipeline.preflight import MaskSample, preflight
from mattebridge_server.pipeline.prepare import StillWindow

sys.path.insert(0, str(Path(__file__).parent))
from tensor_meter import metering  # type: ignore[import-not-found]

GIB = 2**30
LIMIT_FPS, LIMIT_PIXELS, UHD_PIXELS = 23.0, 1024 * 576, 3840 * 2160
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
    parser.add_argument("what", nargs="?", default="all", choices=("all", "count", "run", "routing"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--size", default="", help="canvas, WIDTHxHEIGHT (default: every preset, or 256x256 on a CPU)")
    parser.add_argument("--frames", type=int, default=0, help="default: 100 on a GPU, 28 on a CPU")
    parser.add_argument("--precision", default="", help="default: every one on a GPU, fp32 on a CPU")
    parser.add_argument("--compile", action="store_true", help="compile on a CPU too, which takes minutes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    gpu = args.device == "cuda"
    args.frames = args.frames or (100 if gpu else 28)
    args.full, args.compile = args.full or gpu, args.compile or gpu
    if args.what in ("all", "routing"):
        routing()
    if args.what in ("all", "count"):
        count()
    if args.what in ("all", "run"):
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
        self._canvas, self._edits, self._mask = canvas, mask_edits, disc(canvas)

    def plate(self, number: int) -> NDArray[np.float32]:
        shape = self._canvas.height, self._canvas.width, 3
        return np.random.default_rng(abs(number)).random(shape, dtype=np.float32)

    def mask(self, number: int) -> NDArray[np.float32]:
        return np.roll(self._mask, number + 7 * (number in self._edits), axis=1)

    def plate_key(self, number: int) -> str:
        return f"plate {number} {self._canvas}"

    def mask_key(self, number: int) -> str:
        return f"mask {number} {number in self._edits} {self._canvas}"


@cache
def disc(canvas: Canvas) -> NDArray[np.float32]:
    """Drawn once: a device would wait for it at every window."""
    rows, columns = np.mgrid[0 : canvas.height, 0 : canvas.width]
    radius = canvas.height / 3
    return (np.hypot(rows - canvas.height / 2, columns - canvas.width / 2) < radius).astype(np.float32)


def run(args: argparse.Namespace) -> None:
    canvases = [Canvas(*map(int, args.size.split("x")))] if args.size else [Canvas(256, 256)]
    if not args.size and args.device == "cuda":
        canvases = [canvas_of(preset.canvas_pixels) for preset in CARD.presets]
    precisions = [args.precision] if args.precision else list(CARD.precisions if args.device == "cuda" else ["fp32"])
    with tempfile.TemporaryDirectory() as folder:
        write_layout(Path(folder), full=args.full)
        for precision in precisions:
            for canvas in canvases:
                try:
                    measure(Case(args, canvas, precision), Path(folder))
                except OutOfMemory as error:
                    print(f"  {canvas.width}x{canvas.height} {precision} does not fit here: {error.message}")
                release_device_memory()


@dataclass(frozen=True)
class Case:
    """One canvas in one precision; ``compiled`` turns the compiled layers on."""

    args: argparse.Namespace
    canvas: Canvas
    precision: str
    compiled: bool = False

    @property
    def gpu(self) -> bool:
        return self.args.device == "cuda"


def measure(case: Case, folder: Path) -> None:
    """As shipped, then with each thing that saves work turned off, in one process."""
    args, canvas = case.args, case.canvas
    spec = LoadSpec(Device(args.device, threads=args.threads), case.precision, (folder,))
    began = time.perf_counter()
    warm = VideoMaMa()
    warm.load(spec)
    size = "full size" if args.full else "small network"
    where = torch.cuda.get_device_name() if case.gpu else f"CPU, {args.threads} threads"
    print(f"== {canvas.width}x{canvas.height} {case.precision}, {size}, {args.frames} frames, {where}; load ", end="")
    print(f"{time.perf_counter() - began:.1f} s")
    shipped = replace(case, compiled=args.compile)
    if args.compile:
        print(f"  first shot with compilation: {shot_seconds(warm, shipped):.1f} s", end="")
        print(f"; largest difference to the plain layers {difference(warm, case):.1e}")
    if case.gpu:
        warm.forget()  # what compiling and the plain layers left reserved is no part of the peak
        torch.cuda.reset_peak_memory_stats()
    reuse = best(lambda: shot_seconds(warm, shipped), args.rounds)
    report(reuse, shipped)
    stages_of(warm, shipped)
    edit = best(lambda: retake_seconds(warm, shipped), args.rounds)
    small = replace(case, canvas=Canvas(*(max(64, side // 2 // 64 * 64) for side in (canvas.width, canvas.height))))
    region = best(lambda: shot_seconds(warm, small), args.rounds)
    plain = best(lambda: shot_seconds(warm, case), args.rounds) if args.compile else reuse
    warm.unload()
    cold = VideoMaMa(latent_bytes=0, result_bytes=0)
    cold.load(spec)
    alone = best(lambda: shot_seconds(cold, case), args.rounds)
    area = small.canvas.pixels / canvas.pixels
    if args.compile:
        print(f"  reuse and compilation on over off   : {alone / reuse:5.2f} times (aim on a GPU: 1.4)")
        print(f"  compilation alone                   : {plain / reuse:5.2f} times")
    print(f"  latent reuse, first take            : {alone / plain:5.2f} times")
    print(f"  one mask fixed, second take         : {alone / edit:5.2f} times the speed of everything again")
    print(f"  region of interest of {area:.2f} the area : {plain / region:5.2f} times the whole frame's speed")


def difference(model: VideoMaMa, case: Case) -> float:
    """Of one window's alpha, compiled and plain."""
    window = RandomShot(0, WINDOW, case.canvas)
    one, other = ([r.alpha for r in model.run(window, {"compile": on}, lambda _: None)] for on in (True, False))
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def best(seconds: Callable[[], float], rounds: int) -> float:
    """The fastest of some rounds: what the machine can do when it is left alone."""
    return min(seconds() for _ in range(rounds))


def shot_seconds(model: VideoMaMa, case: Case) -> float:
    """One whole shot in windows, from empty caches."""
    model.forget()
    return _time(model, case, frozenset())


def retake_seconds(model: VideoMaMa, case: Case) -> float:
    """The shot again after one mask near its start was repaired."""
    model.forget()
    _time(model, case, frozenset())
    return _time(model, case, frozenset({2}))


def _time(model: VideoMaMa, case: Case, edits: frozenset[int], told: Callable[[str], None] = lambda _: None) -> float:
    began = time.perf_counter()
    for first, count_ in spans(case.args.frames):
        window = RandomShot(first, count_, case.canvas, edits)
        for _ in model.run(window, {"compile": case.compiled}, told):
            pass
    told("end")
    return time.perf_counter() - began


def spans(frames: int) -> Iterator[tuple[int, int]]:
    """Windows of 16 every 12, the last moved back."""
    if frames <= WINDOW:
        yield 0, frames
        return
    for start in [*range(0, frames - WINDOW, STRIDE), frames - WINDOW]:
        yield start, WINDOW


def report(seconds: float, case: Case) -> None:
    fps = case.args.frames / seconds
    print(f"  delivered {fps:.3f} frames/s")
    if not case.gpu:
        print("  no GPU here: the share of the arithmetic limit and the device's peak were not measured")
        return
    limit = LIMIT_FPS * LIMIT_PIXELS / case.canvas.pixels
    peak, reserved = torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB
    declared = memory_need(case.canvas, WINDOW, case.precision, unet_parked=False) / GIB
    print(f"  {fps / limit:.0%} of the arithmetic limit (aim in bf16: 50%)")
    print(f"  peak {peak:.2f} GiB of tensors, {reserved:.2f} reserved; declared {declared:.2f} with the driver's own")


def stages_of(model: VideoMaMa, case: Case) -> None:
    clock = Clock(case.args.device)
    model.forget()
    total = _time(model, case, frozenset(), clock)
    for stage, seconds in clock.seconds.items():
        print(f"  {stage:<8}{seconds / case.args.frames * 1e3:9.1f} ms a frame  {seconds / total:5.0%}")


# -- small features ------------------------------------------------------------------------------------------------


def routing() -> None:
    """A thin bar by way of a network's canvas, against `edge` at the plate's resolution; a UHD plate, cut to a ninth.

    No trained network is at hand. Two stand-ins hold the true alpha on the small preset's canvas, averaged down: as it
    is (no network can do better) and softened and noised. Either is restored with the plate as guide.
    """
    print(f"{'feature':<9}{'network MAD: best':>18}{'softened':>10}{'edge MAD':>10}{'routed to':>11}{'on / off':>16}")
    total = np.zeros(3)
    for width in (3, 8, 16, 24, 48):
        plate, mask, truth = thin_bar(width)
        scale = (CARD.presets[0].canvas_pixels / UHD_PIXELS) ** 0.5
        small = cv2.resize(truth, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        noise = np.random.default_rng(5).normal(0, 0.02, small.shape).astype(np.float32)
        soft = np.clip(cv2.GaussianBlur(small, (0, 0), 1.5) + noise * (small > 0), 0, 1)
        guide, place = np.sqrt(np.clip(plate, 0, 1)), Placement(0, 0, truth.shape[1], truth.shape[0])
        off = np.array([mad(restore(alpha, guide, mask, place), truth) for alpha in (small, soft)])
        edge = mad(next(iter(Edge().run(StillWindow(1, plate, mask), {}, lambda _: None))).alpha, truth)
        routed = preflight([MaskSample(1, mask)], 1.0).feature_px < SMALL_FEATURE_PX
        if routed:
            total += edge, *off
        ratios = " / ".join(f"{edge / one:.2f}" if routed else "1.00" for one in off)
        print(
            f"{width:>3} px   {off[0]:18.2f}{off[1]:10.2f}{edge:10.2f}{'edge' if routed else 'network':>11}{ratios:>16}"
        )
    perfect, softened = total[0] / total[1:]
    print(f"small-feature routing, error on over off: {perfect:.2f} (best network), {softened:.2f} (softened)")


def thin_bar(width: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Plate (720, 1280, 3) scene-linear, a mask 3 px too fat, and the true alpha of a slanted soft-edged bar."""
    rows, columns = np.mgrid[0:720, 0:1280].astype(np.float32)
    across = np.abs((columns - 640) * 0.966 - (rows - 360) * 0.259)
    truth = np.clip(width / 2 - across + 0.5, 0, 1)
    mask = (across < width / 2 + 3).astype(np.float32)
    grain = np.random.default_rng(4).normal(0, 0.004, (720, 1280, 3)).astype(np.float32)
    far = np.stack([0.30 + 0.1 * np.sin(columns / 90), 0.34 + 0.1 * np.cos(rows / 70), np.full_like(rows, 0.4)], -1)
    near = np.array([0.05, 0.04, 0.03], np.float32)
    return (truth[..., None] * near + (1 - truth[..., None]) * far + grain).astype(np.float32), mask, truth


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
