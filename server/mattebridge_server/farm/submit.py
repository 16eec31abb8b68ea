"""Handing a bundle to AWS Deadline Cloud, where its command is installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mattebridge.errors import ServerError, UsageError

PROGRAM = "deadline"


def submit(bundle: Path, arguments: Sequence[str] = (), program: str = "") -> int:
    """Run ``deadline bundle submit`` on the bundle, with further ``arguments``; it asks and prints by itself.

    Returns 0. Raises `UsageError` where there is no bundle or no such command (with the ways there are instead), and
    `ServerError` when it fails.
    """
    if not (bundle / "template.json").is_file():
        raise UsageError("this is no job bundle", file=str(bundle), remedy="Make one with `mattebridge farm bundle`.")
    found = program or shutil.which(PROGRAM)
    if not found:
        raise UsageError("the command `deadline` is not installed here", remedy=other_ways(bundle))
    status = subprocess.run([found, "bundle", "submit", str(bundle), *arguments], check=False).returncode
    if status:
        raise ServerError(
            f"`deadline bundle submit` ended with status {status}",
            remedy="See what it printed above; `deadline config gui` sets the farm and queue.",
        )
    return 0


def other_ways(bundle: Path) -> str:
    """What to do where Deadline Cloud's command is not there."""
    folder = shlex.quote(str(bundle))
    parameters = shlex.quote(f"file://{bundle}/parameters.json")
    return (
        f"Install it (pip install deadline) and run `mattebridge farm submit {folder}` again; hand the folder to any "
        f"other OpenJD scheduler; run it on this machine: openjd run {folder}/template.json --job-param {parameters} "
        f"--step Verify --run-dependencies; or give each chunk to your own scheduler: "
        f"mattebridge farm task --bundle {folder} --index N."
    )
