"""May a Read be handed to the server by its path, or must Nuke render it?

By path only where the file on disk *is* what the node shows: EXR, one file for each frame under the same number, no
retime, hold, loop, substitution, expression or conversion that the server could not repeat. Everything else is rendered
to EXR at the output frames. When in doubt, render: a wrong frame costs more than a slow one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Union

from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

_NAMED = re.compile(r"(?:default|[\w ]+) \((.+)\)\Z")


@dataclass(frozen=True)
class ReadFacts:
    """A Read's knobs. ``file`` is the full-resolution file knob's own text, with forward slashes, after filters."""

    file: str
    first: int = 1
    last: int = 1
    frame_mode: str = "expression"
    frame: str = ""
    on_error: str = "error"
    colorspace: str = ""
    raw: bool = False
    disabled: bool = False
    premultiplied: bool = False
    animated: bool = False


@dataclass(frozen=True)
class ByPath:
    """The server reads ``pattern`` itself; ``space`` names the colour space, empty for the working space."""

    pattern: str
    space: str = ""


@dataclass(frozen=True)
class ToRender:
    """Nuke writes this input as scene-linear EXR; ``reason`` is for the status line."""

    reason: str


Source = Union[ByPath, ToRender]


Channel = Literal["rgb", "alpha", "colour"]
"""What is wanted of a Read: a plate's RGB, an alpha (which nothing converts), or a mask in a colour channel."""


def resolve(
    facts: ReadFacts, frames: FrameSet, ocio: bool, channel: Channel, views: tuple[str, ...] = ("main",)
) -> Source:
    """``ocio``: Nuke runs in OCIO mode."""
    reason = _mapping_reason(facts, frames) or _missing_reason(facts, frames, views)
    if reason:
        return ToRender(reason)
    if channel == "alpha" or facts.raw:
        return ByPath(facts.file)
    space = space_of(facts.colorspace)
    if channel == "colour" and not _is_scene_linear(facts.colorspace, ocio):
        return ToRender(
            f"Nuke converts its colours from {space or facts.colorspace}, and a server reads a mask as it is"
        )
    if facts.premultiplied:
        return ToRender("it is unpremultiplied before its colour conversion")
    if not space:
        return ToRender(f"its colour space {facts.colorspace!r} does not say which one that is")
    if not ocio:
        linear = space.lower() == "linear"
        return ByPath(facts.file) if linear else ToRender(f"its colour space is {space}, which only Nuke can decode")
    return ByPath(facts.file, space)


def space_of(value: str) -> str:
    """`default (ACES - ACEScg)` names the space in brackets, as `scene_linear (...)` does; `default` alone does not."""
    text = value.strip()
    match = _NAMED.match(text)
    if match:
        return match[1].strip()
    return "" if text.lower() in ("", "default") else text


def _is_scene_linear(colorspace: str, ocio: bool) -> bool:
    """Whether Nuke's conversion does nothing: in OCIO mode only the role's own name says so for certain."""
    return colorspace.strip().lower().startswith("scene_linear") if ocio else space_of(colorspace).lower() == "linear"


def _mapping_reason(facts: ReadFacts, frames: FrameSet) -> str:
    if facts.disabled:
        return "the Read is disabled"
    if not facts.file:
        return "the Read has no file"
    if "[" in facts.file or "$" in facts.file or facts.animated:
        return "there is an expression in its path or range"
    if not facts.file.lower().endswith(".exr"):
        return "it is not EXR"
    if not Sequence.parse(facts.file).has_frame:
        return "it is one still for every frame"
    return remapped(facts, frames)


def remapped(facts: ReadFacts, frames: FrameSet) -> str:
    """Why the Read does not show at each of ``frames`` the file of that number; empty where it does."""
    if facts.frame.strip() not in ("", "frame") and not _is_zero_offset(facts):
        return "it is retimed or offset"
    if frames and (frames.first < facts.first or frames.last > facts.last):
        return f"frames outside {facts.first}-{facts.last} are held or black"
    return ""


def _is_zero_offset(facts: ReadFacts) -> bool:
    text = facts.frame.strip()
    if facts.frame_mode == "offset":
        return text in ("0", "0.0")
    return facts.frame_mode == "start at" and text == str(facts.first)


def _missing_reason(facts: ReadFacts, frames: FrameSet, views: tuple[str, ...]) -> str:
    """Only where Nuke would show something in place of a missing frame; else CHECK names the frame."""
    if facts.on_error == "error":
        return ""
    sequence = Sequence.parse(facts.file)
    for view in views if sequence.has_view else ("",):
        if sequence.missing(frames, view):
            return f"missing frames are replaced ({facts.on_error})"
    return ""
