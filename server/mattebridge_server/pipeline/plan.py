"""The shot's plan: every choice that must be the same for all frames of a shot, made once and kept as small JSON.

A plan is a pure function of the shot's range, the parameters, all masks and a few plates at fixed fractions of the
shot. It is made before the first window. `mattebridge plan` freezes it in a file; a job that is given a frozen plan
obeys it, reads context beyond its own frames and writes only its own. Under a frozen plan a downgrade is a failure,
never a fallback. Values are whole numbers, strings, or quantised, so that two machines write the same bytes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import msgspec

from mattebridge.errors import PlanError
from mattebridge.messages import ParamValue, PromptInfo

from .region import Region
from .windows import Layout, Span, frame_layout

PLAN_VERSION = 1
GAIN_STEP_STOPS = 1 / 16
SAMPLE_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


class ShotPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``frames`` is the shot's range, canonical. ``region`` is None for models that see the plate as it is.

    ``gain_stops`` multiplies the plate by 2**gain_stops before the look. ``plate`` and ``display`` are data and display
    window as x, y, width, height. ``mask_channel`` is the channel that was chosen for the whole shot, as
    ``core_channel`` and ``garbage_channel`` are.
    ``prompts`` are set for a model that starts from them.
    """

    version: int = PLAN_VERSION
    frames: str
    model: str
    model_digest: str
    temporal: str
    length: int
    stride: int
    radius: int
    precision: str = ""
    preset: str = ""
    params: dict[str, ParamValue] = {}
    plate: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    pixel_aspect: float = 1.0
    plate_space: str = ""
    config: str = ""
    config_digest: str = ""
    context: dict[str, str] = {}
    look: str = ""
    gain_stops: float = 0.0
    mask_channel: str = ""
    mask_invert: bool = False
    mask_fit: str = ""
    core_channel: str = ""
    garbage_channel: str = ""
    prompts: tuple[PromptInfo, ...] = ()
    region: Region | None = None
    notes: tuple[str, ...] = ()

    def spans(self, frames: int) -> tuple[Span, ...]:
        """Every window over a shot of ``frames`` frames."""
        if self.temporal == "frame":
            return frame_layout(frames, self.radius)
        return self.layout(frames).spans

    def layout(self, frames: int) -> Layout:
        """The overlapping windows of a `window` model; one window over everything for a `shot` model."""
        if self.temporal == "shot":
            return Layout(frames, max(1, frames), max(1, frames))
        return Layout(frames, self.length, self.stride)

    def to_json(self) -> bytes:
        """Canonical bytes: the same plan gives the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2)

    def digest(self) -> str:
        """SHA-256 over all that reaches a pixel, less what belongs to single frames.

        The range and the region are left out: a frame's key names the windows that cover it and their part of the
        region, so that a longer shot, or a mask repaired elsewhere, leaves the frame's key as it is. The config counts
        by its content: the same files at another place are the same config.
        """
        bare = msgspec.structs.replace(self, frames="", notes=(), preset="", region=None, config="")
        digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic"))
        return digest.hexdigest()

    def region_digest(self, indices: Sequence[int]) -> str:
        """SHA-256 of the region's size, canvas and the offsets at ``indices``: a key depends on its own frames only."""
        if self.region is None:
            return ""
        part = (self.region.width, self.region.height, self.region.canvas, [self.region.offsets[i] for i in indices])
        return hashlib.sha256(msgspec.json.encode(part)).hexdigest()


def parse_plan(text: bytes) -> ShotPlan:
    """A plan from its JSON. Raises `PlanError` for anything that is not a plan of this version."""
    try:
        plan = msgspec.json.decode(text, type=ShotPlan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"this is not a plan: {error}", remedy="Make one with `mattebridge plan`.") from error
    if plan.version != PLAN_VERSION:
        raise PlanError(f"the plan has version {plan.version}, this server makes and reads version {PLAN_VERSION}")
    return plan


def sample_indices(frames: int) -> tuple[int, ...]:
    """The shot indices of the plates that a plan looks at: first, quarters and last, without repeats."""
    return tuple(sorted({round(fraction * (frames - 1)) for fraction in SAMPLE_FRACTIONS}))


def quantise_gain(gain: float) -> float:
    """Exposure gain (a factor) as stops on a 1/16 stop grid, at most 10 stops either way."""
    if not math.isfinite(gain) or gain <= 0:
        return 0.0
    stops = round(math.log2(gain) / GAIN_STEP_STOPS) * GAIN_STEP_STOPS
    return min(10.0, max(-10.0, stops))
