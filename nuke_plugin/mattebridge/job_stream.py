"""One job as a client follows it: what is sent for it, and which of its events are new. No clock, no IO.

The rules:

- **A key is a promise.** Sending SUBMIT twice with one key and body is one job, so an unanswered SUBMIT is simply sent
  again on the next connection.
- **An event is new when its number is the next one.** A lower number was seen; a higher one means that something was
  missed, and RESUME asks for everything after the last one seen. After every new HELLO the job is resumed too.
- **A server may have forgotten.** If it answers RESUME with ``job_unknown``, the same body is submitted again under the
  same key, at most once for each start of the server.
- **A full queue is waited out** until `busy_timeout_s`, then the job fails with `ServerBusy`.
- **One end.** A stream ends with one terminal event, or with one error of its own; after that nothing comes.

    new ──ACCEPTED──▶ attached ──terminal event──▶ ended
     │ ▲                │   ▲
     │ └─job_unknown────┘   │ (cut: stays attached, RESUME on the next connection)
     └──BUSY──▶ waiting ──retry_after──▶ new
    any ──REJECTED, CONFLICT, time limit, lost server──▶ ended
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from .errors import Cancelled, JobConflict, MatteBridgeError, ServerBusy, ServerError
from .messages import (
    TERMINAL,
    Accepted,
    Busy,
    Cancel,
    Cancelling,
    Conflict,
    JobRequest,
    Progress,
    Rejected,
    Resume,
    Submit,
)

WAITING_STAGE = "waiting for a place in the queue"
LOST_STAGE = "connection lost, looking for the server"
SHORTEST_RETRY_S = 0.1


@dataclass(frozen=True)
class Send:
    """Put a message on the socket."""

    message: Any
    blobs: Sequence[Union[bytes, memoryview]] = ()


@dataclass(frozen=True)
class Emit:
    """Hand an event (or a `Progress`) of a job to whoever follows it."""

    key: str
    event: Any
    blobs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The stream is over without a terminal event, for this reason."""

    key: str
    error: MatteBridgeError


@dataclass(frozen=True)
class Transfer:
    """A message about the job's pixels: ACCEPTED (begin), CREDIT, STORED, GIVE. ``epoch`` names the connection."""

    key: str
    message: Any
    epoch: int
    blobs: tuple[bytes, ...] = ()


Step = Union[Send, Emit, Ended, Transfer]


class JobStream:
    """State of one followed job; methods return steps to perform in order.

    ``request`` is None for a job that was submitted elsewhere and is attached to. ``number`` hands out request numbers.
    """

    def __init__(
        self,
        key: str,
        request: Optional[JobRequest],
        plan: bytes,
        number: Callable[[], int],
        busy_timeout_s: float,
        answer_timeout_s: float,
    ) -> None:
        self.key = key
        self.request = request
        self.plan = plan
        self.phase = "new" if request is not None else "attached"
        self.last = 0
        self._number = number
        self._busy_timeout_s = busy_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._asked: dict[int, tuple[str, float]] = {}  # request number: what, and when
        self._submitted = False
        self._resubmitted_for = ""
        self._cancel = False
        self._busy_since: Optional[float] = None
        self._retry_at = 0.0
        self._boot_id = ""

    @property
    def ended(self) -> bool:
        return self.phase == "ended"

    def owns(self, number: int) -> bool:
        """Whether an answer with that request number is for this job."""
        return number in self._asked

    def opened(self, boot_id: str, now: float) -> list[Step]:
        """A connection is ready (WELCOME came): take the job up again on it."""
        self._asked.clear()
        self._boot_id = boot_id
        if self.phase == "attached":
            return [self._resume(now), *self._cancel_again(now)]
        if self.phase == "new" and not self._cancel:
            return [self._submit(now)]
        if self.phase == "new":
            return [self._ask_cancel(now)] if self._submitted else self._end(Cancelled("the job was cancelled"))
        return []

    def closed(self) -> None:
        """The connection is gone; answers to what was asked on it will not come."""
        self._asked.clear()

    def lost(self) -> list[Step]:
        """The connection is gone against everybody's will; it is looked for, and whoever waits is told so."""
        self.closed()
        return [Emit(self.key, Progress(self.key, LOST_STAGE))] if self.phase == "attached" else []

    def answered(self, message: Any, epoch: int, now: float) -> list[Step]:
        """An answer to something this stream asked."""
        what, _ = self._asked.pop(message.request)
        if self.phase == "ended":
            return []
        if isinstance(message, Accepted):
            return self._accepted(message, what, epoch, now)
        if isinstance(message, Busy):
            return self._busy(message, now)
        if isinstance(message, Conflict):
            return self._end(JobConflict(message.message or f"the job key {self.key} is taken by another request"))
        if isinstance(message, Cancelling):
            return self._found_alive(now)
        if isinstance(message, Rejected):
            return self._rejected(message, what, now)
        return []

    def event(self, message: Any, blobs: tuple[bytes, ...], now: float) -> list[Step]:
        """A numbered event or a PROGRESS of this job."""
        if self.phase == "ended":
            return []
        if isinstance(message, Progress):
            return [Emit(self.key, message)]
        if message.seq <= self.last:
            return []
        if message.seq > self.last + 1:
            resuming = any(what == "resume" for what, _ in self._asked.values())
            return [] if resuming else [self._resume(now)]
        self.last = message.seq
        if isinstance(message, TERMINAL):
            self.phase = "ended"
        return [Emit(self.key, message, blobs)]

    def cancel(self, ready: bool, now: float) -> list[Step]:
        """Ask for the job to be stopped. Asking again is harmless."""
        self._cancel = True
        if self.phase == "waiting" or (self.phase == "new" and not self._submitted):
            return self._end(Cancelled("the job was cancelled before it had a place in the queue"))
        return [self._ask_cancel(now)] if ready and self.phase != "ended" else []

    def tick(self, now: float) -> list[Step]:
        """Time has passed; call this only while a connection is ready."""
        if self.phase == "waiting" and now >= self._retry_at:
            self.phase = "new"
            return [self._submit(now)]
        overdue = [what for what, since in self._asked.values() if now - since > self._answer_timeout_s]
        if overdue and self.phase != "ended":
            return self._end(ServerError(f"no answer to {overdue[0].upper()} in {self._answer_timeout_s:g} s"))
        return []

    def fail(self, error: MatteBridgeError) -> list[Step]:
        """End the stream for a reason of the connection's."""
        return [] if self.phase == "ended" else self._end(error)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _ask(self, what: str, now: float) -> int:
        number = self._number()
        self._asked[number] = (what, now)
        return number

    def _submit(self, now: float) -> Send:
        assert self.request is not None
        self._submitted = True
        message = Submit(self._ask("submit", now), self.key, self.request, self._boot_id)
        return Send(message, (self.plan,) if self.plan else ())

    def _resume(self, now: float) -> Send:
        return Send(Resume(self._ask("resume", now), self.key, self.last))

    def _ask_cancel(self, now: float) -> Send:
        return Send(Cancel(self._ask("cancel", now), self.key))

    def _cancel_again(self, now: float) -> list[Step]:
        return [self._ask_cancel(now)] if self._cancel else []

    def _end(self, error: MatteBridgeError) -> list[Step]:
        self.phase = "ended"
        return [Ended(self.key, error)]

    def _accepted(self, message: Accepted, what: str, epoch: int, now: float) -> list[Step]:
        self.phase = "attached"
        self._busy_since = None
        steps: list[Step] = [Transfer(self.key, message, epoch)]
        if (
            what == "resume" and message.last < self.last
        ):  # the server's journal is younger than what was seen: follow it from its start
            self.last = 0
            return [*steps, self._resume(now)]
        if what == "submit" and message.existing:
            steps.append(self._resume(now))
        return steps

    def _busy(self, message: Busy, now: float) -> list[Step]:
        self._busy_since = now if self._busy_since is None else self._busy_since
        waited = now - self._busy_since
        if waited >= self._busy_timeout_s:
            return self._end(
                ServerBusy(
                    f"the server's queue is full ({message.depth} of {message.limit} jobs) and stayed full"
                    f" for {waited:.0f} s",
                    remedy=f"Try again in {message.retry_after_s:.0f} s.",
                    details={"retry_after_s": message.retry_after_s, "depth": message.depth, "limit": message.limit},
                )
            )
        self.phase = "waiting"
        self._retry_at = now + max(SHORTEST_RETRY_S, min(message.retry_after_s, self._busy_timeout_s - waited))
        return [Emit(self.key, Progress(self.key, WAITING_STAGE, position=message.depth))]

    def _found_alive(self, now: float) -> list[Step]:
        if self.phase != "new":
            return []
        self.phase = "attached"  # an earlier SUBMIT had arrived although its answer was lost
        return [self._resume(now)]

    def _rejected(self, message: Rejected, what: str, now: float) -> list[Step]:
        if message.error.details.get("job_unknown") is True and what in ("resume", "cancel"):
            if self._cancel:
                return self._end(Cancelled("the job was cancelled"))
            if what == "resume" and self.request is not None and self._resubmitted_for != self._boot_id:
                self._resubmitted_for = self._boot_id
                self.phase, self.last = "new", 0
                return [self._submit(now)]
        if what == "cancel":
            return []  # a refused cancel does not end the job
        return self._end(message.error.exception())
