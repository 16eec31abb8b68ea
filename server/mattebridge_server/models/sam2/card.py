"""What SAM2 and SAM2-Matte are, need and cost, as data: readable without torch.

Sources: arXiv 2408.00714 (SAM2), arXiv 2601.14255 (SAM2-Matte: SAM2 as it is, fine-tuned on mattes, its sigmoid taken
as alpha). The published sizes of the network differ only in their image encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from mattebridge_server.models.base import DRIVER_BYTES, Canvas, ModelCard, Preset, Weights

GIB = 2**30
APACHE = "Apache-2.0"
SIDE = 1024
"""Frames are seen as squares of this side; masks come out at a quarter of it."""

ACTIVATION_BYTES = 2 * GIB
"""Largest set of live activations at 1024 x 1024 with hiera-large in float32; an estimate until measured."""


@dataclass(frozen=True)
class Size:
    """One published size: the numbers that the checkpoints of its authors' repository do not carry."""

    name: str
    parameters: int
    embed: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: tuple[int, int] = (7, 7)


SIZES = (
    Size("large", 224_400_000, 144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
    Size("base-plus", 80_900_000, 112, 2, (2, 3, 16, 3), (12, 16, 20), background=(14, 14)),
    Size("small", 46_100_000, 96, 1, (1, 2, 11, 2), (7, 10, 13)),
    Size("tiny", 39_000_000, 96, 1, (1, 2, 7, 2), (5, 7, 9)),
)


def _published(size: Size) -> tuple[tuple[Weights, ...], ...]:
    repo, folder, about = f"facebook/sam2.1-hiera-{size.name}", f"sam2.1-hiera-{size.name}", 4 * size.parameters
    checkpoint = f"sam2.1_hiera_{size.name.replace('-', '_')}.pt"
    return (
        (
            Weights(f"{folder}/config.json", repo, APACHE),
            Weights(f"{folder}/model.safetensors", repo, APACHE, about_bytes=about),
        ),
        (Weights(f"{folder}/{checkpoint}", repo, APACHE, about_bytes=about),),
    )


SETS = tuple(files for size in SIZES for files in _published(size))


def memory_need(canvas: Canvas, frames: int, precision: str) -> int:
    """Peak bytes of device memory; neither canvas nor frames matter, since every frame is seen at 1024 x 1024."""
    del canvas, frames
    width = 2 if precision == "bf16" else 4
    return DRIVER_BYTES + SIZES[0].parameters * width + ACTIVATION_BYTES * width // 4


PRESETS = (Preset("full", SIDE * SIDE, memory_need(Canvas(SIDE, SIDE), 1, "fp32")),)

TRACK = ModelCard(
    name="sam2",
    title="SAM2",
    summary="Points, boxes or a mask on any frame to a mask on every frame; fills the missing frames of a mask.",
    licence=APACHE,
    temporal="shot",
    plate_state="display",
    version="3",
    weights=SETS[0],
    alternatives=SETS[1:],
    presets=PRESETS,
    precisions=("fp32", "bf16"),
    needs_mask="any",
    outputs=("mask",),
)

MATTE = ModelCard(
    name="sam2-matte",
    title="SAM2-Matte",
    summary="SAM2 fine-tuned on mattes: prompts or a coarse mask to a soft alpha, in a fraction of the memory.",
    licence="as stated by whoever gave you the weights",
    temporal="shot",
    plate_state="display",
    version="6",
    weights=(
        Weights("sam2-matte/config.json", "", "as supplied"),
        Weights("sam2-matte/model.safetensors", "", "as supplied"),
    ),
    alternatives=((Weights("sam2-matte/sam2-matte.pt", "", "as supplied"),),),
    presets=PRESETS,
    precisions=("fp32", "bf16"),
    needs_mask="any",
    experimental=True,
)
