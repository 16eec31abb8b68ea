"""Nodes, groups and gizmos: knobs, wires, names, life and death."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from . import expressions, tcl
from .guard import Guarded
from .knobs import Knob, Link_Knob
from .number_knobs import Enumeration_Knob

if TYPE_CHECKING:
    from .picture import Picture
    from .session import Session


class Node(Guarded):
    """One node. Attributes with an underscore belong to the fake; a script under test never touches them."""

    STUB = "Node"

    def __init__(self, session: Session, cls: str, name: str, parent: Optional[Group]) -> None:
        self._session = session
        self._class = cls
        self._name = name
        self._parent = parent
        self._alive = True
        self._knobs: dict[str, Knob] = {}
        self._inputs: list[Optional[Node]] = []
        self._max_inputs = 1
        self._xy = (0, 0)

    def _check(self) -> None:
        self._session.check_thread(f"node {self._name}")
        if not self._alive:
            raise ValueError("A PythonObject is not attached to a node")

    # -- what scripts call ---------------------------------------------------------------------------------------

    def Class(self) -> str:
        return self._class

    def name(self) -> str:
        return self._name

    def fullName(self) -> str:
        above = self._parent
        return self._name if above is None or above._parent is None else f"{above.fullName()}.{self._name}"

    def parent(self) -> Optional[Group]:
        return self._parent

    def knob(self, p: str, follow_link: bool = False) -> Optional[Knob]:
        found = self._knobs.get(p)
        return found._target() if follow_link and isinstance(found, Link_Knob) else found

    def knobs(self) -> dict[str, Knob]:
        return dict(self._knobs)

    def allKnobs(self) -> list[Knob]:
        return list(self._knobs.values())

    def __getitem__(self, name: str) -> Knob:
        if name not in self._knobs:
            raise NameError(f"knob {name} does not exist")
        return self._knobs[name]

    def addKnob(self, knob: Knob) -> None:
        if knob._name in self._knobs:
            raise ValueError(f"the fake refuses a second knob {knob._name}: Nuke skips it silently")
        knob._node, knob._user = self, True
        self._knobs[knob._name] = knob
        self._session.undo.record(f"add {knob._name}", lambda: self._knobs.pop(knob._name, None))

    def input(self, index: int) -> Optional[Node]:
        return self._inputs[index] if index < len(self._inputs) else None

    def inputs(self) -> int:
        return len(self._inputs)

    def maxInputs(self) -> int:
        return self._max_inputs

    def setInput(self, i: int, node: Optional[Node]) -> bool:
        before = list(self._inputs)
        self._inputs += [None] * (i + 1 - len(self._inputs))
        self._inputs[i] = node
        self._session.undo.record(f"input of {self._name}", lambda: self._inputs.__setitem__(slice(None), before))
        return True

    def dependent(self, mask: int = 0, forceEvaluate: bool = True) -> list[Node]:
        siblings = self._parent._children if self._parent is not None else []
        return [node for node in siblings if self in node._inputs]

    def xpos(self) -> int:
        return self._xy[0]

    def ypos(self) -> int:
        return self._xy[1]

    def setXYpos(self, x: int, y: int) -> None:
        self._xy = (x, y)

    def frameRange(self) -> Any:
        from .session import FrameRange

        return FrameRange(self.firstFrame(), self.lastFrame(), 1)

    def firstFrame(self) -> int:
        return self._range()[0]

    def lastFrame(self) -> int:
        return self._range()[1]

    def _range(self) -> tuple[int, int]:
        if "first" in self._knobs and self._class == "Read":
            return int(self._value("first")), int(self._value("last"))
        above = self._inputs[0] if self._inputs else None
        root = self._session.root
        return (
            above._range() if above is not None else (int(root._value("first_frame")), int(root._value("last_frame")))
        )

    def format(self) -> Any:
        from .session import Format

        box = self._picture().display
        return Format(box[2] - box[0], box[3] - box[1], self._picture().pixel_aspect)

    def width(self) -> int:
        return int(self.format().width())

    def height(self) -> int:
        return int(self.format().height())

    def pixelAspect(self) -> float:
        return self._picture().pixel_aspect

    def channels(self) -> list[str]:
        return sorted(self._picture().planes)

    def opHashes(self) -> list[int]:
        return [int.from_bytes(self._hash()[:8], "little")]

    def forceValidate(self) -> None:
        pass

    def error(self) -> bool:
        return False

    # -- the fake's own ------------------------------------------------------------------------------------------

    def _value(self, name: str) -> Any:
        return self._knobs[name].value()  # type: ignore[attr-defined]

    def _disabled(self) -> bool:
        return bool(self._value("disable")) if "disable" in self._knobs else False

    def _find(self, name: str) -> Optional[Node]:
        """A node by the name that an expression in this node would use."""
        if name in ("", "this"):
            return self
        head, _, rest = name.partition(".")
        here: Optional[Node]
        if head == "parent":
            here = self._parent
        elif head == "root":
            here = self._session.root
        elif head.startswith("input"):
            index = int(head[5:] or 0)
            here = self._inputs[index] if index < len(self._inputs) else None
        else:
            scope = self if isinstance(self, Group) and self._child(head) is not None else self._parent
            here = scope._child(head) if scope is not None else None
        return here._find(rest) if here is not None and rest else here

    def _reference(self, name: str) -> Knob:
        node, _, knob = name.rpartition(".")
        owner = self._find(node)
        if owner is None or knob not in owner._knobs:
            raise expressions.ExpressionError(f"{self._name}: nothing named {name!r}")
        found = owner._knobs[knob]
        return found._target() if isinstance(found, Link_Knob) else found

    def _expression(self, text: str) -> float:
        def lookup(name: str) -> float:
            if name in ("frame", "x"):
                return float(self._session.context.frame)
            if name == "$gui":
                return float(self._session.gui)
            knob = self._reference(name)
            return float(knob.getValue())  # type: ignore[attr-defined]

        return expressions.evaluate(text, lookup)

    def _tcl(self) -> tcl.Interpreter:
        def value(words: list[str]) -> str:
            knob = self._reference(words[0])
            return knob._evaluated() if hasattr(knob, "_evaluated") else str(knob.value())  # type: ignore[attr-defined]

        def branch(words: list[str]) -> str:
            left, operator, right = (interpreter.expand(word.text) for word in tcl.parse_list(words[0]))
            equal = left == right
            chosen = words[1] if equal == (operator == "eq") else words[3]
            return interpreter.run(chosen)

        def file(words: list[str]) -> str:
            name = words[1]
            return {
                "dirname": posixpath.dirname(name),
                "tail": posixpath.basename(name),
                "rootname": posixpath.splitext(name)[0],
            }[words[0]]

        commands = {
            "value": value,
            "if": branch,
            "file": file,
            "return": lambda words: words[0],
            "getenv": lambda words: os.environ.get(words[0], ""),
            "frame": lambda words: str(self._session.context.frame),
        }
        interpreter = tcl.Interpreter(commands, {})
        return interpreter

    def _picture(self) -> Picture:
        from .operators import compute

        return compute(self)

    def _hash(self) -> bytes:
        """Changes with whatever changes this node's picture at the current frame and view."""
        digest = hashlib.sha256(self._class.encode())
        for name, knob in self._knobs.items():
            if name in ("label", "name", "tile_color", "selected", "knobChanged", "onCreate", "autolabel"):
                continue
            if hasattr(knob, "getEvaluatedValue"):
                digest.update(f"{name}={knob.getEvaluatedValue()}".encode())
            elif hasattr(knob, "value"):
                digest.update(f"{name}={knob.value()}".encode())
        if self._class == "TimeOffset":
            digest.update(str(self._session.context.frame).encode())
        for node in self._inputs:
            digest.update(node._hash() if node is not None else b"-")
        return digest.digest()


class Group(Node):
    STUB = "Group"

    def __init__(self, session: Session, cls: str, name: str, parent: Optional[Group]) -> None:
        super().__init__(session, cls, name, parent)
        self._children: list[Node] = []

    def nodes(self) -> list[Node]:
        return list(self._children)

    def node(self, s: str) -> Optional[Node]:
        head, _, rest = s.partition(".")
        found = self._child(head)
        return found.node(rest) if rest and isinstance(found, Group) else found

    def begin(self) -> Group:
        self._session.groups.append(self)
        return self

    def end(self) -> None:
        self._session.groups.pop()

    def __enter__(self) -> Group:
        return self.begin()

    def __exit__(self, *exc: object) -> None:
        self.end()

    def _child(self, name: str) -> Optional[Node]:
        return next((node for node in self._children if node._name == name), None)

    def _free_name(self, stem: str) -> str:
        if self._child(stem) is None and stem[-1:].isdigit():
            return stem
        base, number = stem.rstrip("0123456789"), 1
        while self._child(f"{base}{number}") is not None:
            number += 1
        return f"{base}{number}"

    def _walk(self) -> Iterator[Node]:
        for node in self._children:
            yield node
            if isinstance(node, Group):
                yield from node._walk()

    def _output(self) -> Optional[Node]:
        return next((node for node in self._children if node._class == "Output"), None)

    def _hash(self) -> bytes:
        output = self._output()
        return output._hash() if output is not None else super()._hash()


class Gizmo(Group):
    """A group whose inside comes from a .gizmo file: a script keeps its own knobs only."""

    STUB = "Gizmo"

    def __init__(self, session: Session, cls: str, name: str, parent: Optional[Group], file: Path) -> None:
        super().__init__(session, cls, name, parent)
        self._file = file

    def filename(self) -> str:
        return self._file.as_posix()

    def command(self) -> str:
        return self._class


class Root(Group):
    STUB = "Root"

    def fullName(self) -> str:
        return "root"

    def format(self) -> Any:
        return self._session.root_format

    def proxy(self) -> bool:
        return bool(self._value("proxy"))

    def setProxy(self, on: bool) -> None:
        knob = self._knobs["proxy"]
        assert isinstance(knob, Enumeration_Knob) or hasattr(knob, "setValue")
        knob.setValue(on)
