"""How much the linear-light solve brings, on the eight shots, against the alpha it was given.

python tests/benchmarks/linear_light.py [--height 1080] [--frames 2] [--look filmic] [--seed 1] [--shots NAME,NAME]

Three inputs stand for a network: `exact` is the alpha of the encoded mix, from the truth; `soft` is that blurred by a
pixel, with correlated noise of .03 that is new on every frame; `half` is that at half the resolution, restored to the
plate as every network's alpha is. Each line compares the input as it is (unconverted) with what `solve_linear` makes of
it. Targets: bias at most .02; band error at most .45 of the unconverted on the high-contrast shots and 1.02 on any;
flicker (dtSSD) not above the unconverted; error of the composite over mid grey at most .6. The composite is scored with
the true foreground, which shows alpha alone, and beside it with the foreground estimated under each alpha, which also
shows the estimate's own error and has no target. A figure that misses its target has a star.

All is done on the columns around the subject: the solve leaves the rest of a plate as it is, and the rest is right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scenes import SHOTS, Frame, make_shot

from mattebridge_ocio import ColourConfig, NetworkTransform, exposure_gain, network_transform
from mattebridge_server.matting.foreground import straight_foreground
from mattebridge_server.matting.linear_light import solve_linear
from mattebridge_server.matting.restore import restore
from mattebridge_server.metrics.matting import band_bias, band_error, composite_error, dtssd

Float32 = NDArray[np.float32]

CONFIG = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
HIGH_CONTRAST = ("dark_hair_bright", "bright_hair_dark", "hair_highlights")
KINDS = ("exact", "soft", "half")
NOISE = 0.03
NEW_BACKGROUND = 0.18


@dataclass(frozen=True)
class Lit:
    """One frame in linear Rec.709: (H, W, 3) and (H, W) float32."""

    plate: Float32
    alpha: Float32
    foreground: Float32
    background: Float32


@dataclass(frozen=True)
class Figures:
    """Means over a shot's frames, as in `mattebridge_server.metrics.matting`."""

    bias: float
    error: float
    flicker: float
    composite: float
    delivered: float


def lit_frames(name: str, height: int, count: int, seed: int, transform: NetworkTransform) -> list[Lit]:
    """``count`` consecutive frames of the shot ``name``."""
    shot = make_shot(name, height * 16 // 9, height, seed)
    return [_lit(frame, transform) for frame in shot.frames(count)]


def around_the_subject(frames: list[Lit]) -> list[Lit]:
    """The columns in which any frame has a soft edge, with a margin of a tenth of the height; all rows, because the
    solve's sizes scale with a plate's height."""
    soft = np.logical_or.reduce([((frame.alpha > 0) & (frame.alpha < 1)).any(axis=0) for frame in frames])
    columns, margin = np.flatnonzero(soft), frames[0].alpha.shape[0] // 10
    place = slice(max(0, int(columns[0]) - margin) // 8 * 8, (int(columns[-1]) + margin) // 8 * 8)
    return [
        Lit(*(np.ascontiguousarray(image[:, place]) for image in (f.plate, f.alpha, f.foreground, f.background)))
        for f in frames
    ]


def _lit(frame: Frame, transform: NetworkTransform) -> Lit:
    plate, front, back = (transform.light(image) for image in (frame.plate, frame.foreground, frame.background))
    return Lit(plate, frame.alpha, front, back)


def encoded_alpha(frame: Lit, encoding: NetworkTransform) -> Float32:
    """The alpha of the encoded mix: the grainless mix projected between the two codes, (H, W) float32.

    Where the two codes are equal any alpha would do, and it is the true one.
    """
    cover = frame.alpha[..., None]
    mix = encoding.forward(frame.foreground * cover + frame.background * (1 - cover))
    front, back = encoding.forward(frame.foreground), encoding.forward(frame.background)
    across = front - back
    along, apart = ((mix - back) * across).sum(-1), (across * across).sum(-1)
    return np.clip((along + 1e-4 * frame.alpha) / (apart + 1e-4), 0, 1).astype(np.float32)


def as_a_network(kind: str, alpha: Float32, guide: Float32, unit: float, rng: np.random.Generator) -> Float32:
    """``alpha`` as a network might give it."""
    if kind == "exact":
        return alpha
    height, width = alpha.shape
    if kind == "half":
        small = cv2.resize(alpha, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return restore(np.asarray(small, np.float32), guide, None)
    return softened(alpha, max(1.0 * unit, 0.5), max(1.5 * unit, 0.5), rng)


def softened(alpha: Float32, sigma: float, noise_sigma: float, rng: np.random.Generator) -> Float32:
    """``alpha`` blurred by ``sigma`` pixels, with noise of `NOISE` in its band that is blurred by ``noise_sigma``."""
    soft = cv2.GaussianBlur(alpha, (0, 0), sigma)
    noise = cv2.GaussianBlur(rng.standard_normal(alpha.shape, np.float32), (0, 0), noise_sigma)
    band = cv2.dilate(((soft > 0.01) & (soft < 0.99)).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.clip(soft + NOISE / noise.std() * noise * band, 0, 1).astype(np.float32)


def figures(alphas: list[Float32], frames: list[Lit]) -> Figures:
    """Score ``alphas`` against the truth; composites are over mid grey, the delivered one for the first frame only."""
    grey = np.full_like(frames[0].plate, NEW_BACKGROUND)
    pairs = list(zip(alphas, frames, strict=True))
    steps = [dtssd(a, b, f.alpha, g.alpha) for (b, g), (a, f) in zip(pairs[:-1], pairs[1:], strict=True)]
    composites = [composite_error(f.foreground, a, f.foreground, f.alpha, grey) for a, f in pairs]
    estimated = straight_foreground(np.maximum(frames[0].plate, 0), alphas[0])
    delivered = composite_error(estimated, alphas[0], frames[0].foreground, frames[0].alpha, grey)
    return Figures(
        float(np.mean([band_bias(a, f.alpha) for a, f in pairs])),
        float(np.mean([band_error(a, f.alpha) for a, f in pairs])),
        float(np.mean(steps)),
        float(np.mean(composites)),
        delivered,
    )


def measured(name: str, look: str, height: int, count: int, seed: int) -> Iterator[tuple[str, Figures, Figures, float]]:
    """Kind, figures unconverted and solved, and processor seconds of one solve, for each kind of input."""
    config = ColourConfig.load(CONFIG)
    plain = network_transform(config, "ACEScg", "srgb")
    whole = lit_frames(name, height, count, seed, plain)
    gain = exposure_gain([whole[0].plate])
    frames = around_the_subject(whole)
    encoding = network_transform(config, "ACEScg", look, gain)  # type: ignore[arg-type]
    exact = [encoded_alpha(frame, encoding) for frame in frames]
    guides = [encoding.forward(frame.plate) for frame in frames]
    for kind in KINDS:
        rng = np.random.default_rng(7)
        given = [as_a_network(kind, a, g, height / 1080, rng) for a, g in zip(exact, guides, strict=True)]
        start = time.process_time()
        solved = [solve_linear(frame.plate, alpha, encoding) for frame, alpha in zip(frames, given, strict=True)]
        seconds = (time.process_time() - start) / count
        yield kind, figures(given, frames), figures(solved, frames), seconds


def line(name: str, kind: str, before: Figures, after: Figures, seconds: float) -> tuple[str, bool]:
    """One row of the table, and whether all targets are met; a star marks a missed one."""
    error, flicker = after.error / before.error, after.flicker / before.flicker
    composite = after.composite / before.composite
    most = 0.45 if name in HIGH_CONTRAST else 1.02

    def starred(text: str, met: bool) -> str:
        return text + (" " if met else "*")

    row = "  ".join([
        f"{name:17s} {kind:5s}",
        f"{before.bias:+.3f}",
        starred(f"{after.bias:+.3f}", abs(after.bias) <= 0.02),
        f"{before.error:.3f}",
        starred(f"{error:5.2f}", error <= most),
        f"{before.flicker:6.3f}",
        starred(f"{flicker:5.2f}", flicker <= 1.0),
        starred(f"{composite:5.2f}", composite <= 0.6),
        f"{after.delivered / before.delivered:5.2f}",
        f"{seconds:5.2f}",
    ])  # fmt: skip
    return row, "*" not in row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--look", default="filmic", choices=("srgb", "filmic", "view"))
    parser.add_argument("--seed", type=int, default=1, help="of people, backdrops and grain")
    parser.add_argument("--shots", default=",".join(SHOTS))
    chosen = parser.parse_args()
    cv2.setNumThreads(2)
    print(f"look {chosen.look}, seed {chosen.seed}, height {chosen.height}, {chosen.frames} frames; "
          "error, dtSSD, comp: solved / unconverted")  # fmt: skip
    print(f"{'shot':17s} input  bias before/after    error ratio  dtSSD ratio   comp  with F  CPU s/frame")
    met = []
    for name in chosen.shots.split(","):
        for kind, before, after, seconds in measured(name, chosen.look, chosen.height, chosen.frames, chosen.seed):
            row, whole = line(name, kind, before, after, seconds)
            print(row, flush=True)
            met.append(whole)
    print(f"all targets met in {sum(met)} of {len(met)} cases")


if __name__ == "__main__":
    main()
