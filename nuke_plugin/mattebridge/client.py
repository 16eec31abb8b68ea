"""`Client`: a blocking connection to one server, for scripts, Nuke and the farm. Its methods are safe in any thread."""

from __future__ import annotations

import functools
import json
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Optional

from . import __version__, codec
from .address import find_address
from .download import Downloader, FileSink, NoSink, PlanesSink, Sink
from .errors import MatteBridgeError, ModelUnknown, ServerError
from .job import Job, refuse_in_a_fork
from .keys import load_or_create
from .messages import (
    PROTOCOL_MAJOR,
    PROTOCOL_MINOR,
    Cancel,
    Check,
    Checked,
    Describe,
    Event,
    Hello,
    JobRequest,
    ModelInfo,
    Status,
    StatusReport,
    Stop,
    Submit,
)
from .plan_file import agreed_plan, with_request
from .planes import Planes
from .requests import PlanSource, check_key, check_request, make_request, plan_bytes, with_config_digest
from .session import Answer, ClientSession, Emit, Ended, Instruction, Times, Transfer
from .settings import Settings
from .upload import Uploader, pictures_of_files, pictures_of_planes

OnResult = Callable[[str, int, Planes], None]


class Client:
    """One connection. Made by `connect`; closed by `close`, or at the end of a ``with``.

    It reconnects by itself and takes its jobs up again where their events stopped; a job goes on without its client.
    Every method that asks the server something blocks until the answer and raises `ServerError` when the connection is
    lost for longer than `Settings.lost_timeout_s` or no answer comes within `Settings.answer_timeout_s`.
    After a fork the child connects for itself: it is refused with `UsageError` here.
    """

    def __init__(self, settings: Settings, server: str, times: Times) -> None:
        import time

        self.settings = settings
        self.server = server
        self._lock = threading.Lock()
        self._slots: dict[int, _Slot] = {}
        self._jobs: dict[str, Job] = {}
        self._closed = False
        self._pid = os.getpid()
        hello = Hello(
            PROTOCOL_MAJOR, PROTOCOL_MINOR, f"mattebridge {__version__}", settings.user, settings.host, os.getpid()
        )
        from .transport import Transport

        self._session = ClientSession(hello, times, time.monotonic())
        self._transport = Transport(
            self._session,
            functools.partial(find_address, settings, server),
            functools.partial(load_or_create, settings.client_key_file),
            self._handle,
        )

    @classmethod
    def connect(
        cls,
        server: str = "",
        *,
        settings: Optional[Settings] = None,
        start: bool = False,
        timeout_s: Optional[float] = None,
    ) -> Client:
        """Connect to ``server``: "auto" (this user's on this host), an endpoint, or "" for what the settings say.

        ``start`` starts a server when "auto" finds none. Raises `ServerError` when nothing answers within
        ``timeout_s``, `AuthRefused` for a wrong key on either side, `ProtocolError` for another protocol.
        """
        settings = settings or Settings.from_environment()
        server = server or settings.server
        if start and server == "auto" and find_address(settings, server) is None:
            from .launch import start_server

            start_server(settings)
        elif find_address(settings, server) is None:
            raise ServerError(
                f"no server of this user runs on {settings.host}",
                remedy="Start one with `mattebridge serve`, or name one: --server tcp://HOST:PORT.",
            )
        connect_timeout_s = settings.connect_timeout_s if timeout_s is None else timeout_s
        client = cls(
            settings,
            server,
            Times(connect_timeout_s, settings.lost_timeout_s, settings.busy_timeout_s, settings.answer_timeout_s),
        )
        client._transport.start()
        try:
            client._ask(Status(0, limit=0))
        except BaseException as error:
            client.close()
            where = find_address(settings, server)
            if isinstance(error, ServerError) and error.details.get("reached") is False and where is not None:
                error.message += f" at {where.endpoint}"
            raise
        return client

    # -- questions -------------------------------------------------------------------------------------------------

    def status(self, finished: bool = False, limit: int = 50) -> StatusReport:
        """Engines and jobs; ``finished`` lists ended jobs too, the newest ``limit``."""
        report: StatusReport = self._ask(Status(0, finished, limit))
        return report

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model the server knows."""
        found: tuple[ModelInfo, ...] = self._ask(Describe(0)).models
        return found

    def describe(self, name: str) -> ModelInfo:
        """One model. Raises `ModelUnknown`."""
        models = self._ask(Describe(0, name)).models
        if not models:
            raise ModelUnknown(f"no model is called {name!r}")
        described: ModelInfo = models[0]
        return described

    def check(self, request: Optional[JobRequest] = None, *, plan: PlanSource = None, **fields: Any) -> Checked:
        """A submit as a dry run, with the same arguments as `matte`: paths as the server sees them, model, colour.

        What is wrong is returned in ``problems``; only what cannot be sent is raised (`UsageError`, `PlanError`).
        """
        job = _ready(request) if request is not None else make_request(**fields)
        frozen = plan_bytes(plan) if request is not None else agreed_plan(job, plan)
        checked: Checked = self._ask(Check(0, job), (frozen,) if frozen else ())
        return checked

    def stop(self, now: bool = False) -> None:
        """Have the server finish its window and stop; ``now`` does not wait for the window. Returns when it agreed.

        Raises `AuthRefused` for a client on the network that is no admin.
        """
        self._ask(Stop(0, now))

    # -- jobs ------------------------------------------------------------------------------------------------------

    def matte(
        self,
        *,
        plan: PlanSource = None,
        key: Optional[str] = None,
        planes: Optional[Mapping[str, Mapping[int, Planes]]] = None,
        on_result: Optional[OnResult] = None,
        **fields: Any,
    ) -> Job:
        """Submit a matte job; ``fields`` are those of `JobRequest`, with paths and ranges as callers write them.

        ``planes`` (role → frame → `Planes`) is what a job of delivery "planes" reads; its results go to ``on_result``
        (role, frame, planes; on a thread of the job's own) or, without it, collect in ``job.results``.

        ``plan`` is a frozen plan: the dict that `plan` returns, its JSON, or its file. Raises as `submit` does, and
        `UsageError` for a field that no job has, `PlanError` for a file that is no plan or disagrees with a field.
        """
        if planes is not None:
            fields.setdefault("delivery", "planes")
            fields.setdefault("frames", ",".join(str(frame) for frame in sorted(planes.get("plate", ()))))
        request = make_request(**fields)
        return self.submit(request, agreed_plan(request, plan), key, planes=planes, on_result=on_result)

    def plan(self, *, key: Optional[str] = None, **fields: Any) -> dict[str, Any]:
        """Make the shot's plan and return it; blocks until it is made. Arguments as for `matte`, no ``out`` is needed.

        It holds the request that it was made for (`plan_file`). Raises what `submit` and `Job.wait` raise.
        """
        request = make_request(**{**fields, "kind": "plan"})
        job = self.submit(request, key=key)
        job.wait()
        plan: dict[str, Any] = json.loads(with_request(job.plan, request))
        return plan

    def submit(
        self,
        request: JobRequest,
        plan: bytes = b"",
        key: Optional[str] = None,
        *,
        planes: Optional[Mapping[str, Mapping[int, Planes]]] = None,
        on_result: Optional[OnResult] = None,
    ) -> Job:
        """Submit a job and follow it. Returns when the server took it, or put it off because its queue is full.

        Submitting the same request under the same ``key`` again attaches to the job that is there. Raises what the
        server refuses it with (`Refused`, `InputError`, `OutOfMemory`), `JobConflict` when the key belongs to another
        request, `MissingFrames` where a picture to upload is not there.
        """
        request = _ready(request)
        key = check_key(key or uuid.uuid4().hex)
        codec.encode(Submit(0, key, request, "0" * 64), (plan,) if plan else ())  # too large is refused here, aloud
        job = Job(key, request, self._cancel)
        job._carry(*self._transfers(job, request, planes, on_result))
        return self._follow(job, request, plan)

    def attach(self, key: str) -> Job:
        """Follow a job that was submitted before, from its first event. Raises `InputError` for an unknown key.

        Results of deliveries through the socket stay on the server; submit the same request under the key for those.
        """
        job = Job(check_key(key), None, self._cancel)
        post, tell = self._post, functools.partial(self._tell, job)
        job._carry(None, Downloader(key, NoSink(), post, tell, functools.partial(self._give_up, job)))
        return self._follow(job, None, b"")

    def cancel(self, key: str) -> str:
        """Ask for any job to be stopped; returns its state. A finished job stays finished.

        Raises `InputError` for an unknown key, `Refused` for somebody else's job.
        """
        if key in self._jobs:
            self._cancel(key)
            return "cancelling"
        return str(self._ask(Cancel(0, check_key(key))).state)

    def close(self) -> None:
        """Send what is queued and close. Jobs go on in the server; their `Job` objects end with `ServerError`."""
        self._closed = True
        self._transport.close()
        error = ServerError("the client was closed", remedy="Attach to the job by its key with a new client.")
        with self._lock:
            slots, jobs = list(self._slots.values()), list(self._jobs.values())
            self._slots.clear()
            self._jobs.clear()
        for slot in slots:
            slot.fill(error)
        for job in jobs:
            job._lost(error)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ask(self, question: Any, blobs: tuple[bytes, ...] = ()) -> Any:
        codec.encode(question, blobs)
        slot = _Slot()

        def begin(session: ClientSession, now: float) -> list[Instruction]:
            number = session.next_number()
            with self._lock:
                self._slots[number] = slot
            return session.ask(number, question, now, blobs)

        self._call(begin)
        return slot.wait()

    def _follow(self, job: Job, request: Optional[JobRequest], plan: bytes) -> Job:
        with self._lock:
            followed = self._jobs.get(job.key)
            if followed is None or followed.done:
                self._jobs[job.key] = followed = job
        if followed is not job:
            job._close_transfers()
            return followed
        self._call(lambda session, now: session.follow(job.key, request, plan, now))
        job._wait_for_answer()
        return job

    def _transfers(
        self,
        job: Job,
        request: JobRequest,
        planes: Optional[Mapping[str, Mapping[int, Planes]]],
        on_result: Optional[OnResult],
    ) -> tuple[Optional[Uploader], Optional[Downloader]]:
        if request.delivery == "files":
            return None, None
        sink: Sink
        if request.delivery == "planes":
            pictures = pictures_of_planes(planes or {}, request)
            sink = PlanesSink(on_result or job._keep)
        else:
            pictures = pictures_of_files(request)
            sink = FileSink(request)
        fail = functools.partial(self._give_up, job)
        return (
            Uploader(job.key, pictures, self._post, fail),
            Downloader(job.key, sink, self._post, functools.partial(self._tell, job), fail),
        )

    def _post(self, message: Any, blobs: tuple[Any, ...], epoch: int) -> None:
        self._call(lambda session, now: session.post(message, blobs, epoch, now))

    def _cancel(self, key: str) -> None:
        self._call(lambda session, now: session.cancel(key, now))

    def _give_up(self, job: Job, error: MatteBridgeError) -> None:
        """A transfer failed on this side: the server shall not go on for nothing."""
        job._lost(error)
        self._cancel(job.key)

    def _call(self, function: Callable[[ClientSession, float], list[Instruction]]) -> None:
        if self._closed:
            raise ServerError("the client is closed", remedy="Connect again.")
        refuse_in_a_fork(self._pid)
        self._transport.call(function)

    def _handle(self, instruction: Instruction) -> None:
        """On the IO thread: hand an instruction to whom it concerns."""
        if isinstance(instruction, Answer):
            with self._lock:
                slot = self._slots.pop(instruction.number, None)
            if slot is not None:
                slot.fill(instruction.outcome)
            return
        job = self._jobs.get(getattr(instruction, "key", ""))
        if job is None:
            return
        if isinstance(instruction, Emit):
            job._arrived(instruction.event, instruction.blobs)
        elif isinstance(instruction, Transfer):
            job._transfer(instruction.message, instruction.blobs, instruction.epoch)
        elif isinstance(instruction, Ended):
            job._lost(instruction.error)
        self._let_go(job)

    def _tell(self, job: Job, event: Event, blobs: tuple[bytes, ...]) -> None:
        """On the thread that keeps a job's results: an event that is true on this side now."""
        job._tell(event, blobs)
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        with self._lock:
            if job.done and self._jobs.get(job.key) is job:
                del self._jobs[job.key]


class _Slot:
    """Where one thread waits for one answer."""

    def __init__(self) -> None:
        self._filled = threading.Event()
        self._outcome: Any = None

    def fill(self, outcome: Any) -> None:
        self._outcome = outcome
        self._filled.set()

    def wait(self) -> Any:
        while not self._filled.wait(1.0):  # in slices, so that Ctrl-C works on Windows
            pass
        if isinstance(self._outcome, MatteBridgeError):
            raise self._outcome
        return self._outcome


def _ready(request: JobRequest) -> JobRequest:
    check_request(request)
    return with_config_digest(request)
