"""Masks that a job makes for itself: tracked from points and boxes, or filled in where the shot has none.

The tracker walks the whole shot, also when the job writes a chunk of it, because a track is one thing. What it makes
goes to a folder of the job as EXR with one layer per object; from there on the masks are files like any other, and
their content is part of every frame's key.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import UsageError
from mattebridge.frames import FrameSet
from mattebridge.messages import PromptInfo
from mattebridge.rendezvous import process_alive

from ..media import FrameHeader, write_alpha
from ..models.base import FrameResult
from .inputs import ShotInputs, missing_frames
from .store import LAYER_PREFIX

Float32 = NDArray[np.float32]
MAIN_LAYER = "A"


@dataclass(frozen=True)
class Track:
    """What was tracked: the inputs with the made masks, the objects' layers, and the frames that were made."""

    inputs: ShotInputs
    layers: tuple[str, ...]
    made: tuple[int, ...]


def frames_to_make(inputs: ShotInputs, prompts: Sequence[PromptInfo], fill: str) -> tuple[int, ...]:
    """The frames of the shot whose masks have to be made, or corrected by a prompt; none where every frame has one.

    Raises `UsageError` for prompts together with masks on every frame (two answers to one question), and for named
    objects together with masks on some, which are of one object that has no name.
    """
    if prompts and not inputs.has("mask"):
        return inputs.shot
    if fill and not inputs.has("mask"):
        raise UsageError(
            "there is no mask to fill the gaps of", remedy="Name one (--mask PATH), or draw points or a box."
        )
    missing = tuple(missing_frames(inputs, "mask", inputs.shot))
    if prompts and not missing:
        raise UsageError(
            "the job has a mask on every frame and prompts as well", remedy="Leave one of them out, or use model sam2."
        )
    if len(missing) < len(inputs.shot) and any(prompt.layer != MAIN_LAYER for prompt in prompts):
        raise UsageError(
            "the job has masks on some frames, and prompts for named objects",
            remedy="Leave the masks out, or give the prompts no name: they then correct the object of the masks.",
        )
    if not (prompts or fill):
        return ()
    return tuple(sorted({*missing, *(prompt.frame for prompt in prompts)}))


def track_folder() -> Path:
    """A new folder for one job's masks. What processes of this host that were killed have left is removed."""
    own = f"mattebridge-track-{socket.gethostname()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{own}*"):
        pid = left.name.removeprefix(own).partition("-")[0]
        if pid.isdecimal() and not process_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{own}{os.getpid()}-"))


def keep_track(
    results: Iterator[FrameResult], inputs: ShotInputs, make: tuple[int, ...], grid: FrameHeader, folder: Path
) -> Track:
    """Write the tracker's alphas for the frames in ``make`` to ``folder``. Raises `OutputFailed`."""
    wanted, layers = set(make), dict[str, None]()
    stand_ins = dict(inputs.stand_ins)
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        if result.number not in wanted:
            continue
        layers |= dict.fromkeys(result.layers)
        objects = {f"{LAYER_PREFIX}{name}": layer for name, layer in result.layers.items()}
        path = folder / f"mask.{result.number}.exr"
        write_alpha(str(path), {MAIN_LAYER: result.alpha, **objects}, like=grid, frame=result.number)
        stand_ins[("mask", result.number)] = path
    whole = len(make) == len(inputs.shot)
    named = tuple(layers) if whole and len(layers) > 1 else ()
    return Track(replace(inputs, stand_ins=stand_ins), named, make)


def tell(track: Track, tracker: str) -> str:
    """A sentence for the user."""
    what = f"{len(track.layers)} objects ({', '.join(track.layers)})" if track.layers else "masks"
    return f"{tracker} made {what} for frames {FrameSet(track.made)}"
