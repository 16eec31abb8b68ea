"""What the broker's children share: two pipes to it, and a fence of folders around the process.

Importing this costs little: the helper that checks requests needs no stage of the pipeline and starts without them.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..confine import confine
from ..models.folders import model_folders
from ..site import Site
from .wire import Setup, pack

SCRATCH_VARIABLES = ("TMPDIR", "NUMBA_CACHE_DIR", "CUDA_CACHE_PATH", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
"""Where libraries keep what they compile; inside the roots' fence it has to lie in a folder of ours."""
log = logging.getLogger("mattebridge.engine")


class PipeOut:
    """The pipe to the broker: whole messages, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, message: msgspec.Struct) -> None:
        """Write one message; a broker that is gone ends this process."""
        data = pack(message)
        with self._lock:
            try:
                self._pipe.write(data)
                self._pipe.flush()
            except (OSError, ValueError):
                os._exit(0)


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes to the broker. Standard output is given to the log, so that no library can write on the pipe."""
    inward = os.fdopen(os.dup(0), "rb")
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return inward, outward


def site_of(setup: Setup) -> Site:
    """The site with the command line's roots in place of its own, where there are any."""
    site = Site.parse(setup.site) if setup.site else Site()
    return replace(site, roots=setup.roots) if setup.roots else site


def keep_to_roots(setup: Setup) -> None:
    """Have the kernel refuse every file outside the roots, where there are roots. Before any thread is started."""
    site = site_of(setup)
    if not site.roots:
        return
    scratch = f"{setup.spool}/.scratch"
    if setup.spool:
        Path(scratch).mkdir(parents=True, exist_ok=True)
        os.environ.update(dict.fromkeys(SCRATCH_VARIABLES, scratch))
    folders = model_folders(setup.folders, os.environ, site.models.folders)
    if not confine(tuple(map(str, folders)), (*site.roots, *filter(None, [setup.spool]))):
        log.warning("this kernel cannot confine a process: paths are checked before a job, and not while it runs")
