"""Knobs: typed values with a script form, expressions, flags and undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union

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
TABBEGINGROUP, TABENDGROUP = 1, -1

Cell = Union[float, str]
"""A number, or the text of an expression."""


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

    def setLabel(self, label: str) -> None:
        self._label = label

    def tooltip(self) -> str:
        return self._tooltip

    def setTooltip(self, text: str) -> None:
        self._tooltip = text

    def node(self) -> Optional[Node]:
        return self._node

    def setFlag(self, flag: int) -> None:
        self._flags |= flag

    def clearFlag(self, flag: int) -> None:
        self._flags &= ~flag

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

    def fromScript(self, script: str) -> None:
        self._load(tcl.Word(script, "braced", 0))

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

    def getText(self, oc: object = None) -> str:
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

    def fromUserText(self, text: str) -> None:
        """`path first-last` as typed into the knob: the range goes to first, last and their originals."""
        head, _, tail = text.rpartition(" ")
        first, dash, last = tail.rpartition("-")
        if not (head and dash and first.lstrip("-").isdigit() and last.lstrip("-").isdigit()):
            self.setValue(text)
            return
        self.setValue(head)
        for name, number in (("first", first), ("last", last), ("origfirst", first), ("origlast", last)):
            if self._node is not None and name in self._node._knobs:
                self._node._knobs[name].setValue(int(number))  # type: ignore[attr-defined]


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


class Array_Knob(Knob):
    """``size`` numbers; each may be an expression."""

    STUB = "Array_Knob"
    _size = 1

    def __init__(self, name: str, label: Optional[str] = None, value: float = 0.0) -> None:
        super().__init__(name, label)
        self._cells: list[Cell] = [value] * self._size
        self._default = list(self._cells)
        self._range = (0.0, 1.0)

    def _state(self) -> Any:
        return list(self._cells)

    def _restore(self, state: Any) -> None:
        self._cells = list(state)

    def _number(self, index: int = 0) -> float:
        cell = self._cells[index]
        if isinstance(cell, str):
            assert self._node is not None
            return self._node._expression(cell)
        return cell

    def _store(self, cells: list[Cell]) -> None:
        before, self._cells = self._cells, cells
        if before != cells:
            self._changed(before)

    def value(self, index: int = 0) -> Any:
        if self._size == 1:
            return self._number()
        return [self._number(i) for i in range(self._size)]

    def getValue(self, channel: int = 0) -> Any:
        return self.value() if self._size == 1 else self._number(channel)

    def setValue(self, val: Any, chan: int = -1) -> bool:
        if isinstance(val, (list, tuple)):
            cells: list[Cell] = [float(item) for item in val]
        elif chan >= 0:
            cells = [float(val) if i == chan else cell for i, cell in enumerate(self._cells)]
        else:
            cells = [float(val)] * self._size
        if len(cells) != self._size:
            raise TypeError(f"{self._name} takes {self._size} numbers")
        self._store(cells)
        return True

    def setExpression(self, expression: str, channel: int = 0, view: Optional[str] = None) -> bool:
        self._store([expression if i == channel else cell for i, cell in enumerate(self._cells)])
        return True

    def hasExpression(self, index: int = -1) -> bool:
        return any(isinstance(cell, str) for cell in self._cells)

    def setRange(self, low: float, high: float) -> None:
        self._range = (low, high)

    def min(self) -> float:
        return self._range[0]

    def max(self) -> float:
        return self._range[1]

    def setDefaultValue(self, values: list[float]) -> None:
        self._default = [float(item) for item in values]

    def defaultValue(self) -> float:
        first = self._default[0]
        assert isinstance(first, float)
        return first

    def toScript(self, quote: bool = True) -> str:
        texts = ["{" + cell + "}" if isinstance(cell, str) else f"{cell:.9g}" for cell in self._cells]
        body = " ".join(texts)
        return "{" + body + "}" if self._size > 1 or "{" in body else body

    def _load(self, word: tcl.Word) -> None:
        cells: list[Cell] = []
        for item in tcl.parse_list(tcl.unescape(word)):
            cells.append(tcl.unescape(item) if item.kind == "braced" else self._parse(item.text))
        self._store(cells * self._size if len(cells) == 1 else cells)

    def _parse(self, text: str) -> Cell:
        if text in ("true", "false"):
            return float(text == "true")
        return float(int(text, 16)) if text.startswith("0x") else float(text)

    def _is_default(self) -> bool:
        return self._cells == self._default


class Double_Knob(Array_Knob):
    STUB = "Double_Knob"


class Int_Knob(Array_Knob):
    STUB = "Int_Knob"

    def value(self, index: int = 0) -> int:
        return int(self._number())


class Boolean_Knob(Array_Knob):
    STUB = "Boolean_Knob"

    def value(self, index: int = 0) -> bool:
        return bool(self._number())

    def toScript(self, quote: bool = True) -> str:
        return super().toScript() if self.hasExpression() else str(bool(self._number())).lower()


class XY_Knob(Array_Knob):
    STUB = "XY_Knob"
    _size = 2


class BBox_Knob(Array_Knob):
    STUB = "BBox_Knob"
    _size = 4


class Color_Knob(Array_Knob):
    STUB = "Color_Knob"
    _size = 4


class Enumeration_Knob(Array_Knob):
    """A list of items; the value is an item's text, `getValue` its index."""

    STUB = "Enumeration_Knob"

    def __init__(self, name: str, label: Optional[str] = None, items: Optional[list[str]] = None) -> None:
        super().__init__(name, label)
        self._items = list(items or [])
        self._user_items = False

    def value(self, index: int = 0) -> str:
        at = int(self._number())
        return self._items[at] if 0 <= at < len(self._items) else ""

    def getValue(self, channel: int = 0) -> float:
        return self._number()

    def values(self) -> list[str]:
        return list(self._items)

    def numValues(self) -> int:
        return len(self._items)

    def setValues(self, items: list[str]) -> None:
        self._items = list(items)
        self._user_items = True

    def setValue(self, val: Any, chan: int = -1) -> bool:
        if isinstance(val, str):
            if val not in self._items:
                raise ValueError(f"bad value {val!r} for {self._name}: not one of {self._items}")
            val = self._items.index(val)
        self._store([float(val)])
        return True

    def toScript(self, quote: bool = True) -> str:
        return super().toScript() if self.hasExpression() else tcl.quote(self.value())

    def _parse(self, text: str) -> Cell:
        return float(self._items.index(text)) if text in self._items else float(text)

    def _load(self, word: tcl.Word) -> None:
        text = tcl.unescape(word)
        if text not in self._items and text and not text.lstrip("-").isdigit() and not text.startswith("{"):
            self._items.append(text)
        if text in self._items:
            self._store([float(self._items.index(text))])
        else:
            super()._load(word)


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

    def getLink(self) -> str:
        return self._link

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


USER_KNOBS: dict[int, type[Knob]] = {
    1: String_Knob,
    2: File_Knob,
    3: Int_Knob,
    4: Enumeration_Knob,
    6: Boolean_Knob,
    7: Double_Knob,
    12: XY_Knob,
    15: BBox_Knob,
    20: Tab_Knob,
    22: PyScript_Knob,
    26: Text_Knob,
    41: Link_Knob,
}


def from_user_knob(words: list[tcl.Word]) -> Knob:
    """The knob that an `addUserKnob {...}` line describes. Raises `TclError` for what Nuke would not know."""
    number, name = int(words[0].text), tcl.unescape(words[1])
    cls = USER_KNOBS.get(number)
    if cls is None:
        raise tcl.TclError(f"knob {name}: id {number} is not in the fake")
    knob, at = cls(name), 2
    knob._user, knob._id = True, number
    while at < len(words):
        key = words[at].text
        if key[0] in "+-" and key[1:] in FLAGS:
            knob._flags = knob._flags | FLAGS[key[1:]] if key[0] == "+" else knob._flags & ~FLAGS[key[1:]]
            knob._same_line = key == "-STARTLINE" or knob._same_line
            at += 1
            continue
        if at + 1 >= len(words):
            raise tcl.TclError(f"knob {name}: {key} has no value")
        _set_attribute(knob, key, tcl.unescape(words[at + 1]))
        at += 2
    return knob


def _set_attribute(knob: Knob, key: str, value: str) -> None:
    if key == "l":
        knob._label = value
    elif key == "t":
        knob._tooltip = value
    elif key == "M" and isinstance(knob, Enumeration_Knob):
        knob._items = [item for item in map(tcl.unescape, tcl.parse_list(value)) if item]
    elif key == "R" and isinstance(knob, Array_Knob):
        low, high = value.split()
        knob._range = (float(low), float(high))
    elif key == "n" and isinstance(knob, Tab_Knob):
        knob._n = int(value)
    elif key == "T" and isinstance(knob, Link_Knob):
        knob._link = value
    elif key == "T" and isinstance(knob, String_Knob):
        knob._text = knob._default = value
    else:
        raise tcl.TclError(f"knob {knob._name}: attribute {key!r} does not fit a {type(knob).__name__}")


def user_knob_line(knob: Knob) -> str:
    """`addUserKnob` of a knob added by Python, as Nuke saves it with the script."""
    number = next(number for number, cls in USER_KNOBS.items() if type(knob) is cls)
    parts = [str(number), knob._name, "l", tcl.quote(knob._label)]
    if knob._tooltip:
        parts += ["t", tcl.quote(knob._tooltip)]
    if isinstance(knob, Enumeration_Knob):
        parts += ["M", "{" + " ".join(tcl.quote(item) for item in knob._items) + "}"]
    elif isinstance(knob, Array_Knob):
        parts += ["R", f"{{{knob._range[0]:g} {knob._range[1]:g}}}"]
    parts += ["+" + name for name, flag in FLAGS.items() if knob._flags & flag]
    return "addUserKnob {" + " ".join(parts) + "}"
