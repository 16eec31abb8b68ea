"""What each node class does to a picture, and the knobs it has: only the classes that the node and its tests use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .picture import Picture, ReadFailed, Window, decoded, read_exr

if TYPE_CHECKING:
    from .node import Node

RGB = ("rgba.red", "rgba.green", "rgba.blue")
SPACES = "linear sRGB rec709 default ACES-ACEScg scene_linear"
EDGE = "hold loop bounce black"

# class -> {knob: (user knob id, value or items)}; ids as in addUserKnob
KNOBS: dict[str, dict[str, tuple[int, str]]] = {
    "*": {
        "name": (1, ""),
        "label": (1, ""),
        "disable": (6, "false"),
        "tile_color": (3, "0"),
        "hide_input": (6, "false"),
    },
    "Read": {
        "file": (2, ""),
        "proxy": (2, ""),
        "first": (3, "1"),
        "last": (3, "1"),
        "origfirst": (3, "1"),
        "origlast": (3, "1"),
        "before": (4, EDGE),
        "after": (4, EDGE),
        "frame_mode": (4, "expression {start at} offset"),
        "frame": (1, ""),
        "on_error": (4, "error black checkerboard {nearest frame}"),
        "colorspace": (4, SPACES),
        "raw": (6, "false"),
        "premultiplied": (6, "false"),
        "localizationPolicy": (4, "{from auto-localize path} on off"),
        "reload": (22, ""),
    },
    "Write": {
        "file": (2, ""),
        "proxy": (2, ""),
        "channels": (1, "rgb"),
        "file_type": (4, "{} exr"),
        "datatype": (4, "{16 bit half} {32 bit float}"),
        "compression": (4, "none {Zip (1 scanline)} {Zip (16 scanlines)}"),
        "autocrop": (6, "false"),
        "raw": (6, "false"),
        "colorspace": (4, SPACES),
        "create_directories": (6, "false"),
        "metadata": (4, "{no metadata} {default metadata} {all metadata}"),
        "views": (1, ""),
        "reading": (6, "false"),
        "use_limit": (6, "false"),
        "first": (3, "1"),
        "last": (3, "1"),
    },
    "Switch": {"which": (7, "0")},
    "Grade": {"multiply": (7, "1")},
    "Constant": {"color": (7, "0"), "channels": (1, "rgba")},
    "TimeOffset": {"time_offset": (7, "0")},
    "Remove": {"operation": (4, "remove keep"), "channels": (1, "all")},
    "Copy": {
        **{f"from{i}": (1, "none") for i in range(4)},
        **{f"to{i}": (1, "none") for i in range(4)},
        "channels": (1, "none"),
    },
    "Merge2": {"operation": (4, "over mask copy"), "output": (1, "rgba"), "bbox": (4, "union A B intersection")},
    "Input": {"number": (3, "0")},
}

INPUTS = {"Read": 0, "Constant": 0, "Copy": 2, "Merge2": 2, "Switch": 12, "Input": 0}
GROUPS = {"Group"}
PLAIN = {"Dot", "NoOp", "Output"}


def known(cls: str) -> bool:
    """Whether the fake has this class (gizmos come from their files)."""
    return cls in KNOBS or cls in PLAIN or cls in GROUPS


def compute(node: Node) -> Picture:
    """The node's picture at the session's current frame and view. Raises `ReadFailed` as a render would."""
    from .node import Group

    node._session.visits.append(node._class)
    if isinstance(node, Group):
        output = node._output()
        if output is None:
            raise ReadFailed(f"{node._name}: no Output")
        if node._disabled() and node._inputs and node._inputs[0] is not None:
            return node._inputs[0]._picture()
        return output._picture()
    if node._disabled():
        return _above(node, 0)
    operation = OPERATIONS.get(node._class)
    return operation(node) if operation else _above(node, 0)


def _above(node: Node, index: int) -> Picture:
    source = node._inputs[index] if index < len(node._inputs) else None
    if source is None:
        return _black(node)
    return source._picture()


def _black(node: Node) -> Picture:
    form = node._session.root_format
    window: Window = (0, 0, form.width(), form.height())
    return Picture({}, window, window, form.pixelAspect())


def _input(node: Node) -> Picture:
    group, number = node._parent, int(node._value("number"))
    assert group is not None
    source = group._inputs[number] if number < len(group._inputs) else None
    return source._picture() if source is not None else _black(node)


def _read(node: Node) -> Picture:
    session = node._session
    knob = node._knobs["file"]
    with session.in_context(frame=_mapped_frame(node)):
        path = session.in_project(session.filename_filter(knob.getEvaluatedValue()))  # type: ignore[attr-defined]
    local = session.localised(path)
    try:
        picture = read_exr(Path(local or path))
    except ReadFailed:
        if node._value("on_error") == "error":
            raise
        return _substitute(node)
    if session.root._value("proxy"):
        picture = picture.half_size()
    return picture if node._value("raw") else decoded(picture, node._value("colorspace"))


def _mapped_frame(node: Node) -> int:
    frame, mode, text = node._session.context.frame, node._value("frame_mode"), node._value("frame").strip()
    if text and mode == "offset":
        frame += int(text)
    elif text and mode == "start at":
        frame += int(node._value("first")) - int(text)
    elif text:
        frame = int(node._expression(text))
    first, last = int(node._value("first")), int(node._value("last"))
    return min(max(frame, first), last)


def _substitute(node: Node) -> Picture:
    """Black in place of a missing frame; "nearest frame" is the nearest one before it that exists."""
    if node._value("on_error") == "nearest frame":
        for frame in range(node._session.context.frame - 1, int(node._value("first")) - 1, -1):
            with node._session.in_context(frame=frame):
                path = Path(node._knobs["file"].getEvaluatedValue())  # type: ignore[attr-defined]
                if path.exists():
                    return read_exr(path)
    return _black(node)


def _grade(node: Node) -> Picture:
    picture, gain = _above(node, 0), node._value("multiply")
    return picture.with_planes({name: (picture.plane(name) * gain).astype(np.float32) for name in picture.planes})


def _constant(node: Node) -> Picture:
    black = _black(node)
    value = np.full_like(black.zeros(), node._value("color"))
    return black.with_planes(dict.fromkeys((*RGB, "rgba.alpha"), value))


def _time_offset(node: Node) -> Picture:
    with node._session.in_context(frame=node._session.context.frame - int(node._value("time_offset"))):
        return _above(node, 0)


def _remove(node: Node) -> Picture:
    picture, names = _above(node, 0), node._value("channels").split()
    listed = {name for name in picture.planes if name.partition(".")[0] in names or "all" in names or name in names}
    keep = listed if node._value("operation") == "keep" else set(picture.planes) - listed
    return replace(picture, planes={name: picture.planes[name] for name in picture.planes if name in keep})


def _copy(node: Node) -> Picture:
    base, other = _pair(node)
    moved = {}
    if node._value("channels") == "all":
        moved.update(other.planes)
    for i in range(4):
        source, target = node._value(f"from{i}"), node._value(f"to{i}")
        if source != "none" and target != "none":
            moved[target] = other.plane(source)
    return base.with_planes(moved)


def _merge(node: Node) -> Picture:
    base, other = _pair(node)
    alpha = other.plane("rgba.alpha")
    names = RGB if node._value("output") == "rgb" else (*RGB, "rgba.alpha")
    formulas: dict[str, Callable[[str], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = {
        "mask": lambda name: base.plane(name) * alpha,
        "over": lambda name: other.plane(name) + base.plane(name) * (1 - alpha),
        "copy": lambda name: other.plane(name),
    }
    return base.with_planes({name: formulas[node._value("operation")](name) for name in names})


def _pair(node: Node) -> tuple[Picture, Picture]:
    """B, then A brought to B's data window (input 0 of Merge and Copy is B)."""
    base, other = _above(node, 0), _above(node, 1)
    return (
        (base, other.on_window(base.data)) if base.planes or not other.planes else (base.on_window(other.data), other)
    )


def _switch(node: Node) -> Picture:
    return _above(node, int(node._value("which")))


OPERATIONS: dict[str, Callable[[Node], Picture]] = {
    "Read": _read,
    "Grade": _grade,
    "Constant": _constant,
    "TimeOffset": _time_offset,
    "Remove": _remove,
    "Copy": _copy,
    "Merge2": _merge,
    "Switch": _switch,
    "Input": _input,
}
