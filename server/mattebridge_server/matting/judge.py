"""How far to believe the evidence: a small fixed network that weighs six explanations of each pixel.

A pixel may be empty, solid, the projected coverage, that coverage calmed over 2 or 6 pixels, or simply the mask. The
network sees the features of `evidence` and gives each explanation its share; alpha is their weighted mean, so it can
never hold a texture that neither plate nor mask shows. It was trained on scenes made by `demo`, with other people,
backdrops and masks than those the benchmark scores (`mattebridge_server.training.judge`); its weights, some 2,000
numbers, are `judge.npz` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from mattebridge_server.matting import kernels
from mattebridge_server.matting.evidence import FEATURES

if TYPE_CHECKING:
    from mattebridge_server.matting.band import Band
    from mattebridge_server.matting.evidence import Evidence, Float32

WEIGHTS = "judge.npz"
EXPLANATIONS = ("coverage", "coverage_2", "mask", "coverage_6")
"""Features that stand for an explanation, after the two constant ones: empty and solid."""
STRIPES = 64
"""Parts of a crop judged at a time: features are 27 numbers a pixel."""
CERTAIN = 0.012
"""Alpha closer than this to 0 or 1 is made exactly so."""


@dataclass(frozen=True)
class Judge:
    """Weights of the three layers, float32: (hidden, inputs) matrices and (hidden,) biases, inputs unscaled.

    Every layer has an even number of outputs: the kernel takes two at a time, and checks no bounds.
    """

    layers: tuple[tuple[Float32, Float32], ...]

    def __post_init__(self) -> None:
        if any(len(bias) % 2 for _, bias in self.layers):
            raise ValueError("a layer of the judge has an odd number of outputs")

    def weigh(self, features: Float32) -> Float32:
        """Alpha (N,) for features (len(FEATURES), N)."""
        shares = np.empty((len(EXPLANATIONS) + 2, features.shape[1]), np.float32)
        flat = [array for layer in self.layers for array in layer]
        kernels.perceptron(0, features.shape[1], features, *flat, shares)
        shares = np.exp(shares - shares.max(axis=0))
        alpha = shares[1].copy()
        for share, name in zip(shares[2:], EXPLANATIONS, strict=True):
            alpha += share * features[FEATURES.index(name)]
        return np.asarray(alpha / shares.sum(axis=0), np.float32)


@cache
def load_judge() -> Judge:
    """The judge that is shipped with the package."""
    with resources.files(__package__).joinpath(WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name: np.ascontiguousarray(stored[name], np.float32) for name in stored.files}
    return Judge(tuple((arrays[f"w{i}"], arrays[f"b{i}"]) for i in (1, 2, 3)))


def judge_alpha(band: Band, evidence: Evidence, judge: Judge) -> Float32:
    """Alpha of the band's crop: (h, w) float32 in 0..1, the mask itself where the band is not open."""
    alpha = band.mask.copy()

    def judge_rows(first: int, last: int) -> None:
        where = np.argwhere(band.open[first:last]) + np.array((first, 0))
        weighed = (judge.weigh(evidence.features(where)) - np.float32(CERTAIN)) / np.float32(1 - 2 * CERTAIN)
        alpha[where[:, 0], where[:, 1]] = np.clip(weighed, 0, 1)

    kernels.in_stripes(band.threads, len(alpha), judge_rows, stripes=STRIPES)
    return alpha
