"""The module that `import nuke` finds: exactly the calls that the plug-in uses, checked against the stubs."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, Union

from . import knobs, loader, number_knobs, stubs
from .guard import Guarded
from .node import Group, Node
from .session import Session


class FakeModule(types.ModuleType):
    """Refuses unknown names with a message that tells a misspelling from a hole in the fake."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        where = "the fake" if name in stubs.load().names else "types-nuke"
        raise AttributeError(f"nuke.{name} is not in {where}")


def build(session: Session) -> FakeModule:
    """A `nuke` module bound to ``session``."""
    module = FakeModule("nuke")
    names: dict[str, Any] = {
        "GUI": session.gui,
        "INVISIBLE": knobs.INVISIBLE,
        "DO_NOT_WRITE": knobs.DO_NOT_WRITE,
        "STARTLINE": knobs.STARTLINE,
        "REPLACE": 2,
        "INPUTS": 1,
        "NUKE_VERSION_STRING": "15.1v3",
        "Node": Node,
        "Group": Group,
        "Knob": knobs.Knob,
        "root": lambda: session.root,
        "thisNode": lambda: session.current[-1][0],
        "thisKnob": lambda: session.current[-1][1],
        "views": session.views,
        "thisView": lambda: session.context.view,
        "nodes": _Nodes(session),
        "Undo": _undo(session),
        "ProgressTask": _progress_task(session),
    }
    names.update({cls.__name__: cls for cls in _knob_classes()})
    names.update(_calls(session))
    names.update(_callbacks(session))
    stubs.require_names(set(names) - {"nodes"})
    for name, value in names.items():
        setattr(module, name, value)
    return module


def _knob_classes() -> list[type[knobs.Knob]]:
    return [
        knobs.String_Knob,
        knobs.File_Knob,
        number_knobs.Int_Knob,
        number_knobs.Double_Knob,
        number_knobs.Boolean_Knob,
        number_knobs.Enumeration_Knob,
        knobs.Tab_Knob,
        knobs.Text_Knob,
        knobs.Channel_Knob,
        knobs.Link_Knob,
    ]


class _Nodes:
    """`nuke.nodes.Class(knob=value, inputs=[...])`: no selection, no panel."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, cls: str) -> Callable[..., Node]:
        def make(inputs: Optional[list[Optional[Node]]] = None, **values: Any) -> Node:
            self._session.check_thread(f"nuke.nodes.{cls}")
            node = self._session.create(cls)
            for index, source in enumerate(inputs or []):
                node.setInput(index, source)
            for name, value in values.items():
                if name == "name":
                    node._name = value
                else:
                    node[name].setValue(value)  # type: ignore[attr-defined]
            loader.created(self._session, node)
            return node

        return make


def _undo(session: Session) -> type:
    class Undo(Guarded):
        STUB = "Undo"
        begin = staticmethod(lambda name="": session.undo.begin(name))
        end = staticmethod(session.undo.end)
        name = staticmethod(session.undo.name)
        cancel = staticmethod(session.undo.cancel)
        disable = staticmethod(session.undo.disable)
        enable = staticmethod(session.undo.enable)
        disabled = staticmethod(lambda: bool(session.undo.off))

    return Undo


def _progress_task(session: Session) -> type:
    class ProgressTask(Guarded):
        """Works from any thread; in a terminal there is none to show."""

        STUB = "ProgressTask"

        def __init__(self, name: str) -> None:
            if not session.gui:
                raise RuntimeError("the fake refuses ProgressTask without a GUI")
            self._name = name
            self._log: list[Union[int, str]] = []
            self._cancelled = False
            session.tasks.append(self)

        def isCancelled(self) -> bool:
            return self._cancelled

        def setMessage(self, text: str) -> None:
            self._log.append(text)

        def setProgress(self, value: int) -> None:
            if not isinstance(value, int) or not 0 <= value <= 100:
                raise TypeError("setProgress takes an int from 0 to 100")
            self._log.append(value)

    return ProgressTask


def _calls(session: Session) -> dict[str, Callable[..., Any]]:
    def main_only(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            session.check_thread(f"nuke.{call.__name__}")
            return call(*args, **kwargs)

        return checked

    def gui_only(call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not session.gui:
                raise RuntimeError("not in GUI mode")
            return main_only(call)(*args, **kwargs)

        return checked

    def to_node(s: str) -> Optional[Node]:
        return session.root if s == "root" else session.root.node(s.removeprefix("root."))

    def all_nodes(filter: str = "", group: Optional[Group] = None, recurseGroups: bool = False) -> list[Node]:
        scope = group or session.root
        found = list(scope._walk()) if recurseGroups else list(scope._children)
        return [node for node in found if filter in ("", node._class)]

    def delete(node: Optional[Node]) -> None:
        if node is None:
            return
        node._check()
        parent, others = node._parent, node.dependent()
        wires = [(other, list(other._inputs)) for other in others]
        for other in others:
            other._inputs = [None if above is node else above for above in other._inputs]
        loader._remove(node)

        def restore() -> None:
            node._alive = True
            assert parent is not None
            parent._children.append(node)
            for other, inputs in wires:
                other._inputs = inputs

        session.undo.record(f"delete {node._name}", restore)

    def execute(nameOrNode: Union[Node, str], start: int, end: int, incr: int = 1, **options: Any) -> None:
        node = to_node(nameOrNode) if isinstance(nameOrNode, str) else nameOrNode
        assert node is not None
        session.execute(node, start, end, incr, options.get("views"))

    def frame(f: Optional[int] = None) -> int:
        if f is not None:
            session.context = session.context.at(frame=f)
        return session.context.frame

    def in_main(call: Callable[..., Any], args: Any = (), kwargs: Optional[dict[str, Any]] = None) -> None:
        _require_worker(session)
        arguments = args if isinstance(args, tuple) else (args,)
        session.calls.put(lambda: _printed(session, call, arguments, kwargs or {}))

    def script_save_as(filename: str, overwrite: int = 0) -> None:
        session.root._knobs["name"].setValue(filename)  # type: ignore[attr-defined]
        Path(filename).write_text(loader.script_text(session), "utf-8")
        session.modified = False

    def script_open(filename: str) -> None:
        for node in list(session.root._walk()):
            node._alive = False
        session.root._children.clear()
        loader.load_script(session, Path(filename).read_text("utf-8"))
        session.root._knobs["name"].setValue(filename)  # type: ignore[attr-defined]
        session.modified = False

    def create_node(typ: str) -> Node:
        node = session.create(typ)
        loader.created(session, node)
        return node

    def choice(title: str, prompt: str, options: list[str], default: int = 0) -> int:
        session.messages.append(f"{title}: {prompt} {options}")
        return session.choices.pop(0)

    return {
        "toNode": main_only(to_node),
        "allNodes": main_only(all_nodes),
        "delete": main_only(delete),
        "execute": main_only(execute),
        "frame": main_only(frame),
        "filename": main_only(lambda node, i=0: _filename(session, node)),
        "filenameFilter": session.filename_filter,
        "executeInMainThread": in_main,
        "scriptSaveAs": main_only(script_save_as),
        "scriptOpen": main_only(script_open),
        "message": gui_only(session.messages.append),
        "choice": gui_only(choice),
        "menu": gui_only(lambda name: _Menu(session, name)),
        "createNode": gui_only(create_node),
        "activeViewer": gui_only(lambda: _Viewer(session) if session.has_viewer else None),
        "modified": main_only(lambda: session.modified),
        "tprint": lambda *words: session.printed.append(" ".join(map(str, words))),
        "pluginAddPath": lambda args, addToSysPath=True: _add_path(session, args),
    }


class _Menu(Guarded):
    """A menu that remembers its commands."""

    STUB = "Menu"

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name

    def addCommand(self, path: str, command: str = "", shortcut: str = "", icon: str = "") -> None:
        self._session.menu_commands[f"{self._name}/{path}"] = command


class _Viewer(Guarded):
    """The viewer that the artist looks at."""

    STUB = "ViewerWindow"

    def __init__(self, session: Session) -> None:
        self._session = session

    def view(self) -> str:
        return self._session.context.view


def _require_worker(session: Session) -> None:
    import threading

    if not session.gui:
        raise RuntimeError("Invalid function call in non-gui mode")
    if threading.get_ident() == session.main_thread:
        raise RuntimeError("executeInMainThread from the main thread: Nuke would hang")


def _printed(session: Session, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """As Nuke 14's helper: an exception is printed and lost."""
    try:
        call(*args, **kwargs)
    except Exception as reason:
        session.script_errors.append(reason)
        sys.stderr.write(f"{reason}\n")


def _filename(session: Session, node: Node) -> Optional[str]:
    """What the Read reads now: the local copy where there is one."""
    path = session.filename_filter(node._knobs["file"].getEvaluatedValue())  # type: ignore[attr-defined]
    return session.localised(path) or path


def _add_path(session: Session, paths: Union[str, list[str]]) -> None:
    for path in [paths] if isinstance(paths, str) else paths:
        session.plugin_folders.append(Path(path))


EVENTS = {"KnobChanged": "KnobChanged", "BeforeRender": "BeforeRender"}


def _callbacks(session: Session) -> dict[str, Callable[..., None]]:
    def adder(event: str) -> Callable[..., None]:
        def add(call: Callable[..., Any], args: Any = (), kwargs: Any = None, nodeClass: str = "*") -> None:
            session.callbacks.setdefault(event, []).append((call, args, nodeClass))

        return add

    def remove(call: Callable[..., Any], args: Any = (), kwargs: Any = None, nodeClass: str = "*") -> None:
        session.callbacks["AfterFrameRender"].remove((call, args, nodeClass))

    found = {f"add{name}": adder(event) for name, event in EVENTS.items()}
    found["addBeforeFrameRender"] = adder("BeforeFrameRender")
    found["addAfterFrameRender"] = adder("AfterFrameRender")
    found["removeAfterFrameRender"] = remove
    return found
