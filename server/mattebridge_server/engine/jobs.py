"""Runs one job on a shelf of models and says how it ended; the one place where a job's exceptions become outcomes."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass

import msgspec

from mattebridge.errors import EngineFailed, MatteBridgeError, OutOfMemory
from mattebridge.messages import ErrorInfo

from ..pipeline.control import Control, Emit, Stopped
from ..pipeline.runner import JobRun, Resources, Tally
from .shelf import Shelf
from .wire import JobEnded, JobProgress, RunJob

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
        request = job.request
        control.checkpoint("load")
        if request.model not in self.shelf.loaded:
            emit(JobProgress(key=job.key, stage=f"load {request.model}"))
        model = self.shelf.get(request.model, request.precision)
        run = JobRun(job.key, request, job.plan, model, self.resources, emit, control)
        tally = run.plan_only() if request.kind == "plan" else run.run(spooled=bool(job.spool))
        return done(job.key, tally)


def done(key: str, tally: Tally) -> JobEnded:
    """The last message of a run that went through."""
    return JobEnded(key=key, outcome="done", written=tally.written, kept=tally.kept, facts=tally.facts, plan=tally.plan)


def failed(key: str, error: MatteBridgeError) -> JobEnded:
    """The last message of a run that an error ended."""
    return JobEnded(key=key, outcome="failed", error=error_info(error))


def error_info(error: MatteBridgeError) -> ErrorInfo:
    """An exception as the message that carries it."""
    return msgspec.convert(error.to_wire(), ErrorInfo)
