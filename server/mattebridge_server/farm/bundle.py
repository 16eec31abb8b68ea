"""A job bundle for any OpenJD scheduler: a folder with the template, the values of its parameters and the plan.

template.json            what `openjd check` and a scheduler read
parameter_values.json    the values as `deadline bundle submit` reads them
parameters.json          the same values as `openjd run --job-param file://parameters.json` reads them
plan.json                the plan, with the request in it; the template's parameter Plan
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mattebridge.errors import OutputFailed, UsageError
from mattebridge.frames import FrameSet

from ..models.base import Canvas
from ..models.registry import load_registry
from ..pipeline.inputs import resolve_inputs
from .chunking import STAGE_TIMES, Rhythm, StageTimes, chunk_seconds, recommended_chunk
from .report import one_line
from .shot import FarmShot
from .template import PLAN_FILE, Comp, JobSpec, Needs, job_template, parameter_values

MIB = 1 << 20
HOST_BASE_MIB = 1500
"""What the server's processes hold before the first frame, with room for their libraries."""

FRAME_BYTES_PER_PIXEL = 48
"""Plate, mask, alpha and the copies that a stage makes, in float32."""

LOOSE_TIMEOUT = 10
"""A task may take this many times what is expected of it: a worker may be slow, a hung one must not stay."""

SHORTEST_TIMEOUT_S = 1800
LONGEST_NAME = 128
DEVICE = r"(cpu|cuda)(:\d+)?"


@dataclass(frozen=True)
class Choices:
    """What a wrangler may decide; 0 and empty mean: as the plan and the model's card suggest."""

    chunk: int = 0
    name: str = ""
    command: str = "mattebridge"
    device: str = ""
    threads: int = 2
    models_folder: str = ""
    task_timeout_s: int = 0
    comp: Comp | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, and what it asks for."""

    folder: Path
    spec: JobSpec
    frames: FrameSet


def make_bundle(shot: FarmShot, folder: Path, choices: Choices) -> Bundle:
    """Write the bundle. Raises what `job_spec` raises, and `OutputFailed`."""
    spec = job_spec(shot, choices)
    values = parameter_values(spec)
    listed = {"parameterValues": [{"name": name, "value": value} for name, value in values.items()]}
    files: Mapping[str, object] = {
        "template.json": job_template(spec),
        "parameter_values.json": listed,
        "parameters.json": {name: str(value) for name, value in values.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / PLAN_FILE).write_bytes(shot.text)
    except OSError as error:
        raise OutputFailed(f"the bundle cannot be written: {error.strerror}", file=str(folder)) from error
    return Bundle(folder, spec, shot.frames)


def job_spec(shot: FarmShot, choices: Choices) -> JobSpec:
    """What the template will say about this shot. Raises `UsageError`, and `InputError` for an output over an input."""
    request = replace(shot.request, frames=str(shot.frames))
    resolve_inputs(request, shot.plan.frames, elsewhere=True)  # refuses names that clash
    if choices.device and not re.fullmatch(DEVICE, choices.device):
        raise UsageError(f"a device is cpu:N or cuda:N, not {choices.device!r}")
    needs = worker_needs(shot, choices)
    chunk = chunk_size(shot, choices.chunk)
    frames = shot.frames
    expected_s = _expected_seconds(shot, chunk)
    if not choices.command:
        raise UsageError("no command was named that workers call", remedy="Name it, or leave --command out.")
    name = one_line(choices.name or f"matte {shot.request.label or Path(shot.request.out).name}")
    name = re.sub(r"([{}])(?=\1)", r"\1 ", name)  # two of them are the ends of a reference to a parameter
    return JobSpec(
        name=name[:LONGEST_NAME],
        frames=range_text(frames),
        contiguous=len(frames) == frames.last - frames.first + 1,
        chunk=chunk,
        task_timeout_s=choices.task_timeout_s or max(SHORTEST_TIMEOUT_S, round(LOOSE_TIMEOUT * expected_s)),
        needs=needs,
        folders=shot.folders(),
        command=choices.command,
        device=choices.device or ("cuda:0" if needs.gpus else "cpu:0"),
        threads=choices.threads,
        models_folder=choices.models_folder,
        comp=choices.comp,
    )


def chunk_size(shot: FarmShot, asked: int) -> int:
    """Frames for each task: what was asked for, rounded up to the window stride, or what `recommended_chunk` says.

    Raises `UsageError` for a negative size, and for a shot that cannot be split.
    """
    rhythm, frames = Rhythm.of(shot.plan), len(shot.frames)
    if asked < 0:
        raise UsageError(f"a chunk of {asked} frames makes no sense", remedy="Give --chunk N with N of 1 or more.")
    if rhythm.temporal == "shot":
        if 0 < asked < frames:
            raise UsageError(
                f"{shot.plan.model} runs a shot from its first frame to its last and cannot be split into chunks",
                remedy="Leave --chunk out: the whole shot is one task.",
            )
        return frames
    if not asked:
        return min(frames, recommended_chunk(rhythm, stage_times(shot), shot.total))
    return min(frames, -(-asked // rhythm.step) * rhythm.step)


def stage_times(shot: FarmShot) -> StageTimes:
    """Times for the plan's model at the plate's size; a model without figures counts as `edge`, or as a network."""
    usual = "edge" if shot.plan.region is None else "videomama"
    width, height = shot.plan.plate[2:]
    return STAGE_TIMES.get(shot.plan.model, STAGE_TIMES[usual]).at(width * height)


def worker_needs(shot: FarmShot, choices: Choices) -> Needs:
    """CPU cores and memory from the plate's size, GPU memory from the model's card; none for a job on the CPU."""
    plan = shot.plan
    width, height = plan.plate[2:]
    held = min(shot.total, plan.length if plan.temporal == "window" else 2 * plan.radius + 1) + 6
    memory_mib = HOST_BASE_MIB + held * width * height * FRAME_BYTES_PER_PIXEL // MIB
    device_bytes = 0
    if plan.region is not None and not choices.device.startswith("cpu"):
        model = load_registry().get(plan.model)()
        device_bytes = model.memory_need(Canvas(*plan.region.canvas), min(shot.total, plan.length), plan.precision)
    if not device_bytes and not choices.device.startswith("cuda"):
        return Needs(choices.threads, memory_mib)
    return Needs(choices.threads, memory_mib, 1, -(-device_bytes // MIB))


def range_text(frames: FrameSet) -> str:
    """A range as OpenJD writes it: a step comes after a colon."""
    return str(frames).replace("x", ":")


def _expected_seconds(shot: FarmShot, chunk: int) -> float:
    first = max(0, (shot.total - chunk) // 2)
    return chunk_seconds(Rhythm.of(shot.plan), stage_times(shot), shot.total, first, min(shot.total, first + chunk))
