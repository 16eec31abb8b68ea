"""``farm``: job bundles for a render farm, and the commands that a bundle's tasks run on the workers."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MatteBridgeError, OutOfMemory, UsageError
from ..frames import FrameSet
from ..requests import plan_bytes
from . import need, write_line
from .connection import settings_of
from .job_flags import at_least

FARM_EXAMPLES = """\
examples:
  mattebridge plan --plate plate.####.exr --mask roto.####.exr --plate-space ACEScg --out shot.json
  mattebridge farm bundle --plan shot.json --alpha alpha.####.exr --out shot_bundle
  mattebridge farm submit shot_bundle                          AWS Deadline Cloud
  openjd run shot_bundle/template.json --job-param file://shot_bundle/parameters.json --step Verify --run-dependencies
  mattebridge farm task --bundle shot_bundle --index 3         one chunk, for any other scheduler
  mattebridge farm verify --bundle shot_bundle                 is every frame there and right?

exit status of a task: 0 done, 2 usage, 3 bad input (a retry will not help), 4 server lost (retry), 5 out of memory
(retry on a larger host), 6 cancelled, 7 refused
"""
NO_BUNDLE = "Make one with `mattebridge farm bundle`, in a folder that every worker sees."
SERVERS = "auto|ENDPOINT"
PATH_FLAGS = (
    ("plate", "plate", "plate, where not the one of the plan"),
    ("mask", "mask", "mask, likewise"),
    ("core", "core", "core mask, likewise"),
    ("garbage", "garbage", "garbage mask, likewise"),
    ("alpha", "out", "where the alpha goes; {version} becomes the next version"),
    ("fgr", "fgr", "straight foreground, RGB"),
    ("comp-over", "comp_over", "background for a comp ..."),
    ("comp", "comp", "... and where the comp goes"),
    ("cleanplate", "cleanplate", "the plate without the subject"),
    ("frames", "frames", "frames to write (default: the shot)"),
    ("view", "view", "the view that %%V and %%v stand for"),
    ("plate-layer", "plate_layer", "layer of the plate, where not the one of the plan"),
    ("label", "label", "what others in the queue see"),
)


def add_parser(subparsers: Any) -> None:
    """Add `farm` and its commands to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    farm = subparsers.add_parser("farm", help="job bundles for a farm", formatter_class=raw, epilog=FARM_EXAMPLES)
    commands = farm.add_subparsers(dest="farm_command", required=True, metavar="COMMAND")
    _add_bundle(commands)
    _add_submit(commands)
    task = commands.add_parser("task", help="matte one chunk; safe to repeat")
    _add_shot(task)
    which = task.add_mutually_exclusive_group()
    which.add_argument("--frames", default="", metavar="R", help="frames to write (default: all)")
    which.add_argument(
        "--index", type=int, default=None, metavar="N", help="the Nth chunk, from 0, as array jobs count"
    )
    which.add_argument("--first", type=int, default=None, metavar="F", help="the chunk that begins with this frame")
    task.add_argument("--memory-status", type=int, default=5, metavar="N", help="exit status for out of memory (5)")
    task.add_argument("--chunk", type=int, default=0, metavar="N", help="frames in a chunk (default: the bundle's)")
    task.add_argument("--overwrite", action="store_true", help="replace frames that were made otherwise")
    where = task.add_mutually_exclusive_group()
    where.add_argument("--session", default="", metavar="DIR", help="use the server of this session (default: none)")
    where.add_argument("--server", default="", metavar=SERVERS, help="use a server of the host; auto: if one runs")
    _add_engine(task)
    _add_report(task)
    chunks = commands.add_parser(
        "chunks", help="list the chunks of a bundle, one range per line, as --index counts them"
    )
    chunks.add_argument("--bundle", required=True, metavar="DIR", help="made by `mattebridge farm bundle`")
    chunks.set_defaults(plan="", folder=[])
    enter = commands.add_parser("enter", help="start the server of a worker session and load its model")
    _add_shot(enter)
    _add_engine(enter)
    enter.add_argument("--session", required=True, metavar="DIR", help="the session's working folder")
    leave = commands.add_parser("exit", help="stop the server of a worker session; one that is gone is a success")
    leave.add_argument("--session", required=True, metavar="DIR", help="the session's working folder")
    for command in (enter, leave):
        command.set_defaults(report="openjd")
    verify = commands.add_parser("verify", help="is every frame there, made from this plan, finite and without seams?")
    _add_shot(verify)
    verify.add_argument("--frames", default="", metavar="R", help="frames to look at (default: all)")
    verify.add_argument("--chunk", type=int, default=0, metavar="N", help="frames of a task, to look for seams")
    _add_report(verify)


def run(args: argparse.Namespace) -> int:
    """Exit status. Errors of the tree are raised: the command line prints them."""
    command = {
        "bundle": _bundle,
        "submit": _submit,
        "chunks": _chunks,
        "task": _task,
        "enter": _enter,
        "exit": _exit,
        "verify": _verify,
    }[args.farm_command]
    try:
        return command(args)
    except MatteBridgeError as error:
        if args.farm_command in ("enter", "task", "verify"):
            _report(args).failed(error)
        raise


def _add_bundle(commands: Any) -> None:
    bundle = commands.add_parser("bundle", help="write a job bundle that any OpenJD scheduler runs")
    bundle.add_argument("--plan", required=True, metavar="FILE", help="made by `mattebridge plan`")
    bundle.add_argument("--chunk", type=int, default=0, metavar="N", help="frames for each task (default: recommended)")
    bundle.add_argument("--out", default="", metavar="DIR", help="default: the plan's name with _bundle")
    for flag, _, about in PATH_FLAGS:
        bundle.add_argument(f"--{flag}", default="", help=about)
    bundle.add_argument("--overwrite", action="store_true", help="replace files that were made otherwise")
    bundle.add_argument(
        "--version", type=at_least(0), default=0, metavar="N", help="what {version} is (default: the next)"
    )
    bundle.add_argument("--name", default="", help="the job's name")
    bundle.add_argument("--command", dest="mattebridge", default="mattebridge", help="how workers call mattebridge")
    bundle.add_argument(
        "--task-timeout", type=at_least(0), default=0, metavar="S", help="default: ten times the expected time"
    )
    comp = bundle.add_argument_group("a comp that needs the matte, as a last step of the job")
    comp.add_argument("--nuke-script", default="", metavar="FILE", help="the script; a Write of it is rendered")
    comp.add_argument("--nuke-write", default="", metavar="NODE", help="the Write")
    comp.add_argument("--nuke", default="nuke", metavar="COMMAND", help="how workers call Nuke (nuke)")
    _add_engine(bundle, "a GPU for a network, else cpu:0")


def _add_submit(commands: Any) -> None:
    submit = commands.add_parser("submit", help="hand a bundle to AWS Deadline Cloud, or to OpenCue")
    submit.add_argument("bundle", metavar="DIR", help="made by `mattebridge farm bundle`")
    submit.add_argument("--opencue", action="store_true", help="to OpenCue instead: needs --show and --shot")
    submit.add_argument("--show", default="", help="OpenCue's show")
    submit.add_argument("--shot", default="", help="OpenCue's shot")
    submit.add_argument("--user", default="", help="OpenCue's user (default: you)")
    submit.add_argument(
        "--retries", type=at_least(0), default=2, metavar="N", help="how often OpenCue tries a frame again (2)"
    )
    submit.add_argument("--server", default="", metavar=SERVERS, help="what OpenCue's tasks give to farm task")
    submit.add_argument(
        "--print", dest="only_print", action="store_true", help="print OpenCue's job and submit nothing"
    )
    submit.add_argument("arguments", nargs="*", help="further arguments of `deadline bundle submit`, after --")


def _add_shot(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", default="", metavar="DIR", help="made by `mattebridge farm bundle`")
    source.add_argument("--plan", default="", metavar="FILE", help="the plan of a bundle")
    parser.add_argument("--folder", action="append", default=[], metavar="ROLE=DIR", help="where a folder lies here")


def _add_engine(parser: argparse.ArgumentParser, device: str = "the bundle's, else cpu:0") -> None:
    parser.add_argument("--device", default="", metavar="cpu:0|cuda:0", help=f"default: {device}")
    parser.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="threads of the engine (default: 2)"
    )
    parser.add_argument("--models-dir", default="", metavar="DIR", help="folder of the weights")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", default="plain", choices=("plain", "openjd", "json"), help="the form of its lines")
    parser.add_argument("--json", dest="report", action="store_const", const="json", help="as --report json")


def _bundle(args: argparse.Namespace) -> int:
    farm, shots = need("mattebridge_server.farm.bundle"), need("mattebridge_server.farm.shot")
    fields = {field: getattr(args, flag.replace("-", "_")) for flag, field, _ in PATH_FLAGS}
    shot = shots.with_paths(plan_bytes(args.plan), {**fields, "overwrite": args.overwrite}, args.version, args.plan)
    if bool(args.nuke_script) != bool(args.nuke_write):
        raise UsageError(
            "a comp is a script and a Write in it", remedy="Give both: --nuke-script FILE --nuke-write NODE."
        )
    comp = farm.Comp(str(Path(args.nuke_script).absolute()), args.nuke_write, args.nuke) if args.nuke_script else None
    choices = farm.Choices(
        chunk=args.chunk,
        name=args.name,
        command=args.mattebridge,
        device=args.device,
        threads=args.threads or farm.Choices.threads,
        models_folder=str(Path(args.models_dir).absolute()) if args.models_dir else "",
        task_timeout_s=args.task_timeout,
        comp=comp,
    )
    plan = Path(args.plan)
    made = farm.make_bundle(shot, Path(args.out) if args.out else plan.with_name(f"{plan.stem}_bundle"), choices)
    needs = made.spec.needs
    gpu = f", {needs.gpus} GPU with {needs.gpu_memory_mib} MiB" if needs.gpus else ""
    print(f"{made.folder}: {len(made.frames)} frames of {shot.request.out}")
    print(f"  chunks of {made.spec.chunk} frames; a worker needs {needs.vcpus} cores, {needs.memory_mib} MiB{gpu}")
    return 0


def _submit(args: argparse.Namespace) -> int:
    if args.opencue:
        return _submit_opencue(args)
    status: int = need("mattebridge_server.farm.submit").submit(Path(args.bundle), args.arguments)
    return status


def _submit_opencue(args: argparse.Namespace) -> int:
    if not args.show or not args.shot:
        raise UsageError("OpenCue wants to know show and shot", remedy="Add --show NAME --shot NAME.")
    cue, farm = need("mattebridge_server.farm.opencue"), need("mattebridge_server.farm.bundle")
    bundle = Path(args.bundle).absolute()
    shot = need("mattebridge_server.farm.shot").read_shot(plan_bytes(bundle / "plan.json"), str(bundle))
    known = _parameters(args)
    choices = farm.Choices(int(known["ChunkSize"]), "", known["MatteBridge"], known["Device"], int(known["Threads"]))
    if "NukeScript" in known:
        sys.stderr.write(f"note: OpenCue gets no layer for the comp: render {known['NukeWrite']} once verify is done\n")
    job = cue.CueJob(args.show, args.shot, args.user, max_retries=args.retries, server=args.server)
    send = cue.job_specification if args.only_print else cue.submit
    print(send(bundle, shot, farm.job_spec(shot, choices), job))
    return 0


def _task(args: argparse.Namespace) -> int:
    tasks = need("mattebridge_server.farm.task")
    shot = _shot(args)
    if args.overwrite:
        shot = replace(shot, request=replace(shot.request, overwrite=True))
    frames = _task_frames(args, tasks, shot)
    session = Path(args.session).absolute() if args.session else None
    try:
        host = settings_of(args) if args.server else None
        tasks.run_task(shot, frames, session, _recipe(args), _report(args), host)
    except OutOfMemory as error:
        if args.memory_status == error.exit_status:
            raise
        sys.stderr.write(f"mattebridge: {error}\n")
        return int(args.memory_status)
    return 0


def _task_frames(args: argparse.Namespace, tasks: Any, shot: Any) -> FrameSet:
    if args.index is None and args.first is None:
        return FrameSet.parse(args.frames) if args.frames else shot.frames
    chunk = args.chunk or int(_parameters(args).get("ChunkSize", 0))
    if chunk < 1:
        raise UsageError("the size of a chunk is not known", remedy="Add --chunk N, or give --bundle DIR.")
    by, number = (tasks.frames_from, args.first) if args.index is None else (tasks.frames_of_index, args.index)
    chosen: FrameSet = by(shot, chunk, number)
    return chosen


def _chunks(args: argparse.Namespace) -> int:
    size = int(_parameters(args)["ChunkSize"])
    for chunk in need("mattebridge_server.farm.chunking").evened_chunks(_shot(args).frames, size):
        print(chunk)
    return 0


def _enter(args: argparse.Namespace) -> int:
    session, tasks = need("mattebridge_server.farm.session"), need("mattebridge_server.farm.task")
    folder = Path(args.session).absolute()
    report = _report(args)
    shot = _shot(args)
    try:
        started = tasks.start_session(shot, folder, _recipe(args), report)
    except MatteBridgeError:
        session.end(folder)
        raise
    settings = session.session_settings(folder)
    print(f"openjd_env: MATTEBRIDGE_RUNTIME={settings.runtime_dir}")
    print(f"openjd_env: MATTEBRIDGE_CONFIG={settings.config_dir}")
    report.status(f"ready: {shot.plan.model} on {started.server.endpoint} (process {started.server.pid})")
    return 0


def _exit(args: argparse.Namespace) -> int:
    _report(args).status(need("mattebridge_server.farm.session").end(Path(args.session).absolute()))
    return 0


def _verify(args: argparse.Namespace) -> int:
    report, shot = _report(args), need("mattebridge_server.farm.task").on_this_machine(_shot(args))
    frames = FrameSet.parse(args.frames) if args.frames else shot.frames
    chunk = args.chunk or int(_parameters(args).get("ChunkSize", 0))
    verified = need("mattebridge_server.farm.verify").verify(shot, frames, chunk, report.progress)
    for warning in verified.warnings:
        report.status(f"warning: {warning}")
    verified.raise_problem(_words_of_shot(args))
    seam = f", seam {verified.seam.ratio:.2f}" if verified.seam is not None and verified.seam.borders else ""
    report.status(f"{len(frames)} frames are right{seam}")
    return 0


def _shot(args: argparse.Namespace) -> Any:
    shots = need("mattebridge_server.farm.shot")
    if args.bundle:
        _parameters(args)
    file = args.plan or str(Path(args.bundle) / "plan.json")
    folders = {}
    for text in args.folder:
        role, equals, folder = text.partition("=")
        if not equals or not folder:
            raise UsageError(f"{text!r} is not ROLE=DIR")
        folders[role] = folder
    return shots.relocated(shots.read_shot(plan_bytes(file), file), folders)


def _words_of_shot(args: argparse.Namespace) -> str:
    """The arguments that name the shot, for a command to copy."""
    words = ["--bundle", args.bundle] if args.bundle else ["--plan", args.plan]
    return " ".join(map(shlex.quote, [*words, *(word for text in args.folder for word in ("--folder", text))]))


def _recipe(args: argparse.Namespace) -> Any:
    known = _parameters(args)
    folder = args.models_dir or known.get("ModelsFolder", "")
    return need("mattebridge_server.farm.session").Recipe(
        device=args.device or known.get("Device", "cpu:0"),
        threads=args.threads or int(known.get("Threads", 2)),
        models_folders=(str(Path(folder).absolute()),) if folder else (),
    )


def _parameters(args: argparse.Namespace) -> dict[str, str]:
    """The values of the bundle's parameters; empty without a bundle. Raises `UsageError` where it is none."""
    if not getattr(args, "bundle", ""):
        return {}
    import json

    file = Path(args.bundle) / "parameters.json"
    try:
        values: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        if min(int(values["ChunkSize"]), int(values["Threads"])) < 1 or not (
            values["MatteBridge"] and values["Device"]
        ):
            raise ValueError("a parameter has no value")
    except OSError as error:
        raise UsageError(f"this is no job bundle: {error.strerror}", file=str(file), remedy=NO_BUNDLE) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the bundle is damaged: {error!r}", file=str(file), remedy=NO_BUNDLE) from None
    return values


def _report(args: argparse.Namespace) -> Any:
    return need("mattebridge_server.farm.report").REPORTS[args.report](_line)


def _line(text: str) -> None:
    write_line(sys.stdout, text)
