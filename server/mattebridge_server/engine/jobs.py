"""Runs one job on a shelf of models and says how it ended; the one place where a job's exceptions become outcomes."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from mattebridge import __version__
from mattebridge.errors import EngineFailed, MatteBridgeError, OutOfMemory
from mattebridge.messages import ErrorInfo, JobRequest

from ..paths import require_inside
from ..pipeline.beside import HELPER
from ..pipeline.control import Control, Emit, Stopped
from ..pipeline.keys import FileDigests
from ..pipeline.plan import parse_plan
from ..pipeline.runner import JobRun, Resources, Tally
from ..site import Site
from .choice import settle_model, smaller_canvas
from .shelf import Shelf, execution_profile
from .wire import JobEnded, JobProgress, JobWarning, RunJob

log = logging.getLogger("mattebridge.engine")


@dataclass(frozen=True)
class Worker:
    """What runs jobs in this process, one at a time."""

    shelf: Shelf
    resources: Resources

    def run(self, job: RunJob, emit: Emit, control: Control) -> JobEnded:
        """Run to the end; every outcome is a message, never an exception."""
        try:
            outcome = self._run(job, emit, control)
        except Stopped as stopped:
            outcome = JobEnded(key=job.key, outcome="cancelled" if stopped.reason == "cancel" else "preempted")
        except MatteBridgeError as error:
            outcome = failed(job.key, error)
        except MemoryError as error:
            outcome = failed(job.key, OutOfMemory(f"the host is out of memory: {error}"))
        except Exception as error:  # the last line of defence: a job never takes the engine down
            log.error("job %s failed\n%s", job.key, traceback.format_exc())
            outcome = failed(job.key, EngineFailed(f"the engine failed: {type(error).__name__}: {error}"))
        finally:
            control.finished()
        return outcome

    def _run(self, job: RunJob, emit: Emit, control: Control) -> JobEnded:
        control.checkpoint("load")
        if not job.spool:
            require_inside(job.request, self.resources.site.roots)
        plan = parse_plan(job.plan) if job.plan else None
        chosen = settle_model(_with_uploaded_config(job), self.shelf, self.resources.site, plan)
        request, why = chosen.request, chosen.why
        mine: set[Path] = set()  # what an earlier round of this job wrote: a smaller one may replace that, and no more
        while True:
            try:
                return done(job.key, self._with_model(job, request, why, mine, emit, control))
            except OutOfMemory as error:
                changeable = request.fallback and not job.plan and HELPER not in error.details
                smaller = smaller_canvas(request, self.shelf) if changeable else None
                if smaller is None:
                    raise
                if job.spool and mine:  # the client has them, and a shot has one canvas
                    error.remedy = f"Run it again with --preset {smaller.preset}: frames at {request.preset} were sent."
                    raise
                message = f"{error.message}: the whole shot is run again at preset {smaller.preset}"
                emit(JobWarning(key=job.key, code="SMALLER_CANVAS", message=message))
                request = smaller

    def _with_model(
        self, job: RunJob, request: JobRequest, why: str, mine: set[Path], emit: Emit, control: Control
    ) -> Tally:
        asked, request = request, replace(request, precision=self.shelf.precision(request.model, request.precision))
        if request.kind == "plan":
            if request.precision != asked.precision and self.shelf.device.kind == "cpu":
                message = (
                    f"planned in {request.precision}, which this machine computes in; state --precision bf16 for GPUs"
                )
                emit(JobWarning(key=job.key, code="PLAN", message=message))
            model = self.shelf.identified(request.model, request.precision, request.preset)
            return JobRun(job.key, request, job.plan, model, self.resources, emit, control).plan_only()
        if request.model not in self.shelf.loaded:
            emit(JobProgress(key=job.key, stage=f"load {request.model}"))
        model = self.shelf.get(request.model, request.precision, request.preset)
        with self.shelf.in_use(request.model):
            run = JobRun(job.key, request, job.plan, model, self.resources, emit, control)
            return run.run(spooled=bool(job.spool), why=why, mine=mine, before={} if job.spool else job.written)


def worker_for(shelf: Shelf, site: Site) -> Worker:
    """A worker on the shelf's device. It remembers the digests of the files that its jobs read."""
    device = shelf.device
    resources = Resources(
        FileDigests(),
        site,
        shelf.get,
        device.threads,
        execution_profile(device),
        __version__,
        shelf.aside,
        shelf.relieve,
    )
    return Worker(shelf, resources)


def _with_uploaded_config(job: RunJob) -> JobRequest:
    """A config that was uploaded is the folder of its files: its search paths lie there under logical names."""
    request = job.request
    if not job.spool or not request.config.startswith(f"{job.spool}/"):
        return request
    return replace(request, config=request.config.rpartition("/")[0])


def done(key: str, tally: Tally) -> JobEnded:
    """The last message of a run that went through."""
    return JobEnded(key=key, outcome="done", written=tally.written, kept=tally.kept, facts=tally.facts, plan=tally.plan)


def failed(key: str, error: MatteBridgeError) -> JobEnded:
    """The last message of a run that an error ended."""
    return JobEnded(key=key, outcome="failed", error=ErrorInfo.of(error))
