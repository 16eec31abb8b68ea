"""A quick look at a few masks before a job runs: is one empty, does it leap, is the subject outside, is it thin?"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge.messages import JobRequest

from ..media import FrameHeader, choose_mask_channel, place, read_mask, read_plate, repair_non_finite
from .inputs import ShotInputs, exists, resolve_inputs
from .plan import sample_indices
from .planner import reference_header
from .preflight import Finding, MaskSample, Preflight, preflight

Float32 = NDArray[np.float32]

WIDTH = 640
NOTHING = Preflight(findings=(), feature_px=float("inf"))


def glance_at_masks(request: JobRequest) -> Preflight:
    """Preflight over pairs of frames at fixed fractions of the shot. Raises what reading raises."""
    inputs = resolve_inputs(request)
    if not inputs.has("mask"):
        return NOTHING
    header = reference_header(inputs, request.plate_layer)
    scale = max(1.0, header.width / WIDTH)
    return preflight(_samples(inputs, request, header, 1 / scale), scale)


def summed_up(findings: tuple[Finding, ...]) -> list[tuple[Finding, int]]:
    """The first finding of each kind, and how many more of the kind there were."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return [(alike[0], len(alike) - 1) for alike in kinds.values()]


def _samples(inputs: ShotInputs, request: JobRequest, header: FrameHeader, scale: float) -> Iterator[MaskSample]:
    last = len(inputs.shot) - 1
    indices = sorted({near for index in sample_indices(len(inputs.shot)) for near in (index, min(index + 1, last))})
    channel = ""
    previous = None
    for index in indices:
        frame = inputs.shot[index]
        path, plate_path = inputs.path("mask", frame), inputs.path("plate", frame)
        if not exists(path) or not exists(plate_path):
            continue
        channel = channel or _channel(inputs, request, frame, str(path))
        mask = read_mask(
            str(path),
            frame=frame,
            plate_header=header,
            channel=channel,
            invert=request.mask_invert,
            fit=request.mask_fit,
            view=inputs.view,
        )
        if previous is not None and previous != index - 1:
            yield MaskSample(frame, None)  # a gap: the next mask is not compared with the one before it
        previous = index
        yield MaskSample(frame, _small(mask.coverage, scale), _plate(str(plate_path), frame, request, header, scale))


def _channel(inputs: ShotInputs, request: JobRequest, frame: int, path: str) -> str:
    return choose_mask_channel([(frame, path)], channel=request.mask_channel, view=inputs.view).channel


def _plate(path: str, frame: int, request: JobRequest, header: FrameHeader, scale: float) -> Float32:
    """A plate on the shot's grid as a rough display picture: square root and clip, enough to compare colours."""
    plate = read_plate(path, frame=frame, layer=request.plate_layer, view=request.view)
    pixels, _ = repair_non_finite(plate.pixels)
    small = _small(place(pixels, plate.header.data_window, header.data_window), scale)
    return np.asarray(np.sqrt(np.clip(small / max(1e-6, float(np.percentile(small, 95))), 0.0, 1.0)), np.float32)


def _small(image: Float32, scale: float) -> Float32:
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
