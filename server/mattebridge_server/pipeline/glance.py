"""A look at the masks before a job runs: is one empty, does it leap, is the subject outside, is it thin?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mattebridge.messages import JobRequest

from ..media import FrameHeader, choose_mask_channel, place, read_plate, shrink, usable
from .inputs import ShotInputs, exists, resolve_inputs
from .plan import sample_indices
from .planner import reference_header
from .preflight import Finding, MaskSample, Preflight, preflight
from .store import MaskRule, made_rule

Float32 = NDArray[np.float32]

WIDTH = 640
Told = Callable[[int], None]
"""Called before each mask with the number of those that were looked at."""
NOTHING = Preflight(findings=(), feature_px=float("inf"))


def glance_at_masks(request: JobRequest, inputs: ShotInputs | None = None) -> Preflight:
    """Preflight over pairs of frames at fixed fractions of the shot: quick. Raises what reading raises.

    ``inputs``: what the request was resolved to, where that was done.
    """
    inputs = inputs or resolve_inputs(request)
    at = range(len(inputs.shot))
    return _look(inputs, request, sorted(_pairs(at)), _no_news)


def look_at_masks(inputs: ShotInputs, request: JobRequest, frames: Sequence[int], told: Told) -> Preflight:
    """Preflight over the mask of each of ``frames``. Raises what reading and ``told`` raise."""
    return _look(inputs, request, [inputs.index(frame) for frame in frames], told)


def _look(inputs: ShotInputs, request: JobRequest, indices: Sequence[int], told: Told) -> Preflight:
    if not inputs.has("mask") or not indices:
        return NOTHING
    header = reference_header(inputs, request.plate_layer)
    scale = max(1.0, header.width / WIDTH)
    return preflight(_samples(inputs, request, header, 1 / scale, indices, told), scale)


def _pairs(order: Sequence[int]) -> set[int]:
    """Neighbours at fixed fractions of ``order``."""
    return {index for place in sample_indices(len(order)) for index in order[place : place + 2]}


def _no_news(done: int) -> None:
    """For a look that is over before anybody wonders."""


def summed_up(findings: tuple[Finding, ...]) -> list[tuple[Finding, int]]:
    """The first finding of each kind, and how many more of the kind there were."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return [(alike[0], len(alike) - 1) for alike in kinds.values()]


def _samples(
    inputs: ShotInputs, request: JobRequest, header: FrameHeader, scale: float, indices: Sequence[int], told: Told
) -> Iterator[MaskSample]:
    """Plates, which cost more to read, come at the fixed fractions only."""
    sampled = _pairs(indices)
    channel = ""
    previous = None
    for done, index in enumerate(indices):
        told(done)
        frame = inputs.shot[index]
        path, plate_path = inputs.path("mask", frame), inputs.path("plate", frame)
        if not exists(path) or not exists(plate_path):
            continue
        made = inputs.is_made("mask", frame)
        channel = channel or ("" if made else _channel(inputs, request, frame, str(path)))
        rule = made_rule() if made else MaskRule(channel, request.mask_invert, request.mask_fit)
        mask = rule.read(path, frame, header, inputs.view)
        if previous is not None and previous != index - 1:
            yield MaskSample(frame, None)  # a gap: the next mask is not compared with the one before it
        previous = index
        plate = _plate(str(plate_path), frame, request, header, scale) if index in sampled else None
        yield MaskSample(frame, shrink(mask.coverage, scale), plate)


def _channel(inputs: ShotInputs, request: JobRequest, frame: int, path: str) -> str:
    return choose_mask_channel([(frame, path)], channel=request.mask_channel, view=inputs.view).channel


def _plate(path: str, frame: int, request: JobRequest, header: FrameHeader, scale: float) -> Float32:
    """A plate on the shot's grid as a rough display picture: square root and clip, enough to compare colours."""
    plate = read_plate(path, frame=frame, layer=request.plate_layer, view=request.view)
    pixels, _ = usable(plate.pixels)
    small = shrink(place(pixels, plate.header.data_window, header.data_window), scale)
    return np.asarray(np.sqrt(np.clip(small / max(1e-6, float(np.percentile(small, 95))), 0.0, 1.0)), np.float32)
