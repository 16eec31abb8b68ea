"""A look at the masks before a job runs: is one empty, does it leap, is the subject outside, is it thin?"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge.messages import JobRequest

from ..media import FrameHeader, choose_mask_channel, read_mask, read_plate, repair_non_finite
from .inputs import ShotInputs, resolve_inputs
from .plan import sample_indices
from .planner import reference_header
from .preflight import Finding, MaskSample, Preflight, preflight

Float32 = NDArray[np.float32]

WIDTH = 640
NOTHING = Preflight(findings=(), feature_px=float("inf"))


def glance_at_masks(request: JobRequest) -> Preflight:
    """Preflight over pairs of frames at fixed fractions of the shot: quick. Raises what reading raises."""
    return _look(resolve_inputs(request), request, every=False)


def look_at_masks(inputs: ShotInputs, request: JobRequest) -> Preflight:
    """Preflight over the mask of every frame that is to be written. Raises what reading raises."""
    return _look(inputs, request, every=True)


def _look(inputs: ShotInputs, request: JobRequest, *, every: bool) -> Preflight:
    if not inputs.has("mask"):
        return NOTHING
    header = reference_header(inputs, request.plate_layer)
    scale = max(1.0, header.width / WIDTH)
    return preflight(_samples(inputs, request, header, 1 / scale, every), scale)


def summed_up(findings: tuple[Finding, ...]) -> list[tuple[Finding, int]]:
    """The first finding of each kind, and how many more of the kind there were."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return [(alike[0], len(alike) - 1) for alike in kinds.values()]


def _samples(
    inputs: ShotInputs, request: JobRequest, header: FrameHeader, scale: float, every: bool
) -> Iterator[MaskSample]:
    """Plates, which cost more to read, come at the fixed fractions only."""
    order = [inputs.index(frame) for frame in inputs.frames] if every else list(range(len(inputs.shot)))
    pairs = (order[place : place + 2] for place in sample_indices(len(order)))
    sampled = {index for pair in pairs for index in pair}
    indices = order if every else sorted(sampled)
    channel = ""
    previous = None
    for index in indices:
        frame = inputs.shot[index]
        path, plate_path = inputs.path("mask", frame), inputs.path("plate", frame)
        if path is None or not path.exists() or plate_path is None or not plate_path.exists():
            continue
        channel = channel or choose_mask_channel([(frame, str(path))], channel=request.mask_channel).channel
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
        plate = _plate(str(plate_path), frame, request, scale) if index in sampled else None
        yield MaskSample(frame, _small(mask.coverage, scale), plate)


def _plate(path: str, frame: int, request: JobRequest, scale: float) -> Float32:
    """A plate as a rough display picture: square root and clip, enough to compare colours."""
    pixels, _ = repair_non_finite(read_plate(path, frame=frame, layer=request.plate_layer).pixels)
    small = _small(pixels, scale)
    return np.asarray(np.sqrt(np.clip(small / max(1e-6, float(np.percentile(small, 95))), 0.0, 1.0)), np.float32)


def _small(image: Float32, scale: float) -> Float32:
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
