"""The one door to Nuke: every call into `nuke` is here, typed, with Nuke's rules kept at one place.

Rules (sources in docs/nuke-checklist.md): nodes and knobs are touched in the main thread only; `executeInMainThread`
from the main thread hangs and needs an event loop, so in a terminal everything runs in line; an exception in a call
that was sent to the main thread is printed and lost unless it is carried back; status changes never enter the undo
list; a temporary Write is removed whatever happens; proxy mode is put back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any, Callable, Optional, TypeVar, cast

import nuke

from .node_access import NodeGone as NodeGone
from .node_access import alive as alive
from .node_access import frame_range_of as frame_range_of
from .node_access import full_name as full_name
from .node_access import get as get
from .node_access import has as has
from .node_access import is_animated as is_animated
from .node_access import knob_name as knob_name
from .node_access import knob_names as knob_names
from .node_access import knob_of as knob_of
from .node_access import menu_items as menu_items
from .node_access import op_digest as op_digest
from .node_access import path as path
from .node_access import pattern as pattern
from .node_access import place as place
from .node_access import put as put
from .node_access import reload as reload
from .node_access import show_knob as show_knob
from .node_access import upstream as upstream
from .progress_bar import ProgressBar
from .render_spec import WRITE_KNOBS, RenderSpec
from .status_text import plain
from .tree import NODE_CLASS as NODE_CLASS
from .tree import Above as Above
from .tree import above as above
from .tree import is_frame_local as is_frame_local

T = TypeVar("T")
Node = nuke.Node
SPOKEN = ("status", "working_space", "node_label")


# -- threads ---------------------------------------------------------------------------------------------------------


def gui() -> bool:
    """Whether this Nuke has an interface, and with it an event loop."""
    return bool(nuke.GUI)


def on_main(call: Callable[[], T]) -> T:
    """Run ``call`` in the main thread and return its value; what it raises is raised here."""
    if not gui() or threading.current_thread() is threading.main_thread():
        return call()
    done = threading.Event()
    box: list[Any] = []

    def carry() -> None:
        try:
            box.extend((True, call()))
        except BaseException as reason:
            box.extend((False, reason))
        finally:
            done.set()

    post(carry)
    done.wait()
    if not box[0]:
        raise box[1]
    return cast(T, box[1])


def post(call: Callable[[], None]) -> None:
    """Queue ``call`` for the main thread and go on; in a terminal it runs at once."""
    if not gui() or threading.current_thread() is threading.main_thread():
        call()
    else:
        nuke.executeInMainThread(call)


# -- knobs -----------------------------------------------------------------------------------------------------------


def put_quiet(node: Node, values: Mapping[str, Any]) -> None:
    """Set knobs without a trace in the undo list; a node that is gone is left alone."""
    spoken = {name: plain(str(value)) for name, value in values.items() if name in SPOKEN}
    with quiet(), suppress(NodeGone):
        put(node, {**values, **spoken})


_filling: list[bool] = []


def set_menu(node: Node, name: str, items: Sequence[str], chosen: str) -> None:
    """Fill an enumeration and choose; ``chosen`` is added where the items lack it."""
    known = list(items) + ([chosen] if chosen and chosen not in items else [])
    with filling(), quiet():
        knob = knob_of(node, name)
        knob.setValues(known)
        if chosen:
            knob.setValue(chosen)


@contextmanager
def filling() -> Iterator[None]:
    """Within, knobs that belong together change one after the other, and callbacks have nothing to add."""
    _filling.append(True)
    try:
        yield
    finally:
        _filling.pop()


def is_filling() -> bool:
    """Whether knobs are being filled: in between they may say what nobody chose."""
    return bool(_filling)


# -- nodes -----------------------------------------------------------------------------------------------------------


def bridge_nodes() -> list[Node]:
    """Every MatteBridge node of the script, inside groups too."""
    found: list[Node] = nuke.allNodes(NODE_CLASS, group=nuke.root(), recurseGroups=True)
    return found


def bridge_nodes_above(node: Node) -> list[Above]:
    """The enabled MatteBridge nodes that ``node``'s picture depends on."""
    return [found for found in above(node) if found.node.Class() == NODE_CLASS and not get(found.node, "disable")]


def this_node() -> Node:
    return nuke.thisNode()


def create(cls: str, inputs: Sequence[Optional[Node]], values: Mapping[str, Any], beside: Node) -> Node:
    """A plain node at the level of ``beside``, not selected, no panel."""
    with beside.parent():
        made = cast(Node, getattr(nuke.nodes, cls)(**values))
    for index, source in enumerate(inputs):
        made.setInput(index, source)
    return made


def create_at_root(cls: str, values: Mapping[str, Any]) -> Node:
    with nuke.root():
        return cast(Node, getattr(nuke.nodes, cls)(**values))


def nodes_of_class(cls: str) -> list[Node]:
    """At root level, where a farm looks for Writes."""
    return list(nuke.allNodes(cls))


def named(name: str) -> Optional[Node]:
    """The node of that full name."""
    return nuke.toNode(name)


def delete(node: Node) -> None:
    if alive(node):
        nuke.delete(node)


def rewire(old: Node, new: Optional[Node]) -> None:
    """Whatever reads ``old`` reads ``new``."""
    for reader in old.dependent(nuke.INPUTS):
        for index in range(reader.inputs()):
            if reader.input(index) == old:
                reader.setInput(index, new)


# -- the script --------------------------------------------------------------------------------------------------------


def root_value(name: str) -> Any:
    """A knob of the project settings; "" where this Nuke has none of that name."""
    root = nuke.root()
    knob = cast(Any, root.knob(name))
    if knob is None:
        return ""
    return knob.getEvaluatedValue() if hasattr(knob, "getEvaluatedValue") else knob.value()


def script_path() -> str:
    """Of the saved script, absolute; empty when it was never saved."""
    name = str(root_value("name") or "")
    return "" if name in ("", "Root", "Untitled") else absolute(name)


def unsaved_changes() -> bool:
    return bool(nuke.modified())


def absolute(path: str) -> str:
    """With forward slashes. A terminal may have opened a script by a relative path."""
    return Path(path).absolute().as_posix()


def open_script(path: str) -> None:
    nuke.scriptOpen(absolute(path))


def save_script(path: str) -> str:
    nuke.scriptSaveAs(path, 1)
    return path


def views() -> list[str]:
    return list(nuke.views())


def in_project(path: str) -> str:
    """A relative path as Nuke takes it: from the project directory, where the script has one."""
    project = str(root_value("project_directory") or "").replace("\\", "/").rstrip("/")
    if not path or not project or path[0] in "/[$" or PureWindowsPath(path).drive:
        return path
    return f"{project}/{path}"


def current_view() -> str:
    """The view that the artist looks at; the context's where there is no viewer."""
    viewer = cast(Any, nuke.activeViewer()) if gui() else None
    return str(viewer.view() if viewer is not None else nuke.thisView())


def current_frame() -> int:
    return int(nuke.frame())


def nuke_version() -> str:
    return str(nuke.NUKE_VERSION_STRING)


def format_of(node: Node) -> tuple[int, int]:
    """Width and height of the full-resolution format of a node's picture."""
    with full_resolution():
        form = node.format()
        return int(form.width()), int(form.height())


def filter_path(path: str) -> str:
    """After the studio's file name filters."""
    return str(cast(Any, nuke.filenameFilter)(path) or path)


@contextmanager
def at_frames() -> Iterator[Callable[[int], None]]:
    """Gives a call that goes to a frame; the artist's frame is put back. Full resolution meanwhile."""
    before = nuke.frame()
    with full_resolution(), quiet():
        try:
            yield lambda number: cast(None, nuke.frame(number))
        finally:
            nuke.frame(before)


@contextmanager
def full_resolution() -> Iterator[None]:
    """Proxy mode off, and back to what it was."""
    root = nuke.root()
    before = bool(root.proxy())
    with quiet():
        if before:
            root.setProxy(False)
        try:
            yield
        finally:
            if before:
                root.setProxy(True)


# -- rendering ---------------------------------------------------------------------------------------------------------


def render(source: Node, spec: RenderSpec, finished: Optional[Callable[[int], None]] = None) -> None:
    """Write ``source`` as scene-linear EXR with its data window; ``finished(frame)`` after each frame.

    What ``finished`` raises ends the render. Raises `RuntimeError` ("cancelled" by the artist, or what ended it).
    """

    def after() -> None:
        if finished is not None:
            finished(current_frame())

    with full_resolution(), quiet():
        write = create("Write", [source], {"file": spec.pattern, "channels": spec.channels}, beside=source)
        nuke.addAfterFrameRender(after, nodeClass="Write")
        try:
            for name, value in WRITE_KNOBS.items():
                if has(write, name):
                    put(write, {name: value})
            for first, last in spec.spans:
                nuke.execute(write, first, last, 1, views=list(spec.views))
        finally:
            nuke.removeAfterFrameRender(after, nodeClass="Write")
            nuke.delete(write)


def render_write(write: Node, first: int, last: int) -> None:
    """A Write of the script, as it stands there. Raises what Nuke or a callback raises."""
    with full_resolution():
        nuke.execute(write, first, last)


# -- the artist --------------------------------------------------------------------------------------------------------


def tell(text: str) -> None:
    """One dialog; nothing in a terminal, where the caller raises or prints."""
    if gui():
        on_main(lambda: nuke.message(text))


def choose(title: str, prompt: str, options: Sequence[str]) -> Optional[int]:
    """Index of what the artist chose, None when the dialog was closed."""
    index = cast(Any, nuke.choice)(title, prompt, list(options))
    return None if index is None else int(index)


@contextmanager
def undo_step(name: str) -> Iterator[None]:
    """Everything within is one named step of the Edit menu."""
    nuke.Undo.begin(name)
    try:
        yield
    finally:
        nuke.Undo.end()


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing within enters the undo list."""
    nuke.Undo.disable()
    try:
        yield
    finally:
        nuke.Undo.enable()


def progress_bar(title: str) -> ProgressBar:
    """From any thread."""
    return ProgressBar(title, nuke.ProgressTask(title) if gui() else None, complain)


def complain(line: str) -> None:
    """One line on the terminal; a farm that greps for ERROR: finds exactly this one."""
    nuke.tprint(line)


# -- parameters of a model ---------------------------------------------------------------------------------------------


def add_knob(node: Node, kind: str, name: str, label: str, tooltip: str, **options: Any) -> None:
    """Add a user knob. ``kind`` is a knob class's name; options: items, default, low, high."""
    cls = getattr(nuke, kind)
    knob = cls(name, label, options["items"]) if "items" in options else cls(name, label)
    if tooltip:
        knob.setTooltip(tooltip)
    if options.get("low") is not None and options.get("high") is not None:
        knob.setRange(options["low"], options["high"])
    knob.setFlag(nuke.STARTLINE)  # a check box would continue the line before it
    node.addKnob(knob)
    if "default" in options:
        knob.setValue(options["default"])
