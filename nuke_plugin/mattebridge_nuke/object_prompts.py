"""Points and a box drawn in the viewer, as a tracker takes them.

The knobs hold pixels of the full-resolution format with y up, as Nuke draws them; prompts are fractions of the display
window with y down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mattebridge.errors import UsageError
from mattebridge.messages import PromptInfo

KINDS = {"subject": 1.0, "background": 0.0}
_LAYER = re.compile(r"[A-Za-z]\w*\Z", re.ASCII)


def layer_name(text: str) -> str:
    """`matte_hero`: Nuke dislikes layers named by a number. Raises `UsageError` for a name that is no layer."""
    name = text.strip().replace(" ", "_").replace("-", "_")
    if not name:
        return "A"
    full = name if name.startswith("matte_") else f"matte_{name}"
    if not _LAYER.match(full):
        raise UsageError(f"{text!r} cannot name a layer", remedy="Use letters, digits and underscores.")
    return full


def prompt(
    frame: int,
    name: str,
    points: Sequence[tuple[Sequence[float], str]],
    box: Sequence[float],
    size: tuple[int, int],
) -> PromptInfo:
    """``points`` are ((x, y), kind) with kind off, subject or background; ``box`` is x, y, r, t or empty.

    Raises `UsageError` when nothing marks the subject, or when something lies outside the picture.
    """
    flat: list[float] = []
    for at, kind in points:
        if kind in KINDS:
            flat += [*_fraction(at[0], at[1], size, "a point"), KINDS[kind]]
    corners: tuple[float, ...] = ()
    if box:
        left, bottom, right, top = box
        if right <= left or top <= bottom:
            raise UsageError("the box is empty", remedy="Drag its corners in the viewer around the subject.")
        corners = (*_fraction(left, top, size, "the box"), *_fraction(right, bottom, size, "the box"))
    if not corners and 1.0 not in flat[2::3]:
        raise UsageError(
            "nothing marks the subject", remedy="Set a point to subject and drag it there, or use the box."
        )
    return PromptInfo(frame, layer_name(name), tuple(flat), corners)


def _fraction(x: float, y: float, size: tuple[int, int], what: str) -> tuple[float, float]:
    width, height = size
    if not (0 <= x <= width and 0 <= y <= height):
        raise UsageError(
            f"{what} at {x:.0f}, {y:.0f} lies outside the {width}x{height} picture", remedy="Drag it inside."
        )
    return x / width, 1.0 - y / height
