"""Values that messages carry, and the protocol's limits. As messages they only ever grow by fields with defaults.

Numbers carry their unit in their name. A *frame* is a picture's number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Optional, Union

from .errors import MatteBridgeError, error_from_wire

HEADER_BYTES = 256 * 1024
BLOB_BYTES = 4 * 1024 * 1024
MESSAGE_PARTS = 4
INITIAL_CREDIT_BYTES = 64 * 1024 * 1024
BEAT_S = 2.0
BEATS_LOST = 3

ParamValue = Union[bool, int, float, str]

UPLOAD_ROLES = {"plate": "plate", "mask": "mask", "core": "core", "garbage": "garbage", "background": "comp_over"}
"""Role of a sequence that a job reads → the field of `JobRequest` that names it."""
RESULT_ROLES = {"alpha": "out", "fgr": "fgr", "comp": "comp", "cleanplate": "cleanplate"}
"""Role of a sequence that a job writes → the field of `JobRequest` that names it."""


@dataclass(frozen=True)
class ErrorInfo:
    """An error as data."""

    code: str
    message: str
    remedy: str = ""
    file: str = ""
    frame: Optional[int] = None
    details: dict[str, ParamValue] = field(default_factory=dict)

    @classmethod
    def of(cls, error: MatteBridgeError) -> ErrorInfo:
        """An exception as it travels."""
        return cls(error.code, error.message, error.remedy, error.file, error.frame, dict(error.details))

    def exception(self) -> MatteBridgeError:
        """The exception again, of its own class."""
        return error_from_wire(asdict(self))


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
