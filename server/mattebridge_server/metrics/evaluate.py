"""`mattebridge eval`: a range of alphas on disk scored against the truth, as a table, JSON or CSV."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import FrameError, MissingFrames
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from ..media import read_header, read_mask, read_plate
from .matting import conn, dtssd, foreground_mad, foreground_mse, grad, mad, mse, sad

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class FrameScores:
    """One frame's figures by measure; see `metrics.matting` for their scale."""

    frame: int
    values: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Every frame's figures and their means. ``mean`` holds the shot's figure for each measure."""

    frames: tuple[FrameScores, ...]
    mean: dict[str, float] = field(default_factory=dict)


def evaluate(
    alpha: str, truth: str, frames: str = "", fgr: str = "", truth_fgr: str = "", view: str = ""
) -> Evaluation:
    """Score ``alpha`` against ``truth`` (sequences); foreground too where both are given. Lower is better.

    Raises `MissingFrames` where either side lacks a frame, `FrameError` where sizes differ or a file is damaged.
    """
    made, true = Sequence.parse(alpha), Sequence.parse(truth)
    numbers = FrameSet.parse(frames) if frames else made.existing(view=view)
    if not numbers:
        raise MissingFrames(f"no frame to score: {alpha}", file=alpha)
    colours = (Sequence.parse(fgr), Sequence.parse(truth_fgr)) if fgr and truth_fgr else None
    rows = tuple(_rows(made, true, numbers, colours, view))
    names = rows[0].values
    return Evaluation(rows, {name: float(np.mean([row.values[name] for row in rows])) for name in names})


def _rows(
    made: Sequence, true: Sequence, numbers: FrameSet, colours: tuple[Sequence, Sequence] | None, view: str
) -> Iterator[FrameScores]:
    before: tuple[Float32, Float32] | None = None
    for frame in numbers:
        one, other = _alpha(made, frame, view), _alpha(true, frame, view)
        if one.shape != other.shape:
            raise FrameError(
                f"the alpha is {one.shape[1]}x{one.shape[0]}, the truth {other.shape[1]}x{other.shape[0]}",
                file=made.path(frame, view=view),
                frame=frame,
                remedy="Score the result at the truth's size.",
            )
        values = {name: measure(one, other) for name, measure in _STILL.items()}
        values["dtssd"] = dtssd(one, before[0], other, before[1]) if before is not None else 0.0
        if colours is not None:
            colour, true_colour = (read_plate(s.path(frame, view=view), frame=frame).pixels for s in colours)
            values["fgr_mad"] = foreground_mad(colour, true_colour, other)
            values["fgr_mse"] = foreground_mse(colour, true_colour, other)
        yield FrameScores(frame, values)
        before = one, other


_STILL = {"mad": mad, "mse": mse, "sad": sad, "grad": grad, "conn": conn}


def _alpha(sequence: Sequence, frame: int, view: str) -> Float32:
    path = sequence.path(frame, view=view)
    header = read_header(path, frame=frame)
    return read_mask(path, frame=frame, plate_header=header).coverage


def print_table(result: Evaluation, out: IO[str]) -> None:
    """One line per frame, then the means."""
    names = list(result.mean)
    out.write("frame " + "".join(f"{name:>10}" for name in names) + "\n")
    for row in result.frames:
        out.write(f"{row.frame:>5} " + "".join(f"{row.values[name]:>10.3f}" for name in names) + "\n")
    out.write(" mean " + "".join(f"{result.mean[name]:>10.3f}" for name in names) + "\n")


def main(args: argparse.Namespace) -> int:
    """The command. ``args``: alpha, truth, frames, fgr, truth_fgr, view, json, csv (a path, - for standard output)."""
    result = evaluate(args.alpha, args.truth, args.frames, args.fgr, args.truth_fgr, args.view)
    if args.json:
        frames = [{"frame": row.frame, **row.values} for row in result.frames]
        sys.stdout.write(json.dumps({"mean": result.mean, "frames": frames}, indent=2) + "\n")
    elif args.csv:
        if args.csv == "-":
            _write_csv(result, sys.stdout)
        else:
            with Path(args.csv).open("w", newline="", encoding="utf-8") as file:
                _write_csv(result, file)
    else:
        print_table(result, sys.stdout)
    return 0


def _write_csv(result: Evaluation, file: IO[str]) -> None:
    writer = csv.writer(file)
    writer.writerow(["frame", *result.mean])
    for row in result.frames:
        writer.writerow([row.frame, *(f"{row.values[name]:.6f}" for name in result.mean)])
    writer.writerow(["mean", *(f"{value:.6f}" for value in result.mean.values())])
