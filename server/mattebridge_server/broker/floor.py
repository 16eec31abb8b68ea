"""The side of the broker that faces the engines: scheduler's instructions out, engines' messages in. No IO."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from mattebridge.errors import EngineFailed, OutputFailed
from mattebridge.messages import RESULT_ROLES, EngineInfo, ModelInfo, Started

from ..engine import wire
from ..site import Site
from . import journal
from .effects import Kill, Outbox, Spawn, Tell
from .jobs import JobBook, Record
from .journal import ResultRow
from .requests import PathBack, base_name, for_server, in_spool, through_socket
from .scheduler import Scheduler
from .scheduling import End, Instruction, Interrupt, KillEngine, Picture, Requeue, Run, StartEngine


@dataclass
class EngineReport:
    """What an engine last told about itself. ``reading`` are the pictures that it is reading now."""

    models: tuple[ModelInfo, ...] = ()
    budget_bytes: int = 0
    used_bytes: int = 0
    busy_s: float = 0.0
    stage: str = ""
    loaded: tuple[str, ...] = ()
    reading: list[Picture] = field(default_factory=list)
    last_word: str = ""


@dataclass
class Floor:
    """Engines and what runs on them. ``spool`` is the folder that holds a folder for each job."""

    scheduler: Scheduler
    book: JobBook
    out: Outbox
    site: Site
    spool: str
    engines: dict[str, EngineReport] = field(default_factory=dict)
    windows: int = 0
    deaths: int = 0

    def __post_init__(self) -> None:
        for name in self.scheduler.engines:
            self.engines.setdefault(name, EngineReport())

    # -- questions ---------------------------------------------------------------------------------------------

    def models(self) -> dict[str, ModelInfo]:
        """Every model of every engine by name; one that is loaded somewhere counts as loaded."""
        found: dict[str, ModelInfo] = {}
        for engine in self.engines.values():
            for model in engine.models:
                if model.name not in found or model.loaded:
                    found[model.name] = model
        return found

    def budget_bytes(self) -> int:
        """Memory of the largest device; 0 where no engine told one."""
        return max((engine.budget_bytes for engine in self.engines.values()), default=0)

    def busy_s(self) -> float:
        """How long the longest current step has run."""
        return max((engine.busy_s for engine in self.engines.values()), default=0.0)

    def infos(self) -> tuple[EngineInfo, ...]:
        return tuple(
            EngineInfo(
                device=name,
                state=self.scheduler.engines[name].state,
                busy_s=state.busy_s,
                job=self.scheduler.engines[name].job,
                loaded=state.loaded,
                memory_used_bytes=state.used_bytes,
                memory_budget_bytes=state.budget_bytes,
                restarts=self.scheduler.engines[name].restarts,
            )
            for name, state in self.engines.items()
        )

    def ahead_of(self, key: str) -> str:
        """Who is running now, for a person who waits: ``user: label``."""
        names = [self._who(job.key) for job in self.scheduler.jobs.values() if job.engine and job.key != key]
        return ", ".join(name for name in names if name)

    def _who(self, key: str) -> str:
        record = self.book.records[key]
        label = record.request.label or record.request.model
        return f"{record.user}: {label}" if record.user else label

    # -- from the desk -------------------------------------------------------------------------------------------

    def enqueue(
        self,
        now: float,
        record: Record,
        age_s: float = 0.0,
        windows: dict[int, int] | None = None,
        ran: bool = False,
    ) -> None:
        """Hand a job to the scheduler. It is told its place even if an engine takes it at once."""
        request = record.request
        instructions = self.scheduler.submit(
            now,
            record.key,
            client=record.client,
            batch=request.priority == "batch",
            ready=record.state != "uploading",
            queue_timeout_s=request.queue_timeout_s,
            run_timeout_s=request.run_timeout_s,
            windows=windows,
            age_s=age_s,
            ran=ran,
        )
        if record.state == "queued":
            self.tell_place(record)
        self.apply(instructions)

    def uploaded(self, now: float, record: Record) -> None:
        """All pictures of a job are here."""
        self.book.set_state(record, "queued")
        instructions = self.scheduler.uploaded(now, record.key)
        self.tell_place(record)
        self.apply(instructions)

    def tell_place(self, record: Record) -> None:
        """The QUEUED event."""
        self.book.queued(record, self.scheduler.position(record.key), self.ahead_of(record.key))

    # -- from the scheduler --------------------------------------------------------------------------------------

    def apply(self, instructions: Iterable[Instruction]) -> None:
        """Carry out what the scheduler decided, journal first."""
        for one in instructions:
            if isinstance(one, Run):
                self._run(one)
            elif isinstance(one, Interrupt):
                self._interrupt(one)
            elif isinstance(one, Requeue):
                self._requeue(one)
            elif isinstance(one, End):
                self.book.end(self.book.records[one.key], one.outcome, one.error)
            elif isinstance(one, StartEngine):
                self.out.do(Spawn(one.engine))
            elif isinstance(one, KillEngine):
                self.out.do(Kill(one.engine, one.why))

    def _run(self, one: Run) -> None:
        record = self.book.records[one.key]
        request = for_server(record.request, self.site)
        spool = ""
        if through_socket(record.request):
            spool = f"{self.spool}/{record.key}"
            uploaded = any(name.startswith("config/") for name in record.stored)
            request = in_spool(request, spool, uploaded)
        record.path_back = PathBack.of(record.request, request)
        self.book.set_state(record, "running")
        if one.attempt == 1:
            self.book.waited_s += max(self.book.wall() - record.submitted_at, 0.0)
        record.position = -1
        self.out.do(
            Tell(
                one.engine,
                wire.RunJob(
                    key=one.key,
                    request=request,
                    plan=record.plan,
                    spool=spool,
                    attempt=one.attempt,
                    written=dict(record.written),
                ),
            )
        )

    def _interrupt(self, one: Interrupt) -> None:
        record = self.book.records[one.key]
        state = {"cancel": "cancelling", "preempt": "preempting", "drain": "draining"}[one.reason]
        self.book.set_state(record, state)
        self.out.do(Tell(one.engine, wire.StopJob(key=one.key, reason=one.reason)))

    def _requeue(self, one: Requeue) -> None:
        record = self.book.records[one.key]
        self.book.set_state(record, "queued")
        if one.blamed is not None:
            self.book.blame(record, self.scheduler.jobs[one.key].windows)
            self.book.warning(record, "ENGINE_RESTARTED", "the engine died and was started again; the job goes on")
        self.tell_place(record)

    # -- from the engines ----------------------------------------------------------------------------------------

    def received(self, now: float, name: str, message: msgspec.Struct) -> None:
        """One message of an engine child."""
        self.scheduler.engine_beat(now, name)
        engine = self.engines[name]
        if isinstance(message, wire.Ready):
            engine.models, engine.budget_bytes, engine.used_bytes = (
                message.models,
                message.budget_bytes,
                message.used_bytes,
            )
            engine.loaded = tuple(model.name for model in message.models if model.loaded)
            self.apply(self.scheduler.engine_ready(now, name))
        elif isinstance(message, wire.Beat):
            engine.busy_s, engine.stage, engine.loaded = message.busy_s, message.stage, message.loaded
            engine.used_bytes = message.used_bytes
        elif isinstance(message, wire.CannotStart):
            engine.last_word = message.reason
        elif isinstance(message, wire.Reading):
            change = engine.reading.append if message.begun else engine.reading.remove
            change(Picture(message.file, message.frame))
        elif isinstance(message, wire.JobEnded):
            self._ended(now, name, message)
        else:
            key = getattr(message, "key", "")
            job = self.scheduler.jobs.get(key)
            if job is not None and job.engine == name:
                self._of_job(now, name, self.book.records[key], message)

    def died(self, now: float, name: str, reason: str) -> None:
        """The engine's process is gone."""
        self.deaths += 1
        dead = self.engines[name]
        reason = f"{dead.last_word} ({reason})" if dead.last_word else reason
        self.engines[name] = EngineReport(models=dead.models)
        self.apply(self.scheduler.engine_died(now, name, reason, dead.reading))

    def _of_job(self, now: float, name: str, record: Record, message: msgspec.Struct) -> None:
        if isinstance(message, wire.JobStarted):
            record.frames_total = message.frames + message.fresh
            self.out.change(journal.set_frames(record.key, record.frames_total, record.frames_done))
            self.book.event(
                record,
                Started,
                frames=message.frames,
                fresh=message.fresh,
                model=message.model,
                device=name,
                why=message.why,
            )
        elif isinstance(message, wire.JobStep):
            self.windows += 1
            self.scheduler.engine_step(now, name, record.key, message.window, message.frames)
        elif isinstance(message, wire.JobFrame):
            self.book.frame(record, message.frame, message.path, message.digest, message.kept)
        elif isinstance(message, wire.JobResult):
            if message.role in RESULT_ROLES:
                self.book.result(record, ResultRow(record.key, message.role, message.frame, message.name))
        elif isinstance(message, wire.JobWarning):
            self.book.warning(record, message.code, message.message, message.frame)
        elif isinstance(message, wire.JobProgress):
            fields = {item: getattr(message, item) for item in ("stage", "done", "total", "frame", "fps", "eta_s")}
            self.book.progress(now, record, **fields)

    def _ended(self, now: float, name: str, message: wire.JobEnded) -> None:
        job = self.scheduler.jobs.get(message.key)
        if job is None or job.engine != name:
            return
        self.engines[name].busy_s = 0.0
        error = message.error.exception() if message.error is not None else None
        if message.outcome == "failed" and error is None:
            error = EngineFailed("the engine gave no reason")
        if isinstance(error, OutputFailed) and through_socket(self.book.records[message.key].request):
            error = _of_spool(error)
        instructions = self.scheduler.engine_ended(now, name, message.key, message.outcome, error)
        for index, one in enumerate(instructions):
            if isinstance(one, End) and one.key == message.key and one.outcome == "done":
                record = self.book.records[one.key]
                self.book.end(record, "done", facts=message.facts, plan=message.plan)
                self.apply([*instructions[:index], *instructions[index + 1 :]])
                return
        self.apply(instructions)


def _of_spool(error: OutputFailed) -> OutputFailed:
    """Of a result that our own disk refused: nothing of the client's, whose paths it would name, is to be mended."""
    return OutputFailed(
        f"on the server, {error.message}",
        remedy="Free space on the server's state folder, then run the same job.",
        file=base_name(error.file),
        frame=error.frame,
        details=error.details,
    )


def windows_of(text: str) -> dict[int, int]:
    """Deaths by window out of the journal's JSON."""
    return {int(window): int(count) for window, count in json.loads(text).items()}
