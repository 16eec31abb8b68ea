"""Knobs and wires of one node: everything that needs the node in hand and not `nuke` itself. Main thread only.

Callers reach these through `host`, the one door. A node that was deleted raises `NodeGone` instead of ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, cast

if TYPE_CHECKING:
    from nuke import Group, Knob, Node

PASS_THROUGH = ("Dot", "NoOp")


class NodeGone(Exception):
    """The node was deleted while something was still to be done with it."""


def knob_of(node: Node, name: str) -> Any:
    """Raises `KeyError` and `NodeGone`."""
    try:
        knob = node.knob(name)
    except ValueError as reason:
        raise NodeGone(str(reason)) from None
    if knob is None:
        raise KeyError(name)
    return knob


def has(node: Node, name: str) -> bool:
    return node.knob(name) is not None


def knob_names(node: Node) -> list[str]:
    return list(node.knobs())


def get(node: Node, name: str) -> Any:
    """The knob's value: text, number, bool, or a list of numbers. Raises `KeyError` and `NodeGone`."""
    return knob_of(node, name).value()


def path(node: Node, name: str) -> str:
    """A path with its expressions evaluated, forward slashes only.

    Of a file knob, or of a text knob: a folder is no file knob, because farm submitters take each of those for a file.
    """
    knob = knob_of(node, name)
    evaluate = getattr(knob, "getEvaluatedValue", None) or getattr(knob, "evaluate", None) or knob.value
    return str(evaluate() or "").replace("\\", "/")


def pattern(node: Node, name: str) -> str:
    """A file knob's own text, frame number and view unfilled."""
    return str(knob_of(node, name).value() or "").replace("\\", "/")


def is_animated(node: Node, name: str) -> bool:
    """Whether the knob holds keys or an expression."""
    knob = knob_of(node, name)
    return bool(knob.isAnimated() or knob.hasExpression())


def put(node: Node, values: Mapping[str, Any]) -> None:
    """Set knobs. Raises `NodeGone`."""
    for name, value in values.items():
        knob_of(node, name).setValue(value)


def reload(node: Node, reads: Sequence[str]) -> None:
    """Have inner Reads look at their files again."""
    for name in reads:
        inner = cast("Group", node).node(name)
        if inner is not None:
            knob_of(inner, "reload").execute()


def menu_items(node: Node, name: str) -> list[str]:
    return [str(item) for item in knob_of(node, name).values()]


def show_knob(node: Node, name: str, visible: bool, enabled: bool = True) -> None:
    knob = knob_of(node, name)
    knob.setVisible(visible)
    knob.setEnabled(enabled)


def knob_name(knob: object) -> str:
    return str(cast("Knob", knob).name()) if knob is not None else ""


def full_name(node: Node) -> str:
    """`Group1.MatteBridge1`. Raises `NodeGone`."""
    try:
        return str(node.fullName())
    except ValueError as reason:
        raise NodeGone(str(reason)) from None


def alive(node: Node) -> bool:
    try:
        return bool(node.name())
    except ValueError:
        return False


def upstream(node: Node, index: int) -> Optional[Node]:
    """What is plugged in, looking through dots. Raises `NodeGone`."""
    try:
        found = node.input(index)
    except ValueError as reason:
        raise NodeGone(str(reason)) from None
    while found is not None and found.Class() in PASS_THROUGH:
        found = found.input(0)
    return found


def place(node: Node, beside: Node, dx: int, dy: int) -> None:
    node.setXYpos(beside.xpos() + dx, beside.ypos() + dy)


def frame_range_of(node: Node) -> tuple[int, int]:
    found = node.frameRange()
    return int(found.first()), int(found.last())


def op_digest(node: Node) -> str:
    """Changes when anything above ``node`` changes its picture at the current frame."""
    node.forceValidate()
    return ".".join(f"{number & 0xFFFFFFFFFFFFFFFF:016x}" for number in node.opHashes())
