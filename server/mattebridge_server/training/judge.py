"""Train the judge of `edge` anew:  python -m mattebridge_server.training.judge WEIGHTS.npz --frames 300 --samples DIR

Practice frames are solved up to the evidence, pixels are drawn from the band (half of them where something is to
decide, weighted back to their true share), and a small network learns which explanation of each pixel to believe. The
loss is the mean absolute error that a matte is scored by, with a squared term that keeps it from giving up on hair;
frames whose mask is nearly right count for more, so that good masks are not spoilt. The weights that are shipped saw
347 practice frames, drawn in three rounds while `variety` grew from plain to patterned to outlined people.
Samples are kept in DIR, one file per frame, so that a run goes on where it stopped. Takes torch; an hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mattebridge_server.matting.band import open_band
from mattebridge_server.matting.evidence import FEATURES, gather_evidence
from mattebridge_server.matting.exposure import gain_of
from mattebridge_server.matting.judge import EXPLANATIONS
from mattebridge_server.matting.solve import DEPTH, REACH
from mattebridge_server.training.variety import practice_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

PIXELS = 14_000
HIDDEN = (40, 24)
EPOCHS = 12
BATCH = 16_384
HIGHEST_RATE = 4e-3
FEATURE_NOISE = 0.02
HELD_OUT = 10
"""Every tenth frame is not learned from, and scored after each epoch."""


@dataclass(frozen=True)
class Samples:
    """Pixels of one or more frames: features (N, K), true alpha (N,), and how many pixels each stands for (N,)."""

    features: Float32
    truth: Float32
    weight: Float32


def draw_samples(number: int) -> Samples:
    """Pixels of practice frame ``number``."""
    frame = practice_frame(number)
    rng = np.random.default_rng(number)
    band = open_band(frame.mask, REACH, DEPTH)
    if band is None:
        raise ValueError(f"practice frame {number} has no mask edge")
    plate = np.ascontiguousarray(frame.plate[band.crop])
    evidence = gather_evidence(plate * gain_of(plate, band), band)
    truth = frame.alpha[band.crop]
    unsure = (np.abs(truth - band.mask) > 0.04) | ((truth > 0.02) & (truth < 0.98))
    hard = band.open & (unsure | (np.abs(evidence.coverage - truth) > 0.1))
    every, some = np.argwhere(band.open), np.argwhere(hard)
    half = PIXELS // 2
    where = np.vstack([every[rng.integers(0, len(every), half)], some[rng.integers(0, len(some), half)]])
    row, column = where[:, 0], where[:, 1]
    chance = 0.5 / len(every) + hard[row, column] * 0.5 / len(some)
    weight = (1080 / frame.alpha.shape[0]) ** 2 / (chance * 1e6)
    return Samples(evidence.features(where).T, truth[row, column], weight.astype(np.float32))


def collect(numbers: Sequence[int], folder: Path) -> list[Samples]:
    """Samples of all ``numbers``, drawn or read from ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Samples] = []
    for number in numbers:
        path = folder / f"{number}.npz"
        if not path.exists():
            drawn = draw_samples(number)
            np.savez(path, x=drawn.features, y=drawn.truth, w=drawn.weight)
        with np.load(path, allow_pickle=False) as stored:
            found.append(Samples(stored["x"], stored["y"], stored["w"]))
    return found


def _importance(frame: Samples) -> np.float32:
    """A frame counts by the inverse of its mask's error, to a power that keeps hair in play."""
    mask = frame.features[:, FEATURES.index("mask")]
    return np.float32((float((frame.weight * np.abs(mask - frame.truth)).mean()) + 0.004) ** -0.6)


def _network() -> torch.nn.Sequential:
    import torch

    sizes = (len(FEATURES), *HIDDEN, len(EXPLANATIONS) + 2)
    return torch.nn.Sequential(
        torch.nn.Linear(sizes[0], sizes[1]), torch.nn.ReLU(),
        torch.nn.Linear(sizes[1], sizes[2]), torch.nn.ReLU(),
        torch.nn.Linear(sizes[2], sizes[3]),
    )  # fmt: skip


def train(frames: Sequence[Samples], threads: int = 1) -> dict[str, Float32]:
    """Weights and biases of the three layers, for unscaled features."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    features = np.concatenate([frame.features for frame in frames])
    middle, spread = features.mean(axis=0), features.std(axis=0) + np.float32(1e-3)
    fixed = np.tile(np.array([0, 1], np.float32), (len(features), 1))
    offers = torch.tensor(np.hstack([fixed, features[:, [FEATURES.index(name) for name in EXPLANATIONS]]]))
    scaled = torch.tensor((features - middle) / spread)
    truth = torch.tensor(np.concatenate([frame.truth for frame in frames]))
    weight = torch.tensor(np.concatenate([frame.weight * _importance(frame) for frame in frames]))
    weight = weight / weight.mean()
    owner = np.repeat(np.arange(len(frames)), [len(frame.truth) for frame in frames])
    learned = torch.tensor(np.flatnonzero(owner % HELD_OUT != HELD_OUT - 1))
    held = torch.tensor(np.flatnonzero(owner % HELD_OUT == HELD_OUT - 1))
    net = _network()
    steps = EPOCHS * (len(learned) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), HIGHEST_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, HIGHEST_RATE, total_steps=steps + 1)
    for epoch in range(EPOCHS):
        order = learned[torch.randperm(len(learned))]
        for start in range(0, len(order) - BATCH + 1, BATCH):
            part = order[start : start + BATCH]
            shares = torch.softmax(net(scaled[part] + FEATURE_NOISE * torch.randn(BATCH, len(FEATURES))), -1)
            error = (shares * offers[part]).sum(-1) - truth[part]
            loss = (weight[part] * (error.abs() + 0.5 * error * error)).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            error = (torch.softmax(net(scaled[held]), -1) * offers[held]).sum(-1) - truth[held]
            mask_error = offers[held, 2 + EXPLANATIONS.index("mask")] - truth[held]
            ratio = float((error.abs() * weight[held]).sum() / (mask_error.abs() * weight[held]).sum())
        sys.stderr.write(f"epoch {epoch + 1} of {EPOCHS}: held-out error {ratio:.3f} of the mask's\n")
    arrays = [parameter.detach().numpy() for parameter in net.parameters()]
    first = arrays[0] / spread
    arrays[0], arrays[1] = first, arrays[1] - first @ middle
    names = ("w1", "b1", "w2", "b2", "w3", "b3")
    return {name: array.astype(np.float32) for name, array in zip(names, arrays, strict=True)}


def main(arguments: Sequence[str]) -> int:
    """Collect, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--samples", type=Path, required=True, metavar="DIR")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="first practice frame (to share the collecting out)")
    parser.add_argument("--collect-only", action="store_true")
    chosen = parser.parse_args(arguments)
    frames = collect(range(chosen.first, chosen.first + chosen.frames), chosen.samples)
    if not chosen.collect_only:
        np.savez(chosen.weights, **train(frames))  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
