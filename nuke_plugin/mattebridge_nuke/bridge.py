"""The client, as the node uses it: the one module that knows `mattebridge.Client`, loaded when a button is pressed.

`ready()` puts our vendored pyzmq and msgpack at the end of `sys.path` (a studio's own copies win) and says in one line
what is missing. Nothing here touches Nuke; every call may block and is made from a worker thread, `Job.cancel` from
any.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from mattebridge.errors import MatteBridgeError, ModelUnknown, ServerError
from mattebridge.job_stream import LOST_STAGE
from mattebridge.messages import TAGS, ErrorInfo, ModelInfo
from mattebridge.settings import Settings

if TYPE_CHECKING:
    from mattebridge import Client

VENDOR = "vendor"
SERVER_PYTHON = "server_python.txt"
STOP_S = 0.1
"""How often somebody who waits for a connection is asked whether it is still wanted."""


def ready() -> None:
    """Make zmq and msgpack importable. Raises `ServerError` with the remedy where they are not."""
    vendor = Path(__file__).resolve().parents[1] / VENDOR
    if vendor.is_dir() and str(vendor) not in sys.path:
        sys.path.append(str(vendor))
    try:
        import msgpack  # noqa: F401
        import zmq  # noqa: F401
    except ImportError as reason:
        raise ServerError(
            f"pyzmq or msgpack cannot be imported in Python {sys.version.split()[0]}: {reason}",
            remedy="Install the plug-in folder again with: mattebridge nuke install",
        ) from reason


def settings() -> Settings:
    """The environment's, with the server's Python as `mattebridge nuke install` wrote it down."""
    found = Settings.from_environment()
    note = Path(__file__).resolve().parents[1] / SERVER_PYTHON
    if found.server_python or not note.is_file():
        return found
    return replace(found, server_python=note.read_text("utf-8").strip())


@dataclass(frozen=True)
class CheckResult:
    """What CHECK said: refusals as exceptions, and warnings for the status."""

    problems: list[MatteBridgeError]
    warnings: list[str]


@dataclass(frozen=True)
class JobEvent:
    """One event with every field that a kind may lack filled in. ``kind`` is as in the protocol."""

    kind: str
    frame: Optional[int] = None
    stage: str = ""
    done: int = 0
    total: int = 0
    fps: float = 0.0
    eta_s: float = 0.0
    position: int = 0
    ahead: str = ""
    path: str = ""
    kept: int = 0
    message: str = ""
    written: int = 0

    @property
    def lost(self) -> bool:
        """Whether the server is not there just now."""
        return self.stage == LOST_STAGE


class Job:
    """A running job: iterate its events, then `wait` raises what ended it; ``plan`` is what a plan job made."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def events(self) -> Iterator[JobEvent]:
        for event in self._job.events():
            yield _event(event)

    def cancel(self) -> None:
        self._job.cancel()

    def wait(self) -> None:
        """Raises `mattebridge.errors` of the job's end."""
        self._job.wait()

    @property
    def plan(self) -> Any:
        return json.loads(self._job.plan)


class Bridge:
    """One connection, for the length of one press of a button."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def connect(cls, server: str, stop: Callable[[], None] = lambda: None) -> Bridge:
        """``auto`` finds or starts the server of this user. Raises `ServerError`, `AuthRefused`, `ProtocolError`.

        ``stop`` raises once nobody waits any more; a connection that comes later is closed again.
        """
        ready()
        found: Future[Client] = Future()
        threading.Thread(target=_connect, args=(server, found), name="mattebridge connect", daemon=True).start()
        while not wait([found], STOP_S).done:
            try:
                stop()
            except BaseException:
                if found.cancel():
                    raise
        return cls(found.result())

    def __enter__(self) -> Bridge:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """From any thread, at any time: what is waited for ends with `ServerError`."""
        self._client.close()

    def check(self, requests: Iterable[Mapping[str, Any]]) -> CheckResult:
        """Every request (one for each view) as a dry run; what several of them say is said once."""
        answers = [self._client.check(**request) for request in requests]
        problems = {str(error): error for answer in answers for error in map(ErrorInfo.exception, answer.problems)}
        warnings = {text: None for answer in answers for text in answer.warnings}
        return CheckResult(list(problems.values()), list(warnings))

    def models(self) -> tuple[ModelInfo, ...]:
        return tuple(self._client.models())

    def model(self, name: str) -> ModelInfo:
        """Raises `ModelUnknown`."""
        try:
            return self._client.describe(name)
        except ModelUnknown as reason:
            raise ModelUnknown(
                reason.message, remedy="Press Refresh models on the Server tab and choose another."
            ) from reason

    def plan(self, request: Mapping[str, Any]) -> Job:
        """The job that makes the shot's plan: `Job.plan`, once it has ended."""
        return Job(self._client.matte(**{**request, "kind": "plan"}))

    def submit(self, request: Mapping[str, Any], plan: Any = None) -> Job:
        options = dict(request) if plan is None else {**request, "plan": plan}
        return Job(self._client.matte(**options))

    def describe_server(self) -> str:
        """One line for people: who answered, with what devices, doing what."""
        status = self._client.status()
        engines = ", ".join(f"{engine.device} {engine.state}" for engine in status.engines)
        return f"mattebridge {status.version} on {status.host}, {engines or 'no engine'}, {len(status.jobs)} jobs"


def _connect(server: str, found: Future[Client]) -> None:
    from mattebridge import Client

    try:
        client = Client.connect(server, settings=settings(), start=True)
    except Exception as reason:
        if found.set_running_or_notify_cancel():
            found.set_exception(reason)
        return
    if found.set_running_or_notify_cancel():
        found.set_result(client)
    else:
        client.close()


def _event(event: Any) -> JobEvent:
    """From a message of the protocol; fields that a kind lacks keep their defaults."""
    known = {item.name: getattr(event, item.name) for item in fields(JobEvent) if hasattr(event, item.name)}
    error = getattr(event, "error", None)
    known.update(kind=TAGS[type(event)].decode(), message=error.message if error else known.get("message", ""))
    return JobEvent(**known)
