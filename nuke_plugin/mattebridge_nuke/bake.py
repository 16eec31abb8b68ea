"""Bake to Read: the same picture from plain nodes, so that no gizmo is left behind. One undo step. Main thread."""

from __future__ import annotations

from typing import Any, Optional

from mattebridge.errors import UsageError

from . import host
from .node_settings import MADE

RGB = {f"{end}{i}": f"rgba.{name}" for i, name in enumerate(("red", "green", "blue")) for end in ("from", "to")}
STEP = 60


def bake(node: host.Node) -> host.Node:
    """Replace ``node``; gives the last of the nodes that stand in for it. Raises `UsageError` without a matte."""
    if not host.get(node, "has_matte"):
        raise UsageError("there is no matte to bake", remedy="Matte the range first.")
    source = str(host.get(node, "rgb_from"))
    if source in ("compare versions", MADE):
        raise UsageError(f"RGB shows {source}", remedy="Set RGB on the Output tab to what the comp needs, then bake.")
    name = host.full_name(node)
    with host.undo_step(f"bake {name}"):
        last = _Chain(node).build(source)
        host.rewire(node, last)
        host.delete(node)
    return last


class _Chain:
    """The nodes in the order in which the gizmo applies them."""

    def __init__(self, node: host.Node) -> None:
        self.node = node
        self.matte = self._read("alpha_path", 1)
        self.rows = 0

    def build(self, source: str) -> host.Node:
        rgb = self._rgb(source)
        if host.get(self.node, "premultiply"):
            rgb = self._add("Merge2", [rgb, self.matte], {"operation": "mask", "output": "rgb"})
        last = self._copy_alpha(rgb, str(host.get(self.node, "alpha_to")))
        if host.get(self.node, "named_layers"):
            layers = self._add("Remove", [self.matte], {"channels": "rgba"})
            last = self._add("Copy", [last, layers], {"channels": "all", **_no_channels()})
        return last

    def _rgb(self, source: str) -> Optional[host.Node]:
        plate = self.node.input(0)
        if source == "straight foreground":
            return self._add("Copy", [plate, self._read("fgr_path", 2)], RGB)
        if source == "clean plate":
            return self._add("Copy", [plate, self._read("cleanplate_path", 2)], RGB)
        if source != "over background":
            return plate
        subject = plate
        if host.get(self.node, "has_fgr"):
            subject = self._add("Copy", [plate, self._read("fgr_path", 2)], RGB)
        premultiplied = self._add("Merge2", [subject, self.matte], {"operation": "mask", "output": "rgb"})
        front = self._copy_alpha(premultiplied, "rgba.alpha")
        return self._add("Merge2", [self.node.input(4), front], {"operation": "over"})

    def _copy_alpha(self, base: Optional[host.Node], channel: str) -> host.Node:
        return self._add("Copy", [base, self.matte], {**_no_channels(), "from0": "rgba.alpha", "to0": channel})

    def _read(self, knob: str, column: int) -> host.Node:
        """Frames outside the range are black: an error is not to be had there, and a held matte would pass unseen."""
        first, last = int(host.get(self.node, "result_first")), int(host.get(self.node, "result_last"))
        values: dict[str, Any] = {"file": host.pattern(self.node, knob), "first": first, "last": last}
        values.update(origfirst=first, origlast=last, before="black", after="black", on_error="error", raw=True)
        read = host.create("Read", [], values, beside=self.node)
        host.place(read, self.node, 110 * column, -2 * STEP)
        return read

    def _add(self, cls: str, inputs: list[Optional[host.Node]], values: dict[str, Any]) -> host.Node:
        made = host.create(cls, inputs, values, beside=self.node)
        host.place(made, self.node, 0, STEP * self.rows)
        self.rows += 1
        return made


def _no_channels() -> dict[str, Any]:
    return {f"{end}{i}": "none" for i in range(4) for end in ("from", "to")}
