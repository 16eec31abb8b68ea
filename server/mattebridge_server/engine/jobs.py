"""Runs one job on a shelf of models and says how it ended; the one place where a job's exceptions become outcomes."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass

import msgspec

from mattebridge.errors import EngineFailed, MatteBridgeError, OutOfMemory
from mattebridge.messages import ErrorInfo

from ..pipeline.control import Control, Emit, Stopped
from ..pipeline.runner import JobRun, Resources, ended
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
            outcome = ended(job.key, "cancelled" if stopped.reason == "cancel" else "preempted")
        except MatteBridgeError as error:
            outcome = ended(job.key, "failed", error=error_info(error))
        except MemoryError as error:
            outcome = ended(job.key, "failed", error=error_info(OutOfMemory(f"the host is out of memory: {error}")))
        except Exception as error:  # the last line of defence: a job never takes the engine down
            log.error("job %s failed\n%s", job.key, traceback.format_exc())
            reason = EngineFailed(f"the engine failed: {type(error).__name__}: {error}")
            outcome = ended(job.key, "failed", error=error_info(reason))
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
        return ended(job.key, "done", tally)


def error_info(error: MatteBridgeError) -> ErrorInfo:
    """An exception as the message that carries it."""
    return msgspec.convert(error.to_wire(), ErrorInfo)
