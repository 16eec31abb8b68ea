"""Which job runs on which engine, and for how long: events in, state, instructions out. No clock, no IO.

Every method takes the time ``now`` (seconds, monotonic) and returns what is to be done, in order. The rules:

- **Admission is exact.** At most `Policy.queue_jobs` unfinished jobs in all and `Policy.client_jobs` of one client.
- **Order.** A waiting job's rank is its time of submission, plus `Policy.ageing_s` for batch; the lowest rank goes
  first. So interactive goes before batch, a class is first in, first out, and a batch job is only ever overtaken by
  interactive jobs that came less than `ageing_s` after it: that is the bound on starvation.
- **Preemption.** A waiting job displaces a running batch job of higher rank when no engine is free: the engine stops at
  its next step, the job keeps its rank (and so goes before all others of its class) and goes on with what is left.
- **Death of an engine.** The job goes on from its first unfinished window. A window that was being run, or a picture
  that was being read, `attempts` times when the engine died is poison and the job fails; the engine comes back after a
  growing pause.
- **One end.** Every admitted job gets exactly one `End`, whatever races with it.

A job's state:     uploading → queued → running → (ended)
                                  ↑        ├→ preempting → queued
                                  └────────┤  draining   → queued (kept for the next start of the server)
                                           └→ cancelling → (ended)
An engine's state: down → starting → idle ⇄ busy → down …      (killed: down is still to be reported)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mattebridge.errors import EngineFailed, JobTimeout, MatteBridgeError

from .scheduling import (
    BEFORE_FIRST_WINDOW,
    End,
    Engine,
    Instruction,
    Interrupt,
    Job,
    KillEngine,
    Picture,
    Policy,
    Refusal,
    Requeue,
    Run,
    StartEngine,
    poison,
)

TURNS = 16
"""Refused clients are told to come back at one of so many times."""


class Scheduler:
    """See the head of this file. ``engines`` are the names of the devices."""

    def __init__(self, policy: Policy, engines: Iterable[str], now: float = 0.0) -> None:
        self.policy = policy
        self.jobs: dict[str, Job] = {}
        self.engines = {name: Engine(name, start_at=now) for name in engines}
        self.draining = False
        self._count = 0
        self._pace_s = 2.0
        self._refused = 0

    # -- questions ---------------------------------------------------------------------------------------------

    def waiting(self) -> list[Job]:
        """Queued jobs, next first."""
        return sorted((job for job in self.jobs.values() if job.state == "queued"), key=lambda job: job.rank)

    def positions(self) -> dict[str, int]:
        """For each queued job how many jobs are ahead of it, running ones included."""
        running = sum(1 for job in self.jobs.values() if job.engine)
        return {job.key: running + index for index, job in enumerate(self.waiting())}

    def position(self, key: str) -> int:
        """How many jobs are ahead of this one, running ones included; 0 for a job that does not wait."""
        job = self.jobs.get(key)
        if job is None or job.state != "queued":
            return 0
        return sum(
            1 for other in self.jobs.values() if other.engine or (other.state == "queued" and other.rank < job.rank)
        )

    def drained(self) -> bool:
        """No engine holds a job any more."""
        return self.draining and not any(job.engine for job in self.jobs.values())

    # -- clients -----------------------------------------------------------------------------------------------

    def admit(self, client: str) -> Refusal | None:
        """None when there is a place for one more job of this client."""
        policy, mine = self.policy, sum(1 for job in self.jobs.values() if job.client == client)
        if len(self.jobs) >= policy.queue_jobs:
            return Refusal(len(self.jobs), policy.queue_jobs, self._retry_after())
        if mine >= policy.client_jobs:
            return Refusal(mine, policy.client_jobs, self._retry_after())
        return None

    def submit(
        self,
        now: float,
        key: str,
        *,
        client: str = "",
        batch: bool = False,
        ready: bool = True,
        queue_timeout_s: float = 0.0,
        run_timeout_s: float = 0.0,
        windows: dict[int, int] | None = None,
        age_s: float = 0.0,
        ran: bool = False,
    ) -> list[Instruction]:
        """Take a job that `admit` had a place for. ``ready`` is False while its pictures are being uploaded.

        ``windows``, ``age_s`` and ``ran`` bring back what the journal remembers: deaths by window, time since
        submission, and whether an engine had the job before.
        """
        if key in self.jobs:
            raise ValueError(f"job {key} is here already")
        self._count += 1
        self.jobs[key] = Job(
            key=key,
            client=client,
            batch=batch,
            submitted=now - age_s,
            rank=(now - age_s + (self.policy.ageing_s if batch else 0.0), self._count),
            state="queued" if ready else "uploading",
            queue_timeout_s=queue_timeout_s,
            run_timeout_s=run_timeout_s,
            windows=dict(windows or {}),
            attempt=int(ran),
        )
        return self._assign(now)

    def uploaded(self, now: float, key: str) -> list[Instruction]:
        """All that the job needs is here; it may run. Later calls change nothing."""
        job = self.jobs.get(key)
        if job is None or job.state != "uploading":
            return []
        job.state = "queued"
        return self._assign(now)

    def cancel(self, now: float, key: str, error: MatteBridgeError | None = None) -> list[Instruction]:
        """Stop a job; with ``error`` it fails with that instead of being cancelled. A second call changes nothing."""
        job = self.jobs.get(key)
        if job is None or job.state == "cancelling":
            return []
        job.error = error
        if not job.engine:
            return [*self._end(job, "failed" if error else "cancelled", error), *self._assign(now)]
        job.state = "cancelling"
        job.stop_by = now + self.policy.cancel_grace_s
        return [Interrupt(job.engine, key, "cancel")]

    # -- engines -----------------------------------------------------------------------------------------------

    def engine_ready(self, now: float, name: str) -> list[Instruction]:
        """The engine can take jobs (or says so again while it has one)."""
        engine = self.engines[name]
        engine.heard = now
        if engine.state != "starting":
            return []
        engine.state, engine.since, engine.came_up, engine.failed_starts = "idle", now, True, 0
        return self._assign(now)

    def engine_beat(self, now: float, name: str) -> None:
        """The engine's process lives."""
        engine = self.engines[name]
        engine.heard = now
        if engine.state in ("idle", "busy") and now - engine.since >= self.policy.stable_s:
            engine.failures = 0

    def engine_step(self, now: float, name: str, key: str, window: int, frames: Sequence[int] = ()) -> None:
        """The engine is about to run a window: if it dies now, that window is to blame."""
        self.engine_beat(now, name)
        job = self.jobs.get(key)
        if job is not None and job.engine == name:
            job.window, job.frames = window, tuple(frames)

    def engine_ended(
        self, now: float, name: str, key: str, outcome: str, error: MatteBridgeError | None = None
    ) -> list[Instruction]:
        """The engine finished with a job. ``outcome``: done, failed, cancelled, preempted."""
        engine, job = self.engines[name], self.jobs.get(key)
        engine.heard = now
        if job is None or job.engine != name:
            return []
        self._release(now, job, engine)
        if outcome in ("done", "failed"):
            self._pace_s += 0.2 * (min(job.ran_s, 600.0) - self._pace_s)
            return [*self._end(job, outcome, error), *self._assign(now)]
        if job.state == "cancelling" or outcome == "cancelled":
            return [*self._end(job, "failed" if job.error else "cancelled", job.error), *self._assign(now)]
        return [*self._requeue(job), *self._assign(now)]

    def engine_died(self, now: float, name: str, reason: str, reading: Iterable[Picture] = ()) -> list[Instruction]:
        """The engine's process ended, for whatever reason, while it was ``reading`` these pictures."""
        engine = self.engines[name]
        blameless, job = engine.blameless, self.jobs.get(engine.job)
        engine.state, engine.job, engine.since, engine.blameless = "down", "", now, False
        engine.failures += not blameless
        engine.failed_starts += not blameless and not engine.came_up
        engine.restarts += 1
        pause = self.policy.backoff_s * 2.0 ** max(engine.failures - 1, 0) if engine.failures else 0.0
        engine.start_at = None if self.draining else now + min(pause, self.policy.backoff_longest_s)
        done: list[Instruction] = []
        if job is not None:
            done += self._bereave(now, job, reason, blameless, reading)
        if not engine.came_up and engine.failed_starts >= self.policy.start_attempts:
            done += self._give_up(reason)
        return [*done, *self._assign(now)]

    # -- time --------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Instruction]:
        """Whatever is due at ``now``."""
        done: list[Instruction] = []
        for engine in self.engines.values():
            done += self._tick_engine(now, engine)
        for job in list(self.jobs.values()):
            done += self._tick_job(now, job)
        return done

    def away(self, now: float, gap_s: float) -> None:
        """Nobody listened for ``gap_s`` (the server itself was stopped): engines were not silent meanwhile."""
        for engine in self.engines.values():
            engine.heard = min(engine.heard + gap_s, now)
            if engine.state == "starting":
                engine.since = min(engine.since + gap_s, now)

    def next_due(self) -> float | None:
        """When `tick` has something to do next, if nothing else happens."""
        policy = self.policy
        times = [job_due for job in self.jobs.values() for job_due in _dues(job)]
        for engine in self.engines.values():
            if engine.state == "down" and engine.start_at is not None:
                times.append(engine.start_at)
            elif engine.state == "starting":
                times.append(engine.since + policy.engine_start_s)
            elif engine.state in ("idle", "busy"):
                times.append(engine.heard + policy.engine_lost_s)
        return min(times, default=None)

    def drain(self, fast: bool = False) -> list[Instruction]:
        """Start nothing more; running jobs go back to the queue at their next step, or at once with ``fast``."""
        self.draining = True
        done: list[Instruction] = []
        for engine in self.engines.values():
            engine.start_at = None
            job = self.jobs.get(engine.job)
            if fast and engine.state in ("starting", "idle", "busy"):
                done += self._kill(engine, "the server is stopping", blameless=True)
            elif job is not None and job.state in ("running", "preempting"):
                job.state = "draining"
                done.append(Interrupt(engine.name, job.key, "drain"))
        return done

    # -- inside ------------------------------------------------------------------------------------------------

    def _assign(self, now: float) -> list[Instruction]:
        """Give waiting jobs to idle engines, then make room for those that go before what is running."""
        if self.draining:
            return []
        done: list[Instruction] = []
        waiting = self.waiting()
        for engine in self.engines.values():
            if engine.state == "idle" and waiting:
                done.append(self._start(now, waiting.pop(0), engine))
        running = sorted((job for job in self.jobs.values() if job.engine), key=lambda job: job.rank, reverse=True)
        freeing = sum(1 for job in running if job.state in ("preempting", "cancelling"))
        victims = [job for job in running if job.state == "running" and job.batch]
        for job, victim in zip(waiting[freeing:], victims, strict=False):
            if job.rank < victim.rank and not job.batch:
                victim.state = "preempting"
                done.append(Interrupt(victim.engine, victim.key, "preempt"))
        return done

    def _start(self, now: float, job: Job, engine: Engine) -> Run:
        engine.state, engine.job, engine.heard = "busy", job.key, now
        job.state, job.engine, job.started, job.window = "running", engine.name, now, BEFORE_FIRST_WINDOW
        job.attempt += 1
        return Run(engine.name, job.key, job.attempt)

    def _release(self, now: float, job: Job, engine: Engine) -> None:
        if engine.state == "busy":
            engine.state = "idle"
        engine.job = ""
        job.engine, job.stop_by = "", None
        job.ran_s += now - (job.started if job.started is not None else now)

    def _requeue(self, job: Job, blamed: int | None = None) -> list[Instruction]:
        job.state = "queued"
        return [Requeue(job.key, blamed)]

    def _end(self, job: Job, outcome: str, error: MatteBridgeError | None) -> list[Instruction]:
        del self.jobs[job.key]
        return [End(job.key, outcome, error)]

    def _kill(self, engine: Engine, why: str, blameless: bool) -> list[Instruction]:
        engine.state, engine.blameless = "killed", blameless
        return [KillEngine(engine.name, why)]

    def _bereave(
        self, now: float, job: Job, reason: str, blameless: bool, reading: Iterable[Picture]
    ) -> list[Instruction]:
        """The engine died under this job."""
        job.engine, job.stop_by = "", None
        job.ran_s += now - (job.started if job.started is not None else now)
        if job.state == "cancelling":
            return self._end(job, "failed" if job.error else "cancelled", job.error)
        if blameless:
            return self._requeue(job)
        job.windows[job.window] = job.windows.get(job.window, 0) + 1
        job.pictures.update(set(reading))
        if max([job.windows[job.window], *job.pictures.values()]) < self.policy.attempts:
            return self._requeue(job, job.window)
        return self._end(job, "failed", poison(job, reason, self.policy.attempts))

    def _give_up(self, reason: str) -> list[Instruction]:
        """No engine comes up: jobs learn it instead of waiting for ever."""
        if any(engine.state in ("idle", "busy") for engine in self.engines.values()):
            return []
        error = EngineFailed(f"the engine does not start: {reason}", remedy="Look at the server's log.")
        return [one for job in self.waiting() for one in self._end(job, "failed", error)]

    def _tick_engine(self, now: float, engine: Engine) -> list[Instruction]:
        policy = self.policy
        if engine.state == "down" and engine.start_at is not None and now >= engine.start_at:
            engine.state, engine.since, engine.heard, engine.start_at = "starting", now, now, None
            engine.came_up = False
            return [StartEngine(engine.name)]
        if engine.state == "starting" and now - engine.since >= policy.engine_start_s:
            return self._kill(engine, f"not ready after {policy.engine_start_s:g} s", blameless=False)
        if engine.state in ("idle", "busy") and now - engine.heard >= policy.engine_lost_s:
            return self._kill(engine, f"no sign of life for {policy.engine_lost_s:g} s", blameless=False)
        return []

    def _tick_job(self, now: float, job: Job) -> list[Instruction]:
        if job.stop_by is not None and now >= job.stop_by:
            job.stop_by = None
            engine = self.engines[job.engine]
            return self._kill(engine, "it did not stop when asked", blameless=True) if engine.state == "busy" else []
        due = _deadline(job)
        if due is None or now < due:
            return []
        ran = bool(job.engine)
        limit = job.run_timeout_s if ran else job.queue_timeout_s
        what = "ran" if ran else "waited"
        return self.cancel(now, job.key, JobTimeout(f"the job {what} longer than its limit of {limit:g} s"))

    def _retry_after(self) -> float:
        """About when a place will be free: the usual time of a job over the number of engines, and up to twice that.

        Clients that were refused together are given times apart, lest they come back together.
        """
        self._refused += 1
        usual = min(max(self._pace_s / max(len(self.engines), 1), 0.5), 60.0)
        return round(usual * (1 + self._refused % TURNS / TURNS), 2)


def _deadline(job: Job) -> float | None:
    """When the job runs out of time: waiting before its first start, or running (all its runs together)."""
    if job.engine and job.state != "cancelling" and job.run_timeout_s and job.started is not None:
        return job.started + job.run_timeout_s - job.ran_s
    if not job.engine and not job.attempt and job.queue_timeout_s:
        return job.submitted + job.queue_timeout_s
    return None


def _dues(job: Job) -> list[float]:
    return [due for due in (_deadline(job), job.stop_by) if due is not None]
