"""What VideoMaMa is, needs and costs, as data: readable without torch.

Sources: arXiv 2601.14255 (CVPR 2026) and the published configuration of its weights. The licence of the weights is
Stability AI's; the code here is our own.
"""

from __future__ import annotations

from mattebridge_server.models.base import DRIVER_BYTES, Canvas, ModelCard, Param, Preset, Weights

GIB = 2**30
WINDOW, STRIDE, DECODE_GROUP = 16, 12, 8

LICENCE = "Stability AI Community License"
UNET = "VideoMaMa/unet"
VAE = "stable-video-diffusion-img2vid-xt/vae"

UNET_PARAMETERS = 1_524_634_602
VAE_PARAMETERS = 97_742_847

# Bytes per pixel of canvas in a two-byte precision. What is alive at the peak of each stage was counted at full size
# by tests/benchmarks/videomama.py, which runs this code on tensors without data; the UNet's slope also agrees with what
# others measured on a device with 16 and 25 frames (3.9 and 5.3 GiB at 1024 x 576). The rest of that measurement is
# what a device's libraries take besides; it is assumed for every stage.
WORKSPACE = 2_580.0
UNET_PER_FRAME = 283.0
ENCODE_PER_FRAME = 1_300.0
DECODE_PER_FRAME = 775.0


def memory_need(canvas: Canvas, frames: int, precision: str, *, unet_parked: bool = True) -> int:
    """Peak bytes of device memory for a window of ``frames`` frames.

    With ``unet_parked`` the UNet is off the device while decoding; without, it stays.
    """
    width = 4 if precision == "fp32" else 2
    per_pixel = canvas.pixels * width / 2
    unet, vae = UNET_PARAMETERS * width, VAE_PARAMETERS * width
    if precision == "fp16":
        vae += VAE_PARAMETERS  # the encoder stays in float32
    encode = per_pixel * (WORKSPACE + ENCODE_PER_FRAME) * (2 if precision == "fp16" else 1)
    network = per_pixel * (WORKSPACE + UNET_PER_FRAME * frames)
    decode = per_pixel * (WORKSPACE + DECODE_PER_FRAME * min(frames, DECODE_GROUP))
    kept = 0 if unet_parked else unet
    return int(DRIVER_BYTES + vae + max(unet + encode, unet + network, kept + decode))


def _preset(name: str, width: int, height: int) -> Preset:
    canvas = Canvas(width, height)
    return Preset(name, canvas.pixels, memory_need(canvas, WINDOW, "bf16"))


CARD = ModelCard(
    name="videomama",
    title="VideoMaMa",
    summary="Rough mask to alpha by one step of a video diffusion network; hair, motion blur and defocus.",
    licence=LICENCE,
    temporal="window",
    plate_state="display",
    version="5",
    window=WINDOW,
    stride=STRIDE,
    params=(
        Param(
            "seed", 42, "Seed of the noise; another seed gives another, equally likely alpha.", low=0, high=2**31 - 1
        ),
        Param(
            "compile",
            False,
            "Compile the VAE for the shot's canvas: faster for a long shot, after a minute or more at the first one.",
        ),
    ),
    weights=(
        Weights(f"{UNET}/config.json", "SammyLim/VideoMaMa", LICENCE, 937, md5="732de45e5120d83002ba6c79ae69be34"),
        Weights(
            f"{UNET}/diffusion_pytorch_model.safetensors",
            "SammyLim/VideoMaMa",
            LICENCE,
            6_098_728_544,
            md5="c8d457d4d5eb90f274bd441df60c8e47",
        ),
        Weights(
            f"{VAE}/config.json",
            "stabilityai/stable-video-diffusion-img2vid-xt",
            LICENCE,
            607,
            md5="1137f303186f6cfaaf75fbb12f9b0967",
            gated=True,
        ),
        Weights(
            f"{VAE}/diffusion_pytorch_model.fp16.safetensors",
            "stabilityai/stable-video-diffusion-img2vid-xt",
            LICENCE,
            195_531_910,
            md5="46a0af9a794fb405221988a7e2b1396b",
            gated=True,
        ),
    ),
    presets=(
        _preset("small", 1024, 576),
        _preset("medium", 1472, 832),
        _preset("large", 1792, 1024),
    ),
    precisions=("bf16", "fp32", "fp16"),
    needs_mask="every",
    experimental=True,
)
