"""What a broker and its child processes say to each other, and how it is framed on their pipes.

A child is started with two pipes (its standard input and output). Each message is a 4-byte little-endian length and a
msgpack map tagged with the struct's name. The child exits when its input closes: no orphan holds a device. Only this
program writes to the pipes, so that decoding is strict and a malformed message is a defect, not an input error.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

from mattebridge.messages import ErrorInfo, JobRequest, ModelInfo, ParamValue

MESSAGE_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct("<I")


# -- broker to engine ----------------------------------------------------------------------------------------------


class Setup(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """First message. ``site`` is the site file's text, parsed again by the child; ``folders`` hold model weights.

    ``roots`` are those of the command line; where there are any they replace the site's. ``spool`` is the folder of all
    jobs' spools, which is always allowed.
    """

    device: str = "cpu:0"
    threads: int = 2
    folders: tuple[str, ...] = ()
    site: str = ""
    roots: tuple[str, ...] = ()
    spool: str = ""
    budget_bytes: int = 0


class RunJob(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Run a job, or what is left of it: frames that are on disk with the right key are kept.

    Paths in ``request`` are the server's (mapped). ``plan`` is a frozen plan as JSON, or empty. ``spool`` is a folder
    holding uploaded pictures as ``role/name`` and receiving results as ``role/name`` for deliveries through the socket.
    ``written`` are frames that an earlier attempt wrote, maybe on a smaller canvas, and their keys: while they still
    have these, they are this job's to replace.
    """

    key: str
    request: JobRequest
    plan: bytes = b""
    spool: str = ""
    attempt: int = 0
    written: dict[int, str] = {}


class StopJob(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Stop a job at its next step. ``reason``: cancel, preempt or drain (both may be run again later)."""

    key: str
    reason: str = "cancel"


class Quit(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Unload everything and exit."""


# -- engine to broker ----------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The engine can take jobs. Sent again when a model was loaded, unloaded or installed."""

    device: str
    models: tuple[ModelInfo, ...]
    budget_bytes: int = 0
    used_bytes: int = 0


class CannotStart(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The last word of an engine that is about to end because it cannot be what Setup asks for."""

    reason: str


class JobStarted(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    key: str
    frames: int
    fresh: int
    model: str
    why: str = ""


class JobStep(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A window is about to be run: if the engine dies now, it is to blame. ``frames`` are its pictures."""

    key: str
    window: int
    frames: tuple[int, ...] = ()


class Reading(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A picture is about to be read (``begun``), or was: if the engine dies between, the picture may have killed it."""

    file: str
    frame: int
    begun: bool


class JobFrame(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    key: str
    frame: int
    path: str
    digest: str
    kept: bool = False


class JobResult(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A result file lies in the spool, to be sent through the socket. ``role``: alpha, fgr, comp, cleanplate."""

    key: str
    role: str
    frame: int
    name: str


class JobWarning(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    key: str
    code: str
    message: str
    frame: int | None = None


class JobProgress(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    key: str
    stage: str
    done: int = 0
    total: int = 0
    frame: int | None = None
    fps: float = 0.0
    eta_s: float = 0.0


class JobEnded(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Exactly one for each `RunJob`. ``outcome``: done, failed, cancelled, preempted."""

    key: str
    outcome: str
    written: int = 0
    kept: int = 0
    facts: dict[str, ParamValue] = {}
    error: ErrorInfo | None = None
    plan: bytes = b""


class Beat(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Every second, from a thread of its own. ``busy_s`` is how long the current step has run; 0 when idle."""

    busy_s: float = 0.0
    stage: str = ""
    loaded: tuple[str, ...] = ()
    used_bytes: int = 0


# -- broker to path helper, and back -------------------------------------------------------------------------------


class CheckJob(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Look at a job's paths, headers, masks and colour: everything in CHECK that touches a user's disk."""

    number: int
    request: JobRequest
    plan: bytes = b""


class JobChecked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """``problems`` and ``warnings`` go to the client as they are; ``frames`` is the number of pictures to write."""

    number: int
    problems: tuple[ErrorInfo, ...] = ()
    warnings: tuple[str, ...] = ()
    frames: int = 0
    fresh: int = 0
    facts: dict[str, ParamValue] = {}


ToEngine = Setup | RunJob | StopJob | Quit
FromEngine = (
    Ready
    | CannotStart
    | JobStarted
    | JobStep
    | Reading
    | JobFrame
    | JobResult
    | JobWarning
    | JobProgress
    | JobEnded
    | Beat
)
ToHelper = Setup | CheckJob
FromHelper = Ready | JobChecked

_encoder = msgspec.msgpack.Encoder()


def pack(message: msgspec.Struct) -> bytes:
    """One message as it goes on the pipe, length included."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def read_body(pipe: BinaryIO) -> bytes | None:
    """The next message's body from a blocking pipe; None when the other side closed it (also half way in a message)."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > MESSAGE_BYTES:
        raise ValueError(f"pipe message of {size} bytes")
    body = pipe.read(size)
    return body if len(body) == size else None
