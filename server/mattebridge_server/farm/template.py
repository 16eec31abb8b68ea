"""The OpenJD job template (specification jobtemplate-2023-09) of a farm job, as plain data.

Only the extension TASK_CHUNKING is used, so that every scheduler which can chunk can run it. What a scheduler may map
or copy is a PATH parameter; frame handles and windows are not its business, the client works them out from the chunk.

    step Matte    environment Server: one warm server for each worker session
                  task: one chunk of frames
    step Verify   after it, on any host: every frame is there, made from this plan, finite and without seams
    step Comp     after that, where a Nuke script was given: its Write, in the same chunks, with the matte in its node
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPECIFICATION = "jobtemplate-2023-09"
EXTENSIONS = ["TASK_CHUNKING"]
CHUNK_PARAMETER = "Frames"
PLAN_FILE = "plan.json"

ENTER_TIMEOUT_S = 1800
EXIT_TIMEOUT_S = 120
NOTIFY_S = 60

FOLDERS = {
    "plate": ("PlateFolder", "Folder of the plate", "IN"),
    "mask": ("MaskFolder", "Folder of the mask", "IN"),
    "core": ("CoreFolder", "Folder of the core mask", "IN"),
    "garbage": ("GarbageFolder", "Folder of the garbage mask", "IN"),
    "comp_over": ("BackgroundFolder", "Folder of the background", "IN"),
    "config": ("ConfigFolder", "Folder of the OCIO config", "IN"),
    "out": ("AlphaFolder", "Folder of the alpha", "OUT"),
    "fgr": ("ForegroundFolder", "Folder of the foreground", "OUT"),
    "comp": ("CompFolder", "Folder of the comp", "OUT"),
    "cleanplate": ("CleanPlateFolder", "Folder of the clean plate", "OUT"),
}
"""Field of the request → parameter, label and data flow."""

COMP_FILE = "Comp"
COMP_TEXT = """\
# Run by Nuke's terminal: the script was saved before there was a matte, so its node is told first where it lies.
import sys

from mattebridge_nuke import farm

sys.exit(farm.render_comp(*sys.argv[-4:]))
"""
"""What a comp's task runs. Its arguments end with the script: Nuke takes a number or range at the end for itself."""


@dataclass(frozen=True)
class Needs:
    """What a worker must have. ``memory_mib`` and ``gpu_memory_mib`` in MiB; no GPU where ``gpus`` is 0."""

    vcpus: int
    memory_mib: int
    gpus: int = 0
    gpu_memory_mib: int = 0


@dataclass(frozen=True)
class Comp:
    """A Nuke script, the Write in it to render, and how a worker calls Nuke."""

    script: str
    write: str
    command: str = "nuke"


@dataclass(frozen=True)
class JobSpec:
    """All that the template says. ``folders`` by field of the request; ``frames`` as OpenJD writes ranges (``1-9:2``).

    ``command`` is how a worker calls mattebridge. ``contiguous``: whether chunks are runs without holes. ``comp`` is a
    comp that needs the result.
    """

    name: str
    frames: str
    contiguous: bool
    chunk: int
    task_timeout_s: int
    needs: Needs
    folders: Mapping[str, str]
    command: str = "mattebridge"
    device: str = "cpu:0"
    threads: int = 2
    models_folder: str = ""
    comp: Comp | None = None


def job_template(spec: JobSpec) -> dict[str, Any]:
    """The template. Values of its parameters are `parameter_values`."""
    return {
        "specificationVersion": SPECIFICATION,
        "extensions": EXTENSIONS,
        "name": spec.name,
        "parameterDefinitions": _parameters(spec),
        "steps": [_matte(spec), _verify(spec), *([_comp(spec)] if spec.comp else [])],
    }


def parameter_values(spec: JobSpec) -> dict[str, str | int]:
    """Values by parameter; parameters that are left out keep their default."""
    values: dict[str, str | int] = {"Frames": spec.frames, "ChunkSize": spec.chunk}
    values |= {FOLDERS[field][0]: folder for field, folder in spec.folders.items()}
    values |= {"MatteBridge": spec.command, "Device": spec.device, "Threads": spec.threads}
    if spec.models_folder:
        values["ModelsFolder"] = spec.models_folder
    if spec.comp:
        values |= {"Nuke": spec.comp.command, "NukeScript": spec.comp.script, "NukeWrite": spec.comp.write}
    return values


def _parameters(spec: JobSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "Frames", "type": "STRING", "minLength": 1, "description": "Frames to write."},
        {"name": "ChunkSize", "type": "INT", "minValue": 1, "description": "Frames for each task."},
        _path("Plan", "The shot's plan", "IN", "FILE", default=PLAN_FILE),
    ]
    found += [_path(*FOLDERS[field], "DIRECTORY") for field in FOLDERS if field in spec.folders]
    if spec.models_folder:
        found.append(_path("ModelsFolder", "Folder of the weights", "NONE", "DIRECTORY"))
    if spec.comp:
        found.append(_path("NukeScript", "The comp that needs the mattes", "IN", "FILE"))
        found.append(_text("NukeWrite", spec.comp.write, "The Write of the comp."))
        found.append(_text("Nuke", "nuke", "How a worker calls Nuke."))
    found += [
        _text("MatteBridge", "mattebridge", "How a worker calls mattebridge."),
        _text("Device", "cpu:0", "Device of the server: cpu:0 or cuda:0."),
        {"name": "Threads", "type": "INT", "default": 2, "minValue": 1, "description": "Threads of the engine."},
    ]
    return found


def _path(name: str, label: str, flow: str, kind: str, default: str = "") -> dict[str, Any]:
    control = "CHOOSE_INPUT_FILE" if kind == "FILE" else "CHOOSE_DIRECTORY"
    about = {"name": name, "type": "PATH", "objectType": kind, "dataFlow": flow}
    if default:
        about["default"] = default
    return {**about, "userInterface": {"control": control, "label": label}}


def _text(name: str, default: str, about: str) -> dict[str, Any]:
    return {"name": name, "type": "STRING", "default": default, "minLength": 1, "description": about}


def _chunks(contiguous: bool) -> dict[str, Any]:
    frames = {
        "name": CHUNK_PARAMETER,
        "type": "CHUNK[INT]",
        "range": "{{Param.Frames}}",
        "chunks": {
            "defaultTaskCount": "{{Param.ChunkSize}}",
            "rangeConstraint": "CONTIGUOUS" if contiguous else "NONCONTIGUOUS",
        },
    }
    return {"taskParameterDefinitions": [frames]}


def _matte(spec: JobSpec) -> dict[str, Any]:
    task = ["task", *_shot(spec), *_session(), "--frames={{Task.Param." + CHUNK_PARAMETER + "}}", "--report=openjd"]
    return {
        "name": "Matte",
        "hostRequirements": {"amounts": _amounts(spec.needs)},
        "stepEnvironments": [_server(spec)],
        "parameterSpace": _chunks(spec.contiguous),
        "script": {"actions": {"onRun": _action(task, spec.task_timeout_s)}},
    }


def _server(spec: JobSpec) -> dict[str, Any]:
    models = ["--models-dir", "{{Param.ModelsFolder}}"] if spec.models_folder else []
    about = ["--device", "{{Param.Device}}", "--threads", "{{Param.Threads}}", *models]
    return {
        "name": "Server",
        "description": "One mattebridge server for this worker session, with its model loaded.",
        "script": {
            "actions": {
                "onEnter": _action(["enter", *_shot(spec), *_session(), *about], ENTER_TIMEOUT_S),
                "onExit": _action(["exit", *_session()], EXIT_TIMEOUT_S),
            }
        },
    }


def _verify(spec: JobSpec) -> dict[str, Any]:
    chunk = ["--chunk", "{{Param.ChunkSize}}", "--frames={{Param.Frames}}", "--report=openjd"]
    return {
        "name": "Verify",
        "dependencies": [{"dependsOn": "Matte"}],
        "hostRequirements": {"amounts": [{"name": "amount.worker.vcpu", "min": 1}]},
        "script": {"actions": {"onRun": _action(["verify", *_shot(spec), *chunk], spec.task_timeout_s)}},
    }


def _comp(spec: JobSpec) -> dict[str, Any]:
    """Nuke takes runs of frames: one with holes is several tasks."""
    words = ["-t", "{{Task.File." + COMP_FILE + "}}", "{{Task.Param." + CHUNK_PARAMETER + "}}", "{{Param.NukeWrite}}"]
    words += ["{{Param." + FOLDERS["out"][0] + "}}", "{{Param.NukeScript}}"]
    render = {**_action([], spec.task_timeout_s), "command": "{{Param.Nuke}}", "args": words}
    embedded = {"name": COMP_FILE, "type": "TEXT", "filename": "mattebridge_comp.py", "data": COMP_TEXT}
    return {
        "name": "Comp",
        "dependencies": [{"dependsOn": "Verify"}],
        "parameterSpace": _chunks(contiguous=True),
        "script": {"embeddedFiles": [embedded], "actions": {"onRun": render}},
    }


def _shot(spec: JobSpec) -> list[str]:
    words = ["--plan", "{{Param.Plan}}"]
    for field in FOLDERS:
        if field in spec.folders:
            words += ["--folder", f"{field}=" + "{{Param." + FOLDERS[field][0] + "}}"]
    return words


def _session() -> list[str]:
    return ["--session", "{{Session.WorkingDirectory}}"]


def _action(words: list[str], timeout_s: int) -> dict[str, Any]:
    return {
        "command": "{{Param.MatteBridge}}",
        "args": ["farm", *words],
        "timeout": timeout_s,
        "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": NOTIFY_S},
    }


def _amounts(needs: Needs) -> list[dict[str, Any]]:
    amounts: list[dict[str, Any]] = [
        {"name": "amount.worker.vcpu", "min": needs.vcpus},
        {"name": "amount.worker.memory", "min": needs.memory_mib},
    ]
    if needs.gpus:
        amounts.append({"name": "amount.worker.gpu", "min": needs.gpus, "max": needs.gpus})
        amounts.append({"name": "amount.worker.gpu.memory", "min": needs.gpu_memory_mib})
    return amounts
