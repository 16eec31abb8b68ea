"""What the artist set on the node, as one value taken in the main thread at the press of a button."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from mattebridge.errors import UsageError
from mattebridge.frames import FrameSet

if TYPE_CHECKING:
    from mattebridge.messages import ParamValue

AUTOMATIC = "automatic"
MADE = "made mask"

CHANNELS = {"alpha": "A", "red": "R", "green": "G", "blue": "B"}
FITS = {"refuse": "", "stretch": "stretch", "crop": "crop"}


@dataclass(frozen=True)
class NodeSettings:
    """The panel as data. ``name`` is the full node name; ``custom_frames`` the text of the custom range."""

    name: str
    model: str = "edge"
    preset: str = ""
    range_mode: str = "input"
    custom_frames: str = ""
    make_fgr: bool = False
    make_cleanplate: bool = False
    preview_partial: bool = False
    folder: str = ""
    look: str = "filmic"
    always_render: bool = False
    made_mask: str = ""
    mask_channel: str = "alpha"
    mask_invert: bool = False
    mask_fit: str = ""
    all_views: bool = False
    one_mask: bool = False
    server: str = "auto"
    delivery: str = AUTOMATIC
    priority: str = "interactive"
    version: str = ""
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    defaults: Mapping[str, ParamValue] = field(default_factory=dict)


def read(name: str, get: Callable[[str], Any], folder: str, params: Mapping[str, ParamValue]) -> NodeSettings:
    """``get`` returns a knob's value by name, ``folder`` is the result folder with its expressions evaluated."""
    preset = str(get("preset_name") or AUTOMATIC)
    return NodeSettings(
        name=name,
        model=str(get("model_name") or get("model")),
        preset="" if preset == AUTOMATIC else preset,
        range_mode=str(get("range")),
        custom_frames=str(get("frames")),
        make_fgr=bool(get("make_fgr")),
        make_cleanplate=bool(get("make_cleanplate")),
        preview_partial=bool(get("preview_partial")),
        folder=folder,
        look=str(get("look")),
        always_render=bool(get("always_render")),
        made_mask=MADE if get("mask_from") == MADE else "",
        mask_channel=str(get("mask_channel")),
        mask_invert=bool(get("mask_invert")),
        mask_fit=FITS[str(get("mask_fit"))],
        all_views=str(get("which_views")) == "all views",
        one_mask=bool(get("one_mask")),
        server=str(get("server")).strip() or "auto",
        delivery=str(get("delivery")),
        priority=str(get("priority")),
        version=str(get("version_name")),
        params=dict(params),
    )


def shot_frames(settings: NodeSettings, plate: tuple[int, int], project: tuple[int, int]) -> FrameSet:
    """The frames of the shot: what the plan covers and Matte range makes. Raises `UsageError` for a bad range."""
    if settings.range_mode == "custom":
        return FrameSet.parse(settings.custom_frames)
    first, last = plate if settings.range_mode == "input" else project
    if last < first:
        raise UsageError(f"the {settings.range_mode} range {first}-{last} is empty", remedy="Choose a custom range.")
    return FrameSet.parse(f"{first}-{last}")


def spans(frames: FrameSet) -> tuple[tuple[int, int], ...]:
    """Runs of consecutive frames as (first, last)."""
    found: list[tuple[int, int]] = []
    for frame in frames:
        if found and frame == found[-1][1] + 1:
            found[-1] = (found[-1][0], frame)
        else:
            found.append((frame, frame))
    return tuple(found)


def canonical(value: object) -> str:
    """JSON that is the same for equal values, for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def with_made_mask(settings: NodeSettings, path: str) -> NodeSettings:
    """With the pattern of the made mask. Raises `UsageError` when none was made yet."""
    if not path:
        raise UsageError("no mask was made yet", remedy="Press Make mask first, or take the mask from the input.")
    return replace(settings, made_mask=path)
