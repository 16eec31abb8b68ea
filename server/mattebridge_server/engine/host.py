"""The engine's process: a pipe in, a pipe out, one job at a time on its own thread.

The main thread reads the pipe and never computes, so that a cancel is heard during the longest step. A third thread
beats once a second. When the pipe closes the broker is gone, and the process ends at once: nobody is left who could
use the device.
"""

from __future__ import annotations

import os
import queue
import threading

from ..media import set_threads, watch_reads
from ..models.folders import model_folders
from ..pipeline.control import Control
from .jobs import worker_for
from .pipes import PipeOut, site_of
from .shelf import Shelf, parse_device
from .wire import Beat, Quit, Reading, Ready, RunJob, Setup, StopJob, ToEngine

BEAT_S = 1.0
LOOK_S = 2.0
"""How often the model folders are looked at: what was pulled or copied there is to be used without a restart."""


class Host:
    """One engine: its shelf, the job that runs and the jobs that wait (the broker sends one at a time)."""

    def __init__(self, setup: Setup, out: PipeOut) -> None:
        self._out = out
        device = parse_device(setup.device, setup.threads)
        limit_threads(setup.threads)
        site = site_of(setup)
        folders = model_folders(setup.folders, os.environ, site.models.folders)
        self._setup = setup
        self._shelf = Shelf(device, folders, budget_bytes=setup.budget_bytes)
        self._worker = worker_for(self._shelf, site)
        self._jobs: queue.SimpleQueue[RunJob | None] = queue.SimpleQueue()
        self._controls: dict[str, Control] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Say that jobs may come, and begin to take them."""
        watch_reads(lambda file, frame, begun: self._out.send(Reading(file=file, frame=frame, begun=begun)))
        told = self._shelf.installed()
        self._out.send(self._ready())
        threading.Thread(target=self._work, name="job", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        threading.Thread(target=self._look, args=(told,), name="look", daemon=True).start()

    def handle(self, message: ToEngine) -> bool:
        """Act on one message; False when it is time to go."""
        if isinstance(message, RunJob):
            with self._lock:
                self._controls[message.key] = Control()
            self._jobs.put(message)
        elif isinstance(message, StopJob):
            with self._lock:
                control = self._controls.get(message.key)
            if control is not None:
                control.stop(message.reason)
        elif isinstance(message, Quit):
            return False
        return True

    def _ready(self) -> Ready:
        shelf = self._shelf
        return Ready(
            device=self._setup.device,
            models=shelf.describe(),
            budget_bytes=shelf.budget_bytes,
            used_bytes=shelf.used_bytes,
        )

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            control = self._controls[job.key]
            before = self._shelf.loaded
            outcome = self._worker.run(job, self._out.send, control)
            with self._lock:
                del self._controls[job.key]
            if self._shelf.loaded != before:
                self._out.send(self._ready())
            self._out.send(outcome)

    def _look(self, told: frozenset[str]) -> None:
        """On a thread of its own, since a folder on a hung mount stops who looks at it."""
        pause = threading.Event()
        while not pause.wait(LOOK_S):
            if (found := self._shelf.installed()) != told:
                told = found
                self._out.send(self._ready())

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(BEAT_S):
            with self._lock:
                control = next(iter(self._controls.values()), None)
            busy, stage = (control.busy_s, control.stage) if control is not None else (0.0, "")
            self._out.send(Beat(busy_s=busy, stage=stage, loaded=self._shelf.loaded, used_bytes=self._shelf.used_bytes))


def limit_threads(threads: int) -> None:
    """Fix the number of threads of every library that has its own pool: results and load depend on it."""
    import cv2
    import numba

    cv2.setNumThreads(threads)
    set_threads(threads)
    numba.set_num_threads(min(threads, numba.get_num_threads()))
