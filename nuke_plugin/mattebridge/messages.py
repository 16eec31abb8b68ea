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
from typing import Any, Optional, Union

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0

HEADER_BYTES = 256 * 1024
BLOB_BYTES = 4 * 1024 * 1024
MESSAGE_PARTS = 4
INITIAL_CREDIT_BYTES = 64 * 1024 * 1024
BEAT_S = 2.0
BEATS_LOST = 3

ParamValue = Union[bool, int, float, str]


# -- values carried inside messages ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ErrorInfo:
    """An error as data; `mattebridge.errors.error_from_wire` makes it an exception again."""

    code: str
    message: str
    remedy: str = ""
    file: str = ""
    frame: Optional[int] = None
    details: dict[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptInfo:
    """Points and a box on one frame for one object; coordinates are fractions of the display window, y down.

    ``points`` are flat triples x, y, label (1 subject, 0 background); ``box`` is x0, y0, x1, y1 or empty.
    """

    frame: int
    layer: str = "A"
    points: tuple[float, ...] = ()
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class JobRequest:
    """What is to be done: the body of CHECK and SUBMIT. Paths are sequences (`plate.####.exr`) as the client sees them.

    ``frames`` is what to write and ``shot`` what the plan covers (both frame ranges; an empty ``shot`` is ``frames``,
    empty ``frames`` are all the frames that the plate has). A frozen plan travels as blob 0. ``plate_space`` names an
    OCIO colour space, alias, role or interop id. ``config`` is a pinned OCIO URI or a path, ``config_digest`` the
    SHA-256 that `mattebridge.config_digest` computes for a path. ``fill`` names the tracker (sam2) that makes the masks
    which the shot lacks; ``prompts`` with another model are tracked first. ``delivery``: "files" the server reads and
    writes the paths; "exr" and "planes" the pixels travel through the socket and ``out`` stays on the client.
    """

    plate: str
    mask: str = ""
    out: str = ""
    kind: str = "matte"
    frames: str = ""
    shot: str = ""
    view: str = ""
    model: str = "edge"
    params: dict[str, ParamValue] = field(default_factory=dict)
    preset: str = ""
    precision: str = ""
    plate_space: str = ""
    plate_layer: str = ""
    mask_channel: str = ""
    mask_invert: bool = False
    mask_fit: str = ""
    config: str = ""
    config_digest: str = ""
    context: dict[str, str] = field(default_factory=dict)
    look: str = "filmic"
    show: str = ""
    core: str = ""
    garbage: str = ""
    fgr: str = ""
    comp_over: str = ""
    comp: str = ""
    cleanplate: str = ""
    prompts: tuple[PromptInfo, ...] = ()
    delivery: str = "files"
    priority: str = "interactive"
    overwrite: bool = False
    fallback: bool = False
    fill: str = ""
    queue_timeout_s: float = 0.0
    run_timeout_s: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class ParamInfo:
    """One parameter of a model. ``type`` is bool, int, float or str; ``low``/``high`` bound numbers."""

    name: str
    type: str
    default: ParamValue
    label: str = ""
    hint: str = ""
    low: Optional[float] = None
    high: Optional[float] = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipInfo:
    """One input of a model and how many frames around the current one it reads (OpenFX: temporal clip access)."""

    name: str
    before: int = 0
    after: int = 0
    optional: bool = False


@dataclass(frozen=True)
class PresetInfo:
    """A canvas budget and the device memory measured for it."""

    name: str
    canvas_pixels: int
    peak_bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """A model as an OpenFX effect would describe itself."""

    name: str
    title: str = ""
    summary: str = ""
    version: str = ""
    licence: str = ""
    temporal: str = "frame"
    radius: int = 0
    window: int = 1
    stride: int = 1
    clips: tuple[ClipInfo, ...] = ()
    params: tuple[ParamInfo, ...] = ()
    presets: tuple[PresetInfo, ...] = ()
    precisions: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("alpha",)
    installed: bool = True
    loaded: bool = False
    experimental: bool = False
    weights_bytes: int = 0


@dataclass(frozen=True)
class EngineInfo:
    """One engine child: its device, what it does and what it holds."""

    device: str
    state: str
    busy_s: float = 0.0
    job: str = ""
    loaded: tuple[str, ...] = ()
    memory_used_bytes: int = 0
    memory_budget_bytes: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class JobInfo:
    """One job as STATUS shows it. ``state``: uploading, queued, running, cancelling, done, failed, cancelled.

    ``uploading`` is a job of delivery "exr" or "planes" whose PUTS_DONE has not come.
    """

    key: str
    state: str
    kind: str = "matte"
    label: str = ""
    user: str = ""
    host: str = ""
    model: str = ""
    priority: str = ""
    position: int = 0
    frames_total: int = 0
    frames_done: int = 0
    submitted_at: float = 0.0
    out: str = ""
    error: Optional[ErrorInfo] = None


@dataclass(frozen=True)
class Limits:
    """What the server will take; announced, because a transport limit cuts the connection without a word."""

    header_bytes: int = HEADER_BYTES
    blob_bytes: int = BLOB_BYTES
    message_parts: int = MESSAGE_PARTS
    queue_jobs: int = 256
    client_jobs: int = 64
    job_frames: int = 1_000_000
    beat_s: float = BEAT_S
    beats_lost: int = BEATS_LOST


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
    """S. Answers CANCEL at once; the terminal event follows. ``state`` is the job's state now."""

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


# -- events: numbered per job from 1, kept, sent in order; exactly one terminal event per job ---------------------


@dataclass(frozen=True)
class Queued:
    """S. ``position`` jobs are ahead; ``ahead`` names the one that runs now (user: label)."""

    key: str
    seq: int
    at: float
    position: int = 0
    ahead: str = ""


@dataclass(frozen=True)
class Started:
    """S. The engine took the job. ``frames`` are to be written, ``fresh`` were found finished and are kept."""

    key: str
    seq: int
    at: float
    frames: int = 0
    fresh: int = 0
    model: str = ""
    device: str = ""
    why: str = ""


@dataclass(frozen=True)
class FrameDone:
    """S. One frame is on disk under its final name. ``digest`` is its key; ``kept`` says that it was there already."""

    key: str
    seq: int
    at: float
    frame: int
    path: str = ""
    digest: str = ""
    kept: bool = False


@dataclass(frozen=True)
class Warning_:
    """S. Something to look at. ``code`` is stable (docs/errors.md); ``frame`` where it belongs to one."""

    key: str
    seq: int
    at: float
    code: str
    message: str
    frame: Optional[int] = None


@dataclass(frozen=True)
class Done:
    """S. Terminal. ``facts`` are flat figures (timings, seam, peak memory, licence …). A plan job's plan is blob 0."""

    key: str
    seq: int
    at: float
    written: int = 0
    kept: int = 0
    facts: dict[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """S. Terminal. What was finished before is kept."""

    key: str
    seq: int
    at: float
    error: ErrorInfo


@dataclass(frozen=True)
class CancelledEvent:
    """S. Terminal."""

    key: str
    seq: int
    at: float
    written: int = 0


@dataclass(frozen=True)
class Progress:
    """S. Not numbered, not kept, at most ten a second. ``done`` of ``total`` frames; ``stage`` is what happens now."""

    key: str
    stage: str
    done: int = 0
    total: int = 0
    frame: Optional[int] = None
    fps: float = 0.0
    eta_s: float = 0.0
    position: int = 0


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
EVENTS = (Queued, Started, FrameDone, Warning_, Done, Failed, CancelledEvent)
TERMINAL = (Done, Failed, CancelledEvent)
