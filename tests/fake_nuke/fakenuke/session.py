"""One running Nuke: the script, the main thread, what is executing, what was shown to the artist."""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from . import loader
from .guard import Guarded
from .knobs import File_Knob, Knob, String_Knob
from .node import Group, Node, Root
from .number_knobs import Boolean_Knob, Enumeration_Knob, Int_Knob
from .picture import Picture, ReadFailed, write_exr
from .undo import UndoList


@dataclass(frozen=True)
class Context:
    """At what frame and view knobs and pictures are evaluated."""

    frame: int = 1
    view: str = "main"

    def at(self, frame: Optional[int] = None, view: Optional[str] = None) -> Context:
        return replace(self, frame=self.frame if frame is None else frame, view=view or self.view)


class Format(Guarded):
    STUB = "Format"

    def __init__(self, width: int, height: int, pixel_aspect: float = 1.0) -> None:
        self._size = (width, height, pixel_aspect)

    def width(self) -> int:
        return self._size[0]

    def height(self) -> int:
        return self._size[1]

    def pixelAspect(self) -> float:
        return self._size[2]


class FrameRange(Guarded):
    STUB = "FrameRange"

    def __init__(self, first: int, last: int, increment: int = 1) -> None:
        self._range = (first, last, increment)

    def first(self) -> int:
        return self._range[0]

    def last(self) -> int:
        return self._range[1]


class Session:
    """Everything that a test may look at or prepare is public here; scripts see only `FakeNuke`'s module."""

    def __init__(self, gui: bool, plugin_folders: Sequence[Path]) -> None:
        self.gui = gui
        self.plugin_folders = list(plugin_folders)
        self.main_thread = threading.get_ident()
        self.context = Context()
        self.undo = UndoList()
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.messages: list[str] = []
        self.printed: list[str] = []
        self.menu_commands: dict[str, str] = {}
        self.choices: list[int] = []
        self.visits: list[str] = []
        self.executed: list[tuple[str, int, int]] = []
        self.files_written = 0
        self.tasks: list[Any] = []
        self.has_viewer = True
        self.executing = False
        self.modified = False
        self.defining = False
        self.cancel_next_execute = False
        self.script_errors: list[BaseException] = []
        self.local_copies: dict[str, str] = {}
        self.filters: list[Callable[[str], Optional[str]]] = []
        self.callbacks: dict[str, list[tuple[Callable[..., Any], tuple[Any, ...], str]]] = {}
        self.root_format = Format(64, 48)
        self.groups: list[Group] = []
        self.current: list[tuple[Node, Optional[Knob]]] = []
        self._notifying = 0
        self.root = self._new_root()

    def _new_root(self) -> Root:
        root = Root(self, "Root", "root", None)
        knobs: list[Knob] = [
            File_Knob("name"),
            File_Knob("project_directory"),
            Int_Knob("first_frame", value=1),
            Int_Knob("last_frame", value=100),
            Boolean_Knob("proxy"),
            Enumeration_Knob("colorManagement", items=["Nuke", "OCIO"]),
            Enumeration_Knob("OCIO_config", items=["nuke-default", "aces_1.2", "custom"]),
            File_Knob("customOCIOConfigPath"),
            File_Knob("OCIOConfigPath"),
            String_Knob("workingSpaceLUT", value="linear"),
            String_Knob("views", value="main"),
        ]
        for knob in knobs:
            knob._node = root
            root._knobs[knob._name] = knob
        return root

    # -- rules -----------------------------------------------------------------------------------------------------

    def check_thread(self, what: str) -> None:
        if threading.get_ident() != self.main_thread:
            raise RuntimeError(f"{what} was touched from another thread than the main one: Nuke crashes")

    def run_button(self, node: Node, knob: Knob) -> None:
        """Press a button: its Python runs with thisNode and thisKnob set."""
        if node._class == "Read":
            self.visits.append(f"reload {node.fullName()}")
            return
        self.run_script(node, knob._text, knob)  # type: ignore[attr-defined]

    def run_script(self, node: Node, text: str, knob: Optional[Knob] = None) -> None:
        self.current.append((node, knob))
        try:
            exec(compile(text, f"<{node._name}>", "exec"), {"nuke": sys.modules["nuke"], "__name__": "<nuke>"})
        finally:
            self.current.pop()

    def knob_changed(self, node: Node, knob: Knob) -> None:
        """Every change calls back, also one made by a script with the panel closed (Nuke 17.1)."""
        if self.defining:
            return
        self.modified = True
        if self._notifying > 20:
            raise RecursionError(f"knobChanged of {node._name} never settles: {knob._name}")
        self._notifying += 1
        was, self.executing = self.executing, True
        self.current.append((node, knob))
        try:
            own = node._knobs.get("knobChanged")
            if isinstance(own, String_Knob) and own._text:
                self.run_script(node, own._text, knob)
            self.notify("KnobChanged", node)
        finally:
            self.current.pop()
            self.executing = was
            self._notifying -= 1

    def notify(self, event: str, node: Node) -> None:
        for call, args, node_class in self.callbacks.get(event, []):
            if node_class in ("*", node._class):
                call(*args)

    # -- names and files -------------------------------------------------------------------------------------------

    def views(self) -> list[str]:
        return str(self.root._value("views")).split()

    def fill_path(self, text: str) -> str:
        """`%V`, `%v`, `%04d` and `####` for the current context."""
        filled = text.replace("%V", self.context.view).replace("%v", self.context.view[:1])
        filled = re.sub(r"%(\d*)d", lambda match: f"{self.context.frame:0{match.group(1) or 1}d}", filled)
        return re.sub(r"#+", lambda match: f"{self.context.frame:0{len(match.group())}d}", filled)

    def in_project(self, path: str) -> str:
        """A relative path is looked for in the project directory."""
        return (Path(self.root._knobs["project_directory"].getEvaluatedValue()) / path).as_posix()  # type: ignore[attr-defined]

    def filename_filter(self, path: str) -> str:
        for call in self.filters:
            path = call(path) or path
        return path

    def localised(self, path: str) -> str:
        """The local copy that Nuke would read instead of ``path``, or nothing."""
        return self.local_copies.get(path, "")

    @contextmanager
    def in_context(self, frame: Optional[int] = None, view: Optional[str] = None) -> Iterator[None]:
        before, self.context = self.context, self.context.at(frame, view)
        try:
            yield
        finally:
            self.context = before

    # -- rendering -------------------------------------------------------------------------------------------------

    def execute(self, node: Node, first: int, last: int, step: int = 1, views: Optional[list[str]] = None) -> None:
        if self.executing:
            raise RuntimeError("I'm already executing something else")
        self.executing = True
        self.executed.append((node._name, first, last))
        try:
            self.current.append((node, None))
            self._callback("BeforeRender", node)
            for frame in range(first, last + 1, step):
                for view in views or self.views()[:1]:
                    self._write(node, frame, view)
                with self.in_context(frame):
                    self._callback("AfterFrameRender", node)
        finally:
            self.current.pop()
            self.executing = False

    def _callback(self, event: str, node: Node) -> None:
        """What a callback raises is printed and ends the render; `execute` has an error of its own."""
        try:
            self.notify(event, node)
        except Exception as reason:
            self.script_errors.append(reason)
            raise RuntimeError(f"{node._name}: {reason}") from None

    def _write(self, node: Node, frame: int, view: str) -> None:
        if self.cancel_next_execute:
            self.cancel_next_execute = False
            raise RuntimeError("cancelled")
        with self.in_context(frame, view):
            self._callback("BeforeFrameRender", node)
            path = Path(node._knobs["proxy" if self.root._value("proxy") else "file"].getEvaluatedValue())  # type: ignore[attr-defined]
            if not path.name:
                raise RuntimeError(f"{node._name}: filename not specified")
            try:
                picture = node._picture()
            except ReadFailed as reason:
                raise RuntimeError(str(reason)) from None
            picture = replace(picture, attributes=self._header())
            listed = self.listed(picture, node._value("channels"))
            try:
                if node._value("create_directories"):
                    path.parent.mkdir(parents=True, exist_ok=True)
                write_exr(path, picture, listed, "16" in node._value("datatype"))
            except OSError as reason:
                raise RuntimeError(f"{node._name}: {reason}") from None

    def _header(self) -> dict[str, str]:
        """No two files have the same header: time, view and node hash go into it."""
        self.files_written += 1
        return {"DateTime": f"2026:01:01 00:00:00.{self.files_written:06d}", "view": self.context.view}

    @staticmethod
    def listed(picture: Picture, wanted: str) -> list[str]:
        """The channels that a Write's `channels` value names."""
        layers = {"rgb": ["rgba.red", "rgba.green", "rgba.blue"], "alpha": ["rgba.alpha"]}
        layers["rgba"] = layers["rgb"] + layers["alpha"]
        found: list[str] = []
        for word in wanted.split():
            found += layers.get(word, sorted(picture.planes) if word == "all" else [word])
        return found

    # -- the main loop ---------------------------------------------------------------------------------------------

    def pump(self) -> bool:
        """Run what other threads asked of the main thread; True when there was something."""
        ran = False
        while True:
            try:
                call = self.calls.get_nowait()
            except queue.Empty:
                return ran
            call()
            ran = True

    def run_until(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Nuke's event loop until ``done()``. Raises `TimeoutError`."""
        end = time.monotonic() + timeout_s
        while not done():
            try:
                self.calls.get(timeout=0.02)()
            except queue.Empty:
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {timeout_s} s; messages: {self.messages}") from None
        self.pump()

    @staticmethod
    def watch(done: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Wait as a busy main thread does: no event loop. Whether ``done()`` came true."""
        end = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end:
            time.sleep(0.01)
        return done()

    # -- making nodes ----------------------------------------------------------------------------------------------

    def create(self, cls: str, group: Optional[Group] = None) -> Node:
        return loader.create(self, cls, group or (self.groups[-1] if self.groups else self.root))

    def picture_of(self, node: Node, frame: int, view: str = "main") -> Picture:
        """What a Viewer would show of ``node``."""
        with self.in_context(frame, view):
            return node._picture()
