"""Knobs that hold numbers, each of which may be an expression; an enumeration is the number of an item."""

from __future__ import annotations

from typing import Any, Optional, Union

from . import tcl
from .knobs import Knob

Cell = Union[float, str]
"""A number, or the text of an expression."""


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

    def value(self, index: int = 0) -> str:
        at = int(self._number())
        return self._items[at] if 0 <= at < len(self._items) else ""

    def getValue(self, channel: int = 0) -> float:
        return self._number()

    def values(self) -> list[str]:
        return list(self._items)

    def setValues(self, items: list[str]) -> None:
        """The number stays, so that another item may be chosen all of a sudden: the worst that Nuke could do."""
        before, self._items = self.value(), list(items)
        if self._node is not None and self.value() != before:
            self._node._session.knob_changed(self._node, self)

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
