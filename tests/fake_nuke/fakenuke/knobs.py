"""Knobs: typed values with a script form, expressions, flags and undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from . import tcl
from .guard import Guarded

if TYPE_CHECKING:
    from .node import Node

DISABLED, DO_NOT_WRITE, INVISIBLE, STARTLINE, NO_UNDO, HIDDEN = 0x80, 0x200, 0x400, 0x1000, 0x80000, 0x40000000
FLAGS = {
    "DISABLED": DISABLED,
    "DO_NOT_WRITE": DO_NOT_WRITE,
    "INVISIBLE": INVISIBLE,
    "STARTLINE": STARTLINE,
    "NO_UNDO": NO_UNDO,
    "HIDDEN": HIDDEN,
}


class Knob(Guarded):
    """The base: a name, a label, a tooltip, flags, and a value that subclasses give a type."""

    STUB = "Knob"

    def __init__(self, name: str, label: Optional[str] = None) -> None:
        self._name = name
        self._label = name if label is None else label
        self._tooltip = ""
        self._flags = 0
        self._node: Optional[Node] = None
        self._user = False
        self._id = 0
        self._same_line = False

    def _check(self) -> None:
        if self._node is not None:
            self._node._check()

    def _changed(self, before: Any) -> None:
        """Record the change for undo, then tell the node; ``before`` is what `_restore` takes."""
        if self._node is None:
            return
        session = self._node._session
        if not self._flags & NO_UNDO:
            session.undo.record(f"{self._node._name}.{self._name}", lambda: self._restore(before))
        session.knob_changed(self._node, self)

    def _state(self) -> Any:
        return None

    def _restore(self, state: Any) -> None:
        raise NotImplementedError

    def Class(self) -> str:
        return type(self).STUB

    def name(self) -> str:
        return self._name

    def label(self) -> str:
        return self._label

    def tooltip(self) -> str:
        return self._tooltip

    def setTooltip(self, text: str) -> None:
        self._tooltip = text

    def node(self) -> Optional[Node]:
        return self._node

    def setFlag(self, flag: int) -> None:
        self._flags |= flag

    def getFlag(self, flag: int) -> bool:
        return bool(self._flags & flag)

    def visible(self) -> bool:
        return not self._flags & (INVISIBLE | HIDDEN)

    def setVisible(self, visible: bool) -> None:
        self._flags = self._flags & ~HIDDEN if visible else self._flags | HIDDEN

    def enabled(self) -> bool:
        return not self._flags & DISABLED

    def setEnabled(self, enabled: bool) -> None:
        self._flags = self._flags & ~DISABLED if enabled else self._flags | DISABLED

    def hasExpression(self, index: int = -1) -> bool:
        return False

    def isAnimated(self, channel: int = -1) -> bool:
        return self.hasExpression()

    def toScript(self, quote: bool = True) -> str:
        return ""

    def _load(self, word: tcl.Word) -> None:
        """Take the value as it stands in a script."""
        del word

    def _is_default(self) -> bool:
        return False


class String_Knob(Knob):
    STUB = "String_Knob"

    def __init__(self, name: str, label: Optional[str] = None, value: str = "") -> None:
        super().__init__(name, label)
        self._text = value
        self._default = value

    def _restore(self, state: Any) -> None:
        self._text = state

    def _set(self, text: str) -> None:
        before, self._text = self._text, text
        if before != text:
            self._changed(before)

    def value(self, oc: object = None) -> str:
        return self._text

    def getValue(self) -> str:
        return self._text

    def setValue(self, val: str, view: Optional[str] = None) -> None:
        if not isinstance(val, str):
            raise TypeError("in method 'String_Knob_setValue', argument 2 must be str")
        self._set(val)

    def toScript(self, quote: bool = True) -> str:
        return tcl.quote(self._text)

    def _load(self, word: tcl.Word) -> None:
        self._set(tcl.unescape(word))

    def _is_default(self) -> bool:
        return self._text == self._default

    def _evaluated(self) -> str:
        """With `[...]` commands run in the context of the node."""
        if self._node is None or ("[" not in self._text and "$" not in self._text):
            return self._text
        return self._node._tcl().expand(self._text)


class Text_Knob(String_Knob):
    STUB = ""

    def Class(self) -> str:
        return "Text_Knob"

    def setValue(self, val: str, view: Optional[str] = None) -> None:
        if "[" in val:
            raise ValueError("the fake refuses brackets in a Text knob: Nuke runs them as Tcl")
        self._set(val)


class EvalString_Knob(String_Knob):
    STUB = "EvalString_Knob"

    def evaluate(self) -> str:
        return self._evaluated()


class Multiline_Eval_String_Knob(EvalString_Knob):
    STUB = "Multiline_Eval_String_Knob"


class File_Knob(EvalString_Knob):
    STUB = "File_Knob"

    def setValue(self, val: str, view: Optional[str] = None) -> None:
        if "\\" in val:
            raise ValueError("the fake refuses backslashes in paths: Tcl eats them")
        self._set(val)

    def getEvaluatedValue(self) -> str:
        """Tcl run, `%V`, `%v` and the frame number filled in for the current context."""
        if self._node is None:
            return self._text
        return self._node._session.fill_path(self._evaluated())


class Script_Knob(String_Knob):
    STUB = "Script_Knob"

    def command(self) -> str:
        return self._text

    def execute(self) -> None:
        if self._node is not None:
            self._node._session.run_button(self._node, self)


class PyScript_Knob(Script_Knob):
    STUB = "PyScript_Knob"


class PythonKnob(String_Knob):
    """`knobChanged`, `onCreate`, `autolabel`: Python that Nuke runs."""

    STUB = "PythonKnob"


class Channel_Knob(String_Knob):
    STUB = ""

    def Class(self) -> str:
        return "Channel_Knob"


class Tab_Knob(Knob):
    """A tab, or the begin (``n`` 1) and end (``n`` -1) of a group in one."""

    STUB = "Tab_Knob"

    def __init__(self, name: str, label: Optional[str] = None, n: int = 0) -> None:
        super().__init__(name, label)
        self._n = n

    def _is_default(self) -> bool:
        return True


class Link_Knob(Knob):
    """Shows a knob of an inner node; its value is that knob's."""

    STUB = "Link_Knob"

    def __init__(self, name: str, label: Optional[str] = None, link: str = "") -> None:
        super().__init__(name, label)
        self._link = link

    def _target(self) -> Knob:
        node, _, knob = self._link.rpartition(".")
        inner = self._node._find(node) if self._node is not None else None
        if inner is None or knob not in inner._knobs:
            raise ValueError(f"{self._name} links to {self._link}, which does not exist")
        return inner._knobs[knob]

    def getLinkedKnob(self) -> Knob:
        return self._target()

    def value(self) -> Any:
        return self._target().value()  # type: ignore[attr-defined]

    def setValue(self, val: Any) -> None:
        self._target().setValue(val)  # type: ignore[attr-defined]

    def toScript(self, quote: bool = True) -> str:
        return self._target().toScript()

    def _load(self, word: tcl.Word) -> None:
        self._target()._load(word)

    def _is_default(self) -> bool:
        return self._target()._is_default()
