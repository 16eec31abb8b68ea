"""Every message of protocol v1, declared once. docs/protocol.md is the prose; both sides work from this table.

On the wire a message is a ZeroMQ multipart: the tag (ASCII, one frame), the header (a msgpack map of the dataclass's
fields, at most `HEADER_BYTES`), then zero or more blobs. The tag alone selects the type. Unknown fields are ignored, so
a minor version may add fields with defaults; a field's meaning never changes within a major version. Numbers carry
their unit in their name. A *frame* in this file is a picture's number, never a part of a multipart.

Directions:  C client to server,  S server to client,  B both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import EVENTS as EVENTS
from .events import TERMINAL as TERMINAL
from .events import CancelledEvent as CancelledEvent
from .events import Done as Done
from .events import Event as Event
from .events import Failed as Failed
from .events import FrameDone as FrameDone
from .events import Progress as Progress
from .events import Queued as Queued
from .events import Started as Started
from .events import Warning_ as Warning_
from .values import BEAT_S as BEAT_S
from .values import BEATS_LOST as BEATS_LOST
from .values import BLOB_BYTES as BLOB_BYTES
from .values import HEADER_BYTES as HEADER_BYTES
from .values import INITIAL_CREDIT_BYTES as INITIAL_CREDIT_BYTES
from .values import MESSAGE_PARTS as MESSAGE_PARTS
from .values import RESULT_ROLES as RESULT_ROLES
from .values import UPLOAD_ROLES as UPLOAD_ROLES
from .values import ClipInfo as ClipInfo
from .values import EngineInfo as EngineInfo
from .values import ErrorInfo as ErrorInfo
from .values import JobInfo as JobInfo
from .values import JobRequest as JobRequest
from .values import Limits as Limits
from .values import ModelInfo as ModelInfo
from .values import ParamInfo as ParamInfo
from .values import ParamValue as ParamValue
from .values import PresetInfo as PresetInfo
from .values import PromptInfo as PromptInfo

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0


# -- handshake ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """C. First on every connection. ``minor`` is the newest minor version the client speaks in ``major``."""

    major: int
    minor: int
    client: str = ""
    user: str = ""
    host: str = ""
    pid: int = 0


@dataclass(frozen=True)
class Welcome:
    """S. Answers HELLO. ``boot_id`` changes with every start of the server."""

    major: int
    minor: int
    boot_id: str
    server: str = ""
    host: str = ""
    limits: Limits = field(default_factory=Limits)
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Incompatible:
    """S. Answers a HELLO of another major version."""

    major: int
    minor: int
    message: str = ""


@dataclass(frozen=True)
class NeedHello:
    """S. Answers anything that came before HELLO; after a restart of the server too."""

    boot_id: str


@dataclass(frozen=True)
class Ping:
    """B. Any traffic counts as a beat; PING is sent when there was none for a beat."""

    number: int


@dataclass(frozen=True)
class Pong:
    """B. Answers PING. From the server ``engine_busy_s`` tells how long the current step has run."""

    number: int
    engine_busy_s: float = 0.0


# -- questions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Describe:
    """C. One model by name, or all of them when ``model`` is empty."""

    request: int
    model: str = ""


@dataclass(frozen=True)
class Described:
    """S. Answers DESCRIBE."""

    request: int
    models: tuple[ModelInfo, ...] = ()


@dataclass(frozen=True)
class Check:
    """C. A submit as a dry run: nothing is queued and nothing is written."""

    request: int
    job: JobRequest


@dataclass(frozen=True)
class Checked:
    """S. Answers CHECK. No ``problems`` means that SUBMIT would be accepted now."""

    request: int
    problems: tuple[ErrorInfo, ...] = ()
    warnings: tuple[str, ...] = ()
    frames_total: int = 0
    frames_fresh: int = 0
    facts: dict[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """C. ``finished`` asks for ended jobs too, the newest ``limit`` of them."""

    request: int
    finished: bool = False
    limit: int = 50


@dataclass(frozen=True)
class StatusReport:
    """S. Answers STATUS. ``state``: starting, ready, draining."""

    request: int
    state: str = "ready"
    boot_id: str = ""
    version: str = ""
    host: str = ""
    pid: int = 0
    uptime_s: float = 0.0
    engines: tuple[EngineInfo, ...] = ()
    jobs: tuple[JobInfo, ...] = ()


# -- jobs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submit:
    """C. ``key`` is made by the client and names the job for good. ``boot_id`` is the server it was meant for.

    Same key and same body: the existing job. Same key and another body: CONFLICT. A stale ``boot_id`` (a message that a
    socket kept over a restart) is answered with NEED_HELLO and has no effect. Blob 0, if any: the frozen plan, JSON.
    """

    request: int
    key: str
    job: JobRequest
    boot_id: str


@dataclass(frozen=True)
class Resume:
    """C. Attach to a job by key and have every event after ``after`` sent again; 0 is from the beginning.

    Answered with ACCEPTED, then the events, then results that were not TAKEN yet. A key that the server does not know
    is REJECTED with ``error.details["job_unknown"]`` true: the client then submits the same body under the same key.
    """

    request: int
    key: str
    after: int = 0


@dataclass(frozen=True)
class Accepted:
    """S. Answers SUBMIT and RESUME. ``last`` is the newest event's number; ``stored`` what was uploaded already.

    ``state`` is as in `JobInfo`. ``stored`` lists pictures as ``role/frame`` (role config: ``config/name``);
    ``credit_bytes`` is what may be uploaded on this connection before more is granted. In state uploading the client
    uploads what is not in ``stored`` and then sends PUTS_DONE, also when it did so on an earlier connection.
    """

    request: int
    key: str
    state: str
    last: int = 0
    existing: bool = False
    stored: tuple[str, ...] = ()
    credit_bytes: int = 0


@dataclass(frozen=True)
class Busy:
    """S. Answers SUBMIT when the queue is full. Nothing was stored; try again after ``retry_after_s``."""

    request: int
    retry_after_s: float
    depth: int = 0
    limit: int = 0


@dataclass(frozen=True)
class Rejected:
    """S. Answers any request that cannot be served."""

    request: int
    error: ErrorInfo


@dataclass(frozen=True)
class Conflict:
    """S. Answers SUBMIT: the key names a job with another body."""

    request: int
    key: str
    message: str = ""


@dataclass(frozen=True)
class Cancel:
    """C. Stop a job at its next step. A finished job stays finished."""

    request: int
    key: str


@dataclass(frozen=True)
class Cancelling:
    """S. Answers CANCEL at once; the terminal event of a job that runs follows. ``state`` is the job's state now."""

    request: int
    key: str
    state: str


@dataclass(frozen=True)
class Stop:
    """C. Drain and stop the server: no new jobs, the current window is finished, the queue is kept for the next start.

    ``now`` does not wait for the window. Only a local client, or one whose key is marked admin, may ask.
    """

    request: int
    now: bool = False


@dataclass(frozen=True)
class Stopping:
    """S. Answers STOP."""

    request: int


# -- pixels through the socket -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Credit:
    """B. The sender of CREDIT can take ``add_bytes`` more of blobs for this job.

    Credit belongs to a connection: HELLO voids what either side was granted before. The client grants its first credit
    for results after ACCEPTED; a server without credit gives nothing.
    """

    key: str
    add_bytes: int


@dataclass(frozen=True)
class Put:
    """C. Part of one uploaded picture in blob 0. ``role``: plate, mask, core, garbage, background, config.

    Parts come in order; ``offset`` + blob length == ``total_bytes`` ends the picture, and ``offset`` 0 begins it anew
    (a part that was cut off counts for nothing). ``name`` is the file name (its extension tells the format); for role
    config the name within the config's folder. A picture without a frame number is frame 0. ``sha256`` (hex, of the
    whole picture) is in the last part.
    """

    key: str
    role: str
    frame: int
    name: str
    offset: int
    total_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Stored:
    """S. The picture is whole and on the server's disk."""

    key: str
    role: str
    frame: int


@dataclass(frozen=True)
class PutsDone:
    """C. All that the job needs was uploaded; the job may be queued. For a job that is queued it has no effect."""

    key: str


@dataclass(frozen=True)
class Give:
    """S. Part of one result in blob 0. ``role``: alpha, fgr, comp, cleanplate. Parts come in order, as in PUT.

    The terminal event is sent on a connection only after every result that was not TAKEN has been given on it.
    """

    key: str
    role: str
    frame: int
    name: str
    offset: int
    total_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Taken:
    """C. The result is whole and on the client's disk; the server may drop its copy."""

    key: str
    role: str
    frame: int


MESSAGES: Mapping[bytes, type[Any]] = {
    b"HELLO": Hello,
    b"WELCOME": Welcome,
    b"INCOMPATIBLE": Incompatible,
    b"NEED_HELLO": NeedHello,
    b"PING": Ping,
    b"PONG": Pong,
    b"DESCRIBE": Describe,
    b"DESCRIBED": Described,
    b"CHECK": Check,
    b"CHECKED": Checked,
    b"STATUS": Status,
    b"STATUS_REPORT": StatusReport,
    b"SUBMIT": Submit,
    b"RESUME": Resume,
    b"ACCEPTED": Accepted,
    b"BUSY": Busy,
    b"REJECTED": Rejected,
    b"CONFLICT": Conflict,
    b"CANCEL": Cancel,
    b"CANCELLING": Cancelling,
    b"STOP": Stop,
    b"STOPPING": Stopping,
    b"QUEUED": Queued,
    b"STARTED": Started,
    b"FRAME": FrameDone,
    b"WARNING": Warning_,
    b"DONE": Done,
    b"FAILED": Failed,
    b"CANCELLED": CancelledEvent,
    b"PROGRESS": Progress,
    b"CREDIT": Credit,
    b"PUT": Put,
    b"STORED": Stored,
    b"PUTS_DONE": PutsDone,
    b"GIVE": Give,
    b"TAKEN": Taken,
}

TAGS: Mapping[type[Any], bytes] = {cls: tag for tag, cls in MESSAGES.items()}

FROM_CLIENT = frozenset(
    {
        b"HELLO",
        b"PING",
        b"PONG",
        b"DESCRIBE",
        b"CHECK",
        b"STATUS",
        b"SUBMIT",
        b"RESUME",
        b"CANCEL",
        b"STOP",
        b"CREDIT",
        b"PUT",
        b"PUTS_DONE",
        b"TAKEN",
    }
)
