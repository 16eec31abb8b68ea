"""The same bundle on OpenCue, through pyoutline: a layer of chunks, and a layer that verifies.

OpenCue knows no sessions, so every chunk is a process of its own that loads the model; chunks should be as large as the
recommended ones, or the hosts run servers of their own, which ``--server auto`` finds. Cuebot cuts the frame range
itself (10, 10, 4 where OpenJD makes 8, 8, 8) and puts a chunk's first frame in place of ``#IFRAME#``.

Exit statuses: every one but 0 is tried again up to ``max_retries`` times, since Cuebot has no status for "do not". Out
of memory is reported as 33, for which Cuebot raises the layer's memory and tries again.
"""

from __future__ import annotations

import importlib
import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mattebridge.errors import ServerError, UsageError
from mattebridge.extras import install_command

from .shot import FarmShot
from .template import JobSpec

OUT_OF_MEMORY_STATUS = 33
FIRST_FRAME = "#IFRAME#"
GPU_MEMORY_UNIT = "m"
PRIORITY = 1


@dataclass(frozen=True)
class CueJob:
    """Where the job goes in OpenCue. ``user`` empty: whoever submits; ``server``: for `mattebridge farm task`."""

    show: str
    shot: str
    user: str = ""
    max_retries: int = 2
    server: str = ""


def job_specification(bundle: Path, shot: FarmShot, spec: JobSpec, job: CueJob) -> str:
    """The job as the XML that Cuebot takes. Raises `UsageError` where pyoutline is not installed."""
    text: str = _launcher(bundle, shot, spec, job).serialize(use_pycuerun=False)
    return text


def submit(bundle: Path, shot: FarmShot, spec: JobSpec, job: CueJob) -> str:
    """Hand the job to the Cuebot that the environment names (CUEBOT_HOSTS); returns the job's name there.

    Raises `ServerError` where none answers or it refuses the job, and `UsageError` where pyoutline is not installed.
    """
    launcher, errors = _launcher(bundle, shot, spec, job), _need("opencue.exception")
    try:
        jobs = launcher.launch(use_pycuerun=False)
    except errors.CueException as error:
        raise ServerError(
            f"OpenCue did not take the job: {error}", remedy="Name its Cuebot in CUEBOT_HOSTS, or see what it says."
        ) from None
    return str(jobs[0].name())


def task_command(bundle: Path, spec: JobSpec, server: str = "") -> list[str]:
    """One chunk, by its first frame."""
    words = [spec.command, "farm", "task", "--bundle", str(bundle), f"--first={FIRST_FRAME}"]
    words += [f"--memory-status={OUT_OF_MEMORY_STATUS}"]
    return [*words, f"--server={server}"] if server else words


def _launcher(bundle: Path, shot: FarmShot, spec: JobSpec, job: CueJob) -> Any:
    outline, cuerun, shell = (_need(name) for name in ("outline", "outline.cuerun", "outline.modules.shell"))
    frames = spec.frames.replace(":", "x")
    about = {"show": job.show, "shot": job.shot, "user": job.user} if job.user else {"show": job.show, "shot": job.shot}
    script = outline.Outline(_name(spec.name), frame_range=frames, **about)
    matte = shell.Shell(
        "matte", command=_quoted(task_command(bundle, spec, job.server)), range=frames, chunk=spec.chunk
    )
    matte.set_arg("cores", float(spec.needs.vcpus))
    matte.set_arg("memory", f"{spec.needs.memory_mib}m")
    if spec.needs.gpus:
        matte.set_arg("gpus", spec.needs.gpus)
        matte.set_arg("gpu_memory", f"{spec.needs.gpu_memory_mib}{GPU_MEMORY_UNIT}")
    matte.set_arg("timeout", math.ceil(spec.task_timeout_s / 60))
    first = str(shot.frames.first)
    checking = [spec.command, "farm", "verify", "--bundle", str(bundle)]
    verify = shell.Shell("verify", command=_quoted(checking), range=first, chunk=1)
    verify.depend_all(matte)
    script.add_layer(matte)
    script.add_layer(verify)
    return cuerun.OutlineLauncher(script, maxretries=job.max_retries, priority=PRIORITY, nomail=True, **about)


def _quoted(words: list[str]) -> list[str]:
    """For a shell, with the token as Cuebot looks for it."""
    return [word if FIRST_FRAME in word else shlex.quote(word) for word in words]


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "matte"


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"OpenCue's submitter is not installed: {error.name or error}",
            remedy=f"Run {install_command('farm')}.",
        ) from None
