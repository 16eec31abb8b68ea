"""From a coarse mask to alpha, for one frame: open the band, gather the evidence, judge it, draw its line, finish it.

Solid inside stays exactly 1 and empty outside exactly 0: only the band is ever written, and the mask is kept beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mattebridge.errors import InputError
from mattebridge_server.matting.band import open_band
from mattebridge_server.matting.contour import drawn
from mattebridge_server.matting.evidence import gather_evidence
from mattebridge_server.matting.exposure import gain_of
from mattebridge_server.matting.finish import attached, lens_blur, softened, without_slits
from mattebridge_server.matting.judge import judge_alpha, load_judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

REACH, DEPTH = 140.0, 30.0


@dataclass(frozen=True)
class SolveSettings:
    """``reach`` and ``depth``: how far outside and inside the mask's edge alpha may differ from it, in pixels at a
    height of 1080. ``detail`` is 1 for all that the plate shows, less for a calmer edge (0 keeps the mask)."""

    reach: float = REACH
    depth: float = DEPTH
    detail: float = 1.0


def solve_alpha(plate: Float32, mask: Float32, settings: SolveSettings, threads: int = 2) -> Float32:
    """Alpha (H, W) float32 in 0..1 of ``plate`` (H, W, 3) float32 scene-linear under ``mask`` (H, W) float32 coverage.

    The result depends on nothing but these arguments, and not on ``threads``. A mask without an edge is returned as it
    is. Raises `InputError` where the sizes differ.
    """
    if plate.shape[:2] != mask.shape:
        raise InputError(f"A mask of {mask.shape[1]}x{mask.shape[0]} does not fit the plate of "
                         f"{plate.shape[1]}x{plate.shape[0]}")  # fmt: skip
    alpha = np.clip(mask, 0, 1).astype(np.float32)
    band = open_band(alpha, settings.reach, settings.depth, threads)
    if band is None or settings.detail <= 0:
        return alpha
    gain = gain_of(plate[band.crop], band)
    seen = band.by_rows(lambda part: part * gain, plate[band.crop])
    evidence = gather_evidence(seen, band)
    lens = lens_blur(seen, band)
    judged = drawn(judge_alpha(band, evidence, load_judge()), band, evidence, lens)
    judged = attached(without_slits(judged, band), band)
    judged = softened(judged, lens, band)
    if settings.detail < 1:
        judged = band.mask + (judged - band.mask) * np.float32(settings.detail)
    alpha[band.crop] = np.clip(judged, 0, 1)  # a Gaussian of ones may be a little more
    return alpha


def warm_up() -> None:
    """Compile what a solve needs, or fetch it compiled: about 20 s once for an installation, half a second later on."""
    mask = np.zeros((96, 96), np.float32)
    mask[:, :48] = 1
    plate = np.repeat(0.1 + 0.4 * mask[..., None], 3, axis=2)
    solve_alpha(plate, mask, SolveSettings(), threads=1)
