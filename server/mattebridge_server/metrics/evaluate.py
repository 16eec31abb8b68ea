"""`mattebridge eval`: a range of alphas on disk scored against the truth, as a table, JSON or CSV.

The display window is scored, whatever part of it a file stores; beyond it nothing counts. As with masks, outside its
data window an alpha is 0, and its channel is chosen once for the range.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import FrameError, MatteBridgeError, MissingFrames, OutputFailed, UsageError
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from ..media import FrameHeader, choose_mask_channel, place, read_mask, read_plate
from ..media.channels import in_view
from ..media.source import open_source
from ..pipeline.plan import sample_indices
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
    alpha: str,
    truth: str,
    frames: str = "",
    fgr: str = "",
    truth_fgr: str = "",
    view: str = "",
    *,
    channel: str = "",
    truth_channel: str = "",
) -> Evaluation:
    """Score ``alpha`` against ``truth`` (sequences); foreground too where both are given. Lower is better.

    Without ``frames`` every frame of the truth counts, so that a result that was not written is not passed over.
    ``channel`` and ``truth_channel`` name where an alpha is; without, it is found as a mask's is. ``view`` fills
    ``%V`` and ``%v`` and picks the view in files that hold several.
    Raises `UsageError` where one of two foregrounds is missing, `MissingFrames` where either side lacks a frame,
    `FrameError` where sizes differ, a file is damaged or a value is not finite.
    """
    if bool(fgr) != bool(truth_fgr):
        raise UsageError("a foreground is scored against its truth", remedy="Give both --fgr and --truth-fgr.")
    made, true = Sequence.parse(alpha), Sequence.parse(truth)
    numbers = FrameSet.parse(frames) if frames else _all_of(true, view)
    colours = (Sequence.parse(fgr), Sequence.parse(truth_fgr)) if fgr else None
    channels = (_channel(made, numbers, view, channel), _channel(true, numbers, view, truth_channel, "--truth-channel"))
    rows = tuple(_rows(made, true, numbers, channels, colours, view))
    names = rows[0].values
    return Evaluation(rows, {name: float(np.mean([row.values[name] for row in rows])) for name in names})


def _all_of(true: Sequence, view: str) -> FrameSet:
    numbers = true.existing(view=view) if true.has_frame else FrameSet([true.still_frame])
    if not numbers:
        raise MissingFrames(f"no frame of the truth exists: {true.pattern}", file=true.pattern)
    return numbers


def _rows(
    made: Sequence,
    true: Sequence,
    numbers: FrameSet,
    channels: tuple[str, str],
    colours: tuple[Sequence, Sequence] | None,
    view: str,
) -> Iterator[FrameScores]:
    before: tuple[Float32, Float32] | None = None
    for frame in numbers:
        truth = _header(true.path(frame, view=view), frame, view)
        one, other = (_alpha(s, frame, view, c, truth) for s, c in zip((made, true), channels, strict=True))
        values = {name: measure(one, other) for name, measure in _STILL.items()}
        values["dtssd"] = dtssd(one, before[0], other, before[1]) if before is not None else 0.0
        if colours is not None:
            colour, true_colour = (_colour(s, frame, view, truth, other > 0) for s in colours)
            values["fgr_mad"] = foreground_mad(colour, true_colour, other)
            values["fgr_mse"] = foreground_mse(colour, true_colour, other)
        yield FrameScores(frame, values)
        before = one, other


_STILL = {"mad": mad, "mse": mse, "sad": sad, "grad": grad, "conn": conn}


def _channel(sequence: Sequence, numbers: FrameSet, view: str, asked: str, flag: str = "--channel") -> str:
    """Where the alpha is, decided for the range: on single frames the subject may fill the picture."""
    frames = list(numbers)
    paths = [(frames[i], sequence.path(frames[i], view=view)) for i in sample_indices(len(frames))]
    try:
        return choose_mask_channel(paths, channel=asked, view=view).channel
    except MatteBridgeError as error:
        error.remedy = error.remedy.replace("--mask-channel", flag)
        raise


def _header(path: str, frame: int, view: str) -> FrameHeader:
    """The header of the view's first part: an alpha need not be a picture."""
    with open_source(path, frame) as source:
        return source.header(in_view(source.channels, file=path, frame=frame, view=view)[0].part)


def _alpha(sequence: Sequence, frame: int, view: str, channel: str, truth: FrameHeader) -> Float32:
    path = sequence.path(frame, view=view)
    _same_size(_header(path, frame, view), truth)
    grid = replace(truth, data_window=truth.display_window)
    found = read_mask(path, frame=frame, plate_header=grid, channel=channel, view=view)
    if found.non_finite:
        raise _not_finite(found.non_finite, path, frame)
    return found.coverage


def _colour(sequence: Sequence, frame: int, view: str, truth: FrameHeader, counts: NDArray[np.bool_]) -> Float32:
    """Straight colour on the display window; what does not count may be anything."""
    path = sequence.path(frame, view=view)
    plate = read_plate(path, frame=frame, view=view)
    _same_size(plate.header, truth)
    pixels = place(plate.pixels, plate.header.data_window, plate.header.display_window)
    if bad := int(np.count_nonzero(~np.isfinite(pixels[counts]))):
        raise _not_finite(bad, path, frame)
    return pixels


def _same_size(found: FrameHeader, truth: FrameHeader) -> None:
    one, other = found.display_window, truth.display_window
    if (one.width, one.height) != (other.width, other.height):
        raise FrameError(
            f"the picture is {one.width}x{one.height}, the truth {other.width}x{other.height}",
            file=found.path,
            frame=found.frame,
            remedy="Score the result at the truth's size.",
        )


def _not_finite(count: int, path: str, frame: int) -> FrameError:
    return FrameError(
        f"{count} values are not finite, so that there is no score", file=path, frame=frame, remedy="Mend the frame."
    )


def print_table(result: Evaluation, out: IO[str]) -> None:
    """One line per frame, then the means."""
    names = list(result.mean)
    out.write("frame " + "".join(f"{name:>10}" for name in names) + "\n")
    for row in result.frames:
        out.write(f"{row.frame:>5} " + "".join(f"{row.values[name]:>10.3f}" for name in names) + "\n")
    out.write(" mean " + "".join(f"{result.mean[name]:>10.3f}" for name in names) + "\n")


def main(args: argparse.Namespace) -> int:
    """The command. ``args``: alpha, truth, frames, fgr, truth_fgr, view, json, csv (a path, - for standard output)."""
    if args.json and args.csv == "-":
        raise UsageError("JSON and CSV cannot both go to standard output", remedy="Give --csv a file.")
    result = evaluate(
        args.alpha,
        args.truth,
        args.frames,
        args.fgr,
        args.truth_fgr,
        args.view,
        channel=args.channel,
        truth_channel=args.truth_channel,
    )
    if args.csv == "-":
        _write_csv(result, sys.stdout)
    elif args.csv:
        try:
            with Path(args.csv).open("w", newline="", encoding="utf-8") as file:
                _write_csv(result, file)
        except OSError as error:
            raise OutputFailed(f"the table cannot be written: {error.strerror}", file=args.csv) from error
    if args.json:
        frames = [{"frame": row.frame, **row.values} for row in result.frames]
        sys.stdout.write(json.dumps({"mean": result.mean, "frames": frames}, indent=2) + "\n")
    elif not args.csv:
        print_table(result, sys.stdout)
    return 0


def _write_csv(result: Evaluation, file: IO[str]) -> None:
    writer = csv.writer(file)
    writer.writerow(["frame", *result.mean])
    for row in result.frames:
        writer.writerow([row.frame, *(f"{row.values[name]:.6f}" for name in result.mean)])
    writer.writerow(["mean", *(f"{value:.6f}" for value in result.mean.values())])
