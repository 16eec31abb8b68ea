"""The client's side of protocol v1 without any IO: events in, state, steps out. The clock is an argument.

    offline ──connected──▶ greeting ──WELCOME──▶ ready ──NEED_HELLO──▶ greeting
       ▲                      │                    │
       └──────────────────────┴── disconnected, or silent for `beats_lost` beats

- HELLO is the first message on every connection, and again when the server answers NEED_HELLO. Whatever waits for an
  answer is asked again after WELCOME: requests are idempotent, SUBMIT by its key. STOP alone is not sent twice, because
  it was meant for the server that ran then.
- Any traffic is a beat. Without one of ours for `beat_s` PING is sent; without one of theirs for `beats_lost` times
  that, the connection is thrown away and opened again, because a dead host never says so.
- While nothing waits, a cut is nobody's concern. When something does, it fails with `ServerError` after
  `connect_timeout_s` if the server was never reached, after `lost_timeout_s` if it was.
- A refusal (key, protocol) is final: everything fails at once, now and later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from .errors import MatteBridgeError, ProtocolError, ServerError
from .job_stream import Emit, Ended, JobStream, Send, Step, Transfer
from .messages import (
    BEAT_S,
    BEATS_LOST,
    EVENTS,
    PROTOCOL_MAJOR,
    Credit,
    Give,
    Hello,
    Incompatible,
    JobRequest,
    Limits,
    NeedHello,
    Ping,
    Pong,
    Progress,
    Rejected,
    Stop,
    Stored,
    Welcome,
)

__all__ = ["Answer", "ClientSession", "Emit", "Ended", "Instruction", "Reopen", "Send", "Times", "Transfer"]

LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Times:
    """How long a session waits, in seconds; see `mattebridge.settings.Settings`."""

    connect_timeout_s: float = 5.0
    lost_timeout_s: float = 60.0
    busy_timeout_s: float = 600.0
    answer_timeout_s: float = 120.0


@dataclass(frozen=True)
class Answer:
    """The answer to a question, or the reason why there is none."""

    number: int
    outcome: Any


@dataclass(frozen=True)
class Reopen:
    """Look up the server's address again. ``force``: open a new socket even if it has not changed."""

    force: bool = False


Instruction = Union[Step, Answer, Reopen]


class ClientSession:
    """One client's state. Every method takes the time ``now`` (monotonic seconds) and returns instructions in order."""

    def __init__(self, hello: Hello, times: Times, now: float) -> None:
        self.state = "offline"
        self.epoch = 0
        self.welcome: Optional[Welcome] = None
        self.limits = Limits()
        self.refusal: Optional[MatteBridgeError] = None
        self._hello = hello
        self._times = times
        self._numbers = 0
        self._questions: dict[int, tuple[Send, float]] = {}
        self._jobs: dict[str, JobStream] = {}
        self._waiting_since: Optional[float] = None
        self._sent_at = self._heard_at = self._looked_at = now
        self._pings = 0
        self._trouble = ""

    # -- what the caller wants -------------------------------------------------------------------------------------

    def ask(self, number: int, question: Any, now: float, blobs: tuple[bytes, ...] = ()) -> list[Instruction]:
        """Send a question (its ``request`` becomes ``number``, from `next_number`); one `Answer` will come."""
        if self.refusal is not None:
            return [Answer(number, self.refusal)]
        question = Send(replace(question, request=number), blobs)
        self._questions[number] = (question, now)
        return self._out([question], now) if self.state == "ready" else self._wait(now)

    def follow(self, key: str, request: Optional[JobRequest], plan: bytes, now: float) -> list[Instruction]:
        """Submit a job and follow it; without ``request``, follow a job that is there."""
        stream = JobStream(
            key, request, plan, self.next_number, self._times.busy_timeout_s, self._times.answer_timeout_s
        )
        self._jobs[key] = stream
        if self.refusal is not None:
            return self._out(stream.fail(self.refusal), now)
        if self.state == "ready":
            return self._out(stream.opened(self._boot_id, now), now)
        return self._wait(now)

    def cancel(self, key: str, now: float) -> list[Instruction]:
        """Ask for a followed job to be stopped."""
        stream = self._jobs.get(key)
        return [] if stream is None else self._out(stream.cancel(self.state == "ready", now), now)

    def post(self, message: Any, blobs: Sequence[Any], epoch: int, now: float) -> list[Instruction]:
        """Send one message of a transfer that began on the connection ``epoch``; dropped when that one is gone."""
        return self._out([Send(message, blobs)], now) if self.state == "ready" and epoch == self.epoch else []

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- what the network does -------------------------------------------------------------------------------------

    def connected(self, now: float) -> list[Instruction]:
        """The transport finished its handshake (again)."""
        self._trouble = ""
        return self._greet(now) if self.refusal is None else []

    def disconnected(self, now: float, trouble: str = "") -> list[Instruction]:
        """The connection is gone, or could not be made: ``trouble`` says why if that is known."""
        self._trouble = trouble or self._trouble
        if self.state == "offline":
            return []
        self.state = "offline"
        self._looked_at = now
        told = [step for stream in self._jobs.values() for step in stream.lost()]
        return [*self._give_up_stops(), *told, *self._wait(now)]

    def refuse(self, error: MatteBridgeError, now: float) -> list[Instruction]:
        """The two sides will never come together: fail everything, now and later."""
        self.state, self.refusal = "refused", error
        return self._fail_all(lambda _: error, now)

    def received(self, message: Any, blobs: tuple[bytes, ...], now: float) -> list[Instruction]:
        """One decoded message."""
        self._heard_at = now
        if self.refusal is not None:
            return []
        if isinstance(message, Welcome):
            return self._welcomed(message, now)
        if isinstance(message, Incompatible):
            return self.refuse(_incompatible(message), now)
        if isinstance(message, NeedHello):
            another = self._give_up_stops() if message.boot_id != self._boot_id else []
            return [*another, *self._greet(now)] if self.state == "ready" else another
        if isinstance(message, Ping):
            return self._out([Send(Pong(message.number))], now)
        if self.state != "ready":
            return []
        return self._for_somebody(message, blobs, now)

    def tick(self, now: float) -> list[Instruction]:
        """Time has passed: beats, time limits, retries."""
        if self.state == "refused":
            return []
        given_up = self._tick_waiting(now)
        if self.state == "offline":
            return [*given_up, *self._look_again(now)]
        if now - self._heard_at > self.limits.beat_s * self.limits.beats_lost:
            gone = self.disconnected(now, f"the server was silent for {now - self._heard_at:.0f} s")
            return [*given_up, *gone, Reopen(force=True)]
        steps = given_up
        if self.state == "ready":
            for stream in list(self._jobs.values()):
                steps += self._out(stream.tick(now), now)
            steps += self._overdue(now)
        if now - self._sent_at < self.limits.beat_s:
            return steps
        if self.state == "greeting":  # a server that swallowed HELLO answers anything else with NEED_HELLO for ever
            return [*steps, *self._out([Send(self._hello)], now)]
        self._pings += 1
        return [*steps, *self._out([Send(Ping(self._pings))], now)]

    def wake_in_s(self) -> float:
        """How long `tick` may be left alone: a fraction of a beat, so that no limit is missed by much."""
        return max(0.02, min(0.25, self.limits.beat_s / 4))

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _boot_id(self) -> str:
        return self.welcome.boot_id if self.welcome else ""

    def _greet(self, now: float) -> list[Instruction]:
        for stream in self._jobs.values():
            stream.closed()
        self.state = "greeting"
        self._heard_at = now
        return self._out([Send(self._hello)], now)

    def _welcomed(self, message: Welcome, now: float) -> list[Instruction]:
        if self.state != "greeting":
            return []
        if message.major != PROTOCOL_MAJOR:
            return self.refuse(_incompatible(Incompatible(message.major, message.minor)), now)
        self.welcome, self.limits, self.state = message, _sane(message.limits), "ready"
        self.epoch += 1
        self._waiting_since = None
        steps: list[Instruction] = []
        for number, (question, _) in list(self._questions.items()):
            self._questions[number] = (question, now)
            steps += self._out([question], now)
        for stream in list(self._jobs.values()):
            steps += self._out(stream.opened(message.boot_id, now), now)
        return steps

    def _for_somebody(self, message: Any, blobs: tuple[bytes, ...], now: float) -> list[Instruction]:
        if isinstance(message, (*EVENTS, Progress)):
            stream = self._jobs.get(message.key)
            return [] if stream is None else self._out(stream.event(message, blobs, now), now)
        if isinstance(message, (Credit, Stored, Give)):
            return [Transfer(message.key, message, self.epoch, blobs)] if message.key in self._jobs else []
        number = getattr(message, "request", None)
        if number in self._questions:
            del self._questions[number]
            return [Answer(number, message.error.exception() if isinstance(message, Rejected) else message)]
        for stream in self._jobs.values():
            if isinstance(number, int) and stream.owns(number):
                return self._out(stream.answered(message, self.epoch, now), now)
        return []

    def _look_again(self, now: float) -> list[Instruction]:
        if now - self._looked_at < LOOK_AGAIN_S:
            return []
        self._looked_at = now
        return [Reopen()]

    def _tick_waiting(self, now: float) -> list[Instruction]:
        if self._waiting_since is None:
            return []
        limit = self._times.lost_timeout_s if self.welcome else self._times.connect_timeout_s
        waited_s = now - self._waiting_since
        return self._fail_all(lambda key: self._unreachable(waited_s, key), now) if waited_s >= limit else []

    def _give_up_stops(self) -> list[Instruction]:
        numbers = [number for number, (question, _) in self._questions.items() if isinstance(question.message, Stop)]
        for number in numbers:
            del self._questions[number]
        error = ServerError("the connection ended before the server confirmed; it may have stopped")
        return [Answer(number, error) for number in numbers]

    def _unreachable(self, waited_s: float, key: str) -> ServerError:
        why = f" ({self._trouble})" if self._trouble else ""
        if self.welcome is None:
            return ServerError(f"no server answered within {waited_s:.0f} s{why}", details={"reached": False})
        return ServerError(
            f"the connection to the server was lost and did not come back within {waited_s:.0f} s{why}",
            remedy="Jobs go on there. When the server is back, run the same job again, or follow it: "
            f"mattebridge jobs --follow {key or 'KEY'}",
            details={"reached": True},
        )

    def _overdue(self, now: float) -> list[Instruction]:
        limit = self._times.answer_timeout_s
        late = [(n, q) for n, (q, since) in self._questions.items() if now - since > limit]
        for number, _ in late:
            del self._questions[number]
        return [
            Answer(number, ServerError(f"no answer to {type(question.message).__name__.upper()} in {limit:g} s"))
            for number, question in late
        ]

    def _fail_all(self, error_of: Callable[[str], MatteBridgeError], now: float) -> list[Instruction]:
        """End everything; ``error_of`` gives the reason for a job's key, and for "" that of a question."""
        steps: list[Instruction] = [Answer(number, error_of("")) for number in self._questions]
        self._questions.clear()
        self._waiting_since = None
        for stream in list(self._jobs.values()):
            steps += self._out(stream.fail(error_of(stream.key)), now)
        return steps

    def _wait(self, now: float) -> list[Instruction]:
        if self._waiting_since is None and (self._questions or self._jobs):
            self._waiting_since = now
        return []

    def _out(self, steps: Sequence[Step], now: float) -> list[Instruction]:
        for step in steps:
            if isinstance(step, Send):
                self._sent_at = now
            stream = self._jobs.get(getattr(step, "key", ""))
            if stream is not None and stream.ended:
                self._jobs.pop(stream.key)
        return list(steps)


def _incompatible(message: Incompatible) -> ProtocolError:
    text = f"the server speaks protocol {message.major}.{message.minor}, this client {PROTOCOL_MAJOR}.x"
    return ProtocolError(f"{text}: {message.message}" if message.message else text)


def _sane(limits: Limits) -> Limits:
    """A server's limits, with times that a client can work with."""
    if not limits.beat_s > 0 or limits.beats_lost < 1:
        return replace(limits, beat_s=BEAT_S, beats_lost=BEATS_LOST)
    return limits
