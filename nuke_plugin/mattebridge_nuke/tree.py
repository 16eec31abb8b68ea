"""What a node's picture is made of: the nodes above it, into the groups on the way and out of the group around it.

Followed are the inputs that decide the picture: of a Switch the chosen one, of a disabled node the first, unless a key
or an expression decides. Main thread only; callers reach these through `host`, the one door.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, cast

from .node_access import get, has, is_animated

if TYPE_CHECKING:
    from nuke import Group, Node

NODE_CLASS = "MatteBridge"
PICTURES = (0, 4)
"""Inputs of a MatteBridge node that its picture shows: plate and background."""

_RETIMES = re.compile(r"time|kronos|oflow|twixtor|framehold|frameblend|appendclip", re.IGNORECASE)
"""Classes that ask for other frames than the one they are asked for (names partly unsourced)."""

# fmt: off
FRAME_LOCAL = frozenset({
    "Add", "AddChannels", "AdjBBox", "BlackOutside", "Blur", "ChannelMerge", "CheckerBoard2",
    "Clamp", "ColorCorrect", "ColorLookup", "Colorspace", "Constant", "Copy", "CopyBBox",
    "CornerPin2D", "Crop", "Defocus", "Difference", "Dilate", "Dissolve", "Dot", "EdgeBlur",
    "Erode", "EXPTool", "Expression", "FilterErode", "Gamma", "Grade", "HueCorrect", "HueKeyer",
    "HueShift", "IDistort", "Input", "Invert", "JoinViews", "Keyer", "Keymix", "Log2Lin", "Median",
    "Merge", "Merge2", "MergeExpression", "Mirror2", "Multiply", "NoOp", "OCIOCDLTransform",
    "OCIOColorSpace", "OCIOFileTransform", "OneView", "Output", "Position", "Premult", "Radial",
    "Ramp", "Read", "Rectangle", "Reformat", "Remove", "Roto", "STMap", "Saturation", "Sharpen",
    "Shuffle", "Shuffle2", "ShuffleViews", "Soften", "Switch", "Transform", "TransformMasked",
    "Unpremult",
})
# fmt: on
"""Classes known to look at their inputs at the frame they are asked for and at no other."""


@dataclass(frozen=True)
class Above:
    """A node, and whether something below it asks it for other frames than the one that is rendered."""

    node: Node
    retimed: bool


def above(node: Node) -> list[Above]:
    """``node`` and all above it, into groups but not into MatteBridge nodes; once for each way of being asked."""
    seen: dict[tuple[str, bool], Above] = {}
    waiting = [Above(node, False)]
    while waiting:
        here = waiting.pop()
        key = (str(here.node.fullName()), here.retimed)
        if key in seen:
            continue
        seen[key] = here
        retimed = here.retimed or (_RETIMES.search(here.node.Class()) is not None and not _is_off(here.node))
        waiting += [Above(source, retimed) for source in _feeding(here.node) if source is not None]
    return list(seen.values())


def is_frame_local(nodes: Iterable[Node]) -> bool:
    """Whether all of them are known to look at one frame at a time; a group is what is in it."""
    return all(node.Class() in FRAME_LOCAL or _is_group(node) for node in nodes)


def _feeding(node: Node) -> list[Optional[Node]]:
    """What is looked at next. The way out of a group is the group's own input of the Input's number."""
    kind = node.Class()
    if kind == "Input":
        group = node.parent()
        return [group.input(int(get(node, "number")))] if group is not None else []
    inputs = [node.input(index) for index in range(node.inputs())]
    if _is_off(node):
        return inputs[:1]
    if kind == NODE_CLASS:
        return [inputs[index] for index in PICTURES if index < len(inputs)]
    if kind == "Switch" and has(node, "which") and not is_animated(node, "which"):
        chosen = max(0, min(int(get(node, "which")), len(inputs) - 1))
        return inputs[chosen : chosen + 1]
    ends = [inner for inner in cast("Group", node).nodes() if inner.Class() == "Output"] if _is_group(node) else []
    return [*ends] if ends else inputs


def _is_group(node: Node) -> bool:
    return hasattr(node, "nodes")


def _is_off(node: Node) -> bool:
    return has(node, "disable") and not is_animated(node, "disable") and bool(get(node, "disable"))
