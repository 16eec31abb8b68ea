"""How much of a network's own softness `restore` takes away, on the eight shots.

python tests/benchmarks/softness.py [--height 1080] [--seed 1] [--look filmic]

The exact alpha of the encoded mix stands for a network that sees a canvas of half or a third of the plate: averaged
down to the canvas, blurred there by so many canvas pixels as a decoder does, with correlated noise of .03, and restored
to the plate. Per shot: mean error in the soft band against the exact alpha, plainly enlarged, restored but not focused,
and restored; then what `solve_linear` makes of the last two, as errors against the true coverage. One frame a shot.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import cv2
import numpy as np
from linear_light import CONFIG, Float32, around_the_subject, encoded_alpha, lit_frames, softened
from scenes import SHOTS

from mattebridge_ocio import ColourConfig, exposure_gain, network_transform
from mattebridge_server.matting.linear_light import solve_linear
from mattebridge_server.matting.restore import restore
from mattebridge_server.metrics.matting import band_error

CANVASES = ((2, 0.0), (2, 0.6), (2, 1.0), (2, 1.6), (3, 1.0))


def on_a_canvas(alpha: Float32, factor: int, sigma: float) -> Float32:
    """``alpha`` (H, W) as a network with a canvas ``factor`` times smaller might give it."""
    size = (alpha.shape[1] // factor, alpha.shape[0] // factor)
    small = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    return softened(small, sigma, 0.9, np.random.default_rng(8)) if sigma else small


def unfocused(canvas: Float32, guide: Float32) -> Float32:
    """What `restore` gives where the network's own blur is left in."""
    with patch("mattebridge_server.matting.restore.focused", lambda alpha, codes: alpha):
        return restore(canvas, guide, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--look", default="filmic", choices=("srgb", "filmic", "view"))
    parser.add_argument("--seed", type=int, default=1, help="of people, backdrops and grain")
    chosen = parser.parse_args()
    config = ColourConfig.load(CONFIG)
    plain = network_transform(config, "ACEScg", "srgb")
    print(f"{'shot':17s} canvas  blur   enlarged  unfocused  restored   solved/unfocused  solved/restored")
    for name in SHOTS:
        whole = lit_frames(name, chosen.height, 1, chosen.seed, plain)
        encoding = network_transform(config, "ACEScg", chosen.look, exposure_gain([whole[0].plate]))
        frame = around_the_subject(whole)[0]
        exact, guide = encoded_alpha(frame, encoding), encoding.forward(frame.plate)
        band = (frame.alpha > 0) & (frame.alpha < 1)
        for factor, sigma in CANVASES:
            canvas = on_a_canvas(exact, factor, sigma)
            plainly = np.clip(cv2.resize(canvas, exact.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
            alphas = (plainly, unfocused(canvas, guide), restore(canvas, guide, None))
            errors = [float(np.abs(alpha - exact)[band].mean()) for alpha in alphas]
            solved = [band_error(solve_linear(frame.plate, alpha, encoding), frame.alpha) for alpha in alphas[1:]]
            print(
                f"{name:17s}  1/{factor}    {sigma:.1f}    {errors[0]:.4f}    {errors[1]:.4f}     {errors[2]:.4f}"
                f"     {solved[0]:.4f}            {solved[1]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
