"""A render whose matte is not there fails, with one line that says why. Called by Nuke for every Write and every frame.

The node's own graph refuses as well, without this package; here the line names node, frame and file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from . import host, versions


class MatteMissing(Exception):
    """A frame is about to be rendered without its matte. The name has no "Error:" in it: the one line is printed."""


_above: list[host.Above] = []
_said: set[str] = set()
_alone: list[bool] = []


def before_render() -> None:
    """Remember which MatteBridge nodes the Write about to run depends on."""
    _above[:] = host.bridge_nodes_above(host.this_node())


def before_frame() -> None:
    """Raises `MatteMissing` when a matte of this frame is not on disk; prints one ERROR: line per node and process.

    A node whose picture is retimed is asked for frames that only Nuke knows: there the node's own graph refuses.
    """
    for found in _above:
        node = found.node
        if _alone or host.full_name(node) == host.full_name(host.this_node()):
            continue
        reason = lacks(found, host.current_frame())
        if reason is None:
            continue
        name = host.full_name(node)
        if name not in _said:
            _said.add(name)
            host.complain(f"ERROR: {name}: {reason}")
        raise MatteMissing(f"{name}: {reason}")


@contextmanager
def nodes_alone() -> Iterator[None]:
    """Renders within go without our look at the files, as on a machine that has the gizmo and not this package."""
    _alone.append(True)
    try:
        yield
    finally:
        _alone.pop()


def has_complained(node: host.Node) -> bool:
    """Whether the ERROR: line of this node was printed in this process."""
    return host.full_name(node) in _said


def complained() -> bool:
    """Whether the ERROR: line of any node was printed in this process."""
    return bool(_said)


def lacks(found: host.Above, frame: int) -> Optional[str]:
    """Why the matte of a node above cannot be rendered at the current ``frame``, or None."""
    return never_matted(found.node) if found.retimed else missing_reason(found.node, frame)


def never_matted(node: host.Node) -> Optional[str]:
    """Why no frame at all has a matte, or None."""
    if host.get(node, "has_matte"):
        return None
    return "no matte was made; open the script and press Matte range"


def missing_reason(node: host.Node, frame: int) -> Optional[str]:
    """Why ``frame`` has no matte, or None. Two knobs and two looks at the disk: cheap enough for every frame."""
    reason = never_matted(node)
    if reason is not None:
        return reason
    first, last = int(host.get(node, "result_first")), int(host.get(node, "result_last"))
    if not first <= frame <= last:
        return f"frame {frame} is outside the matted range {first}-{last}"
    path = host.path(node, "alpha_path")
    version = versions.load(path.rpartition("/")[0], 0)
    if version.unsure:
        return f"the matte of frame {frame} is not sure yet, a job in {version.folder} runs or was cut off: {path}"
    if not Path(path).exists():
        return f"the matte of frame {frame} is missing: {path}"
    return None
