"""A stateful stand-in for Nuke: as large as the calls that the plug-in makes, and no larger.

    with FakeNuke(gui=True, plugin_folders=[gizmos]) as fake:
        import nuke
        node = nuke.nodes.MatteBridge()
        fake.press(node, "matte_range")
        fake.session.run_until(lambda: ...)

What it imitates, and from where, is in the facts that the node's checklist (docs/nuke-checklist.md) lists; a real Nuke
has the last word. It refuses what `types-nuke` does not declare.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from .node import Node
from .picture import Picture, read_exr, write_exr
from .session import Session

PLUGIN = "mattebridge_nuke"

__all__ = ["FakeNuke", "Node", "Picture", "Session", "read_exr", "write_exr"]


class FakeNuke:
    """Puts a `nuke` module in place for the length of a `with` block."""

    def __init__(self, gui: bool = True, plugin_folders: Sequence[Path] = ()) -> None:
        self.session = Session(gui, plugin_folders)
        self._before: Optional[Any] = None

    def __enter__(self) -> FakeNuke:
        from .module import build

        self._before = sys.modules.get("nuke")
        self.module = build(self.session)
        sys.modules["nuke"] = self.module
        _forget_plugin()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._before is None:
            sys.modules.pop("nuke", None)
        else:
            sys.modules["nuke"] = self._before
        _forget_plugin()

    def press(self, node: Node, button: str) -> None:
        """The artist presses a button of the node's panel."""
        knob = node._knobs[button]
        self.session.run_button(node, knob)


def _forget_plugin() -> None:
    """Each Nuke starts with the plug-in not yet imported; modules that never meet `nuke` may stay."""
    prefix = f"{PLUGIN}."
    loaded = {name: module for name, module in sys.modules.items() if name.startswith(prefix)}
    bound = {f"{prefix}host"}
    grown = True
    while grown:
        found = {name for name, module in loaded.items() if _meets(module, bound)}
        grown = not found <= bound
        bound |= found
    for name in bound & set(loaded):
        del sys.modules[name]
        if PLUGIN in sys.modules and hasattr(sys.modules[PLUGIN], name.removeprefix(prefix)):
            delattr(sys.modules[PLUGIN], name.removeprefix(prefix))


def _meets(module: Any, bound: set[str]) -> bool:
    """Whether ``module`` holds one of the modules in ``bound``, or something that was defined there."""
    return any(
        getattr(item, "__name__", "") in bound or getattr(item, "__module__", "") in bound
        for item in vars(module).values()
    )
