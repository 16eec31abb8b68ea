"""A node's panel as an artist would see it, drawn from the knobs themselves: tabs, lines, menus, sliders, buttons.

Which knob begins a line follows Nuke: buttons and check boxes continue one unless +STARTLINE is set, all others begin
one unless it is cleared. It is a drawing, not Nuke: fonts and sizes are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from .knobs import HIDDEN, INVISIBLE, STARTLINE, Knob, Link_Knob, PyScript_Knob, String_Knob, Tab_Knob, Text_Knob
from .number_knobs import Array_Knob, Boolean_Knob, Enumeration_Knob, Int_Knob

Canvas = NDArray[np.uint8]

WIDTH, LINE, PAD, LABEL = 560, 30, 10, 128
GROUND, FIELD, EDGE, INK, DIM, ACCENT = (
    (50, 50, 50),
    (36, 36, 36),
    (82, 82, 82),
    (222, 222, 222),
    (160, 160, 160),
    (72, 156, 232),
)
SCALE = 2


@dataclass
class Tab:
    """One page: its title and its lines of knobs."""

    title: str
    lines: list[list[Knob]]


def tabs_of(node: Any) -> list[Tab]:
    """The user knobs of a node by tab, in the order of the panel."""
    tabs: list[Tab] = []
    for knob in node._knobs.values():
        if isinstance(knob, Tab_Knob):
            tabs.append(Tab(knob.label(), []))
        elif tabs and (knob._id or knob._user) and not knob._flags & (INVISIBLE | HIDDEN):
            lines = tabs[-1].lines
            if lines and _continues(knob):
                lines[-1].append(knob)
            else:
                lines.append([knob])
    return tabs


def _continues(knob: Knob) -> bool:
    if knob._flags & STARTLINE:
        return False
    return isinstance(knob, (PyScript_Knob, Boolean_Knob)) or knob._same_line


def draw_panel(node: Any, title: str, columns: int = 3) -> Canvas:
    """Every tab of the node side by side: (H, W, 3) uint8, BGR."""
    pages = [_page(tab, title) for tab in tabs_of(node)]
    rows = [pages[at : at + columns] for at in range(0, len(pages), columns)]
    return np.vstack([_row(row, columns) for row in rows])


def _row(pages: Sequence[Canvas], columns: int) -> Canvas:
    height = max(page.shape[0] for page in pages)
    gap = SCALE * PAD
    filled = np.full((height + gap, columns * (SCALE * WIDTH + gap), 3), 24, np.uint8)
    for at, page in enumerate(pages):
        left = at * (SCALE * WIDTH + gap)
        filled[: page.shape[0], left : left + page.shape[1]] = page
    return filled


class Pen:
    """Draws in panel units on a canvas of twice the size."""

    def __init__(self, lines: int) -> None:
        self.canvas: Canvas = np.full((SCALE * (LINE * (lines + 2) + 2 * PAD), SCALE * WIDTH, 3), GROUND, np.uint8)
        self.font = cv2.FontFace("sans")

    def text(self, words: str, x: float, y: float, colour: tuple[int, int, int] = INK, weight: int = 400) -> float:
        """Left edge and middle line; gives the width."""
        at = (round(SCALE * x), round(SCALE * (y + 4.5)))
        cv2.putText(self.canvas, words, at, colour, self.font, 13 * SCALE, weight)
        return self.width(words)

    def width(self, words: str) -> float:
        box = cv2.getTextSize((10000, 100), words, (0, 0), self.font, 13 * SCALE)
        return float(box[2]) / SCALE

    def box(self, x: float, y: float, width: float, colour: tuple[int, int, int], edge: tuple[int, int, int]) -> None:
        first = (round(SCALE * x), round(SCALE * (y - 11)))
        last = (round(SCALE * (x + width)), round(SCALE * (y + 11)))
        cv2.rectangle(self.canvas, first, last, colour, -1)
        cv2.rectangle(self.canvas, first, last, edge, SCALE)


def _page(tab: Tab, title: str) -> Canvas:
    pen = Pen(sum(_height(line) for line in tab.lines))
    pen.text(title, PAD, PAD + 10, weight=600)
    shown = pen.width(tab.title)
    pen.box(PAD, PAD + LINE + 6, shown + 24, (64, 64, 64), EDGE)
    pen.text(tab.title, PAD + 12, PAD + LINE + 6)
    y = PAD + 2.0 * LINE + 14
    for line in tab.lines:
        _line(pen, line, y)
        y += LINE * _height(line)
    return pen.canvas


def _height(line: Sequence[Knob]) -> int:
    texts = [knob._text for knob in line if isinstance(knob, Text_Knob)]
    return max([1, *(text.count("\n") + 1 for text in texts)])


def _line(pen: Pen, line: Sequence[Knob], y: float) -> None:
    first = line[0]
    if isinstance(first, Text_Knob) and not first._text and first._name.startswith("mb_divide"):
        cv2.line(pen.canvas, (SCALE * PAD, round(SCALE * y)), (SCALE * (WIDTH - PAD), round(SCALE * y)), EDGE, SCALE)
        if first.label():
            pen.box(PAD + 20, y, pen.width(first.label()) + 12, GROUND, GROUND)
            pen.text(first.label(), PAD + 26, y, DIM)
        return
    x = float(LABEL)
    for at, knob in enumerate(line):
        inside = isinstance(knob, (PyScript_Knob, Boolean_Knob))
        if not inside and knob.label():
            width = pen.width(knob.label())
            pen.text(knob.label(), x - width - 8 if at == 0 else x, y, INK if knob.enabled() else DIM)
            x += width + 8 if at else 0
        x += _widget(pen, knob, x, y, alone=len(line) == 1) + 10


def _widget(pen: Pen, knob: Knob, x: float, y: float, alone: bool) -> float:
    """Draw one knob; gives its width."""
    if isinstance(knob, PyScript_Knob):
        width = pen.width(knob.label()) + 22
        pen.box(x, y, width, (76, 76, 76), (104, 104, 104))
        pen.text(knob.label(), x + 11, y)
        return width
    if isinstance(knob, Boolean_Knob):
        return _check_box(pen, knob, x, y)
    if isinstance(knob, Text_Knob):
        for row, words in enumerate(knob._text.split("\n")):
            pen.text(words, x, y + row * LINE * 0.75, DIM)
        return WIDTH - PAD - x
    text = _shown(knob)
    room = WIDTH - PAD - x
    if isinstance(knob, (Enumeration_Knob, Link_Knob)):
        width = min(room, pen.width(text) + 44)
        pen.box(x, y, width, (64, 64, 64), EDGE)
        pen.text(text, x + 10, y)
        cv2.drawMarker(
            pen.canvas, (round(SCALE * (x + width - 13)), round(SCALE * y)), DIM, cv2.MARKER_TRIANGLE_DOWN, 14, SCALE
        )
        return width
    width = room if isinstance(knob, String_Knob) and alone else min(room, 190.0)
    pen.box(x, y, width, FIELD, EDGE)
    while text and pen.width(text) > width - 16:
        text = text[:-1]
    pen.text(text, x + 8, y, INK if knob.enabled() else DIM)
    if type(knob).__name__ == "Double_Knob":
        _slider(pen, cast(Array_Knob, knob), x + width + 12, y)
        return room
    return width


def _check_box(pen: Pen, knob: Boolean_Knob, x: float, y: float) -> float:
    corner, far = (round(SCALE * x), round(SCALE * (y - 7))), (round(SCALE * (x + 14)), round(SCALE * (y + 7)))
    cv2.rectangle(pen.canvas, corner, far, FIELD, -1)
    cv2.rectangle(pen.canvas, corner, far, EDGE, SCALE)
    if knob.value():
        points = np.array([(x + 3, y), (x + 6, y + 4), (x + 11, y - 5)]) * SCALE
        cv2.polylines(pen.canvas, [points.round().astype(np.int32)], False, ACCENT, 2 * SCALE, cv2.LINE_AA)
    return 20 + pen.text(knob.label(), x + 20, y)


def _slider(pen: Pen, knob: Array_Knob, x: float, y: float) -> None:
    low, high = knob._range
    end = WIDTH - PAD - 8.0
    cv2.line(pen.canvas, (round(SCALE * x), round(SCALE * y)), (round(SCALE * end), round(SCALE * y)), EDGE, SCALE)
    place = x + (end - x) * min(1.0, max(0.0, (float(knob.value()) - low) / (high - low or 1)))
    cv2.circle(pen.canvas, (round(SCALE * place), round(SCALE * y)), 5 * SCALE, ACCENT, -1, cv2.LINE_AA)


def _shown(knob: Knob) -> str:
    if isinstance(knob, Link_Knob):
        return str(knob.value())
    if isinstance(knob, Int_Knob):
        return str(knob.value())
    if isinstance(knob, Enumeration_Knob):
        return knob.value()
    if isinstance(knob, Array_Knob):
        value = knob.value()
        return "  ".join(f"{item:g}" for item in value) if isinstance(value, list) else f"{value:g}"
    return knob._text if isinstance(knob, String_Knob) else ""
