"""A piece of the node graph as a picture: boxes with names and labels, arrows with the names of the inputs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .node import Group, Node

Canvas = NDArray[np.uint8]

SCALE, WIDTH, LINE, MARGIN = 2, 132, 17, 26
GROUND, EDGE, INK, WIRE = (50, 50, 50), (20, 20, 20), (16, 16, 16), (200, 200, 200)
TILES = {"Read": (140, 160, 170), "MatteBridge": (140, 122, 90), "Viewer": (120, 120, 150)}


def label_of(node: Node) -> list[str]:
    """The lines on the node: what its autolabel gives, or its name."""
    text = node._value("autolabel")
    if not text:
        return [node._name]
    node._session.current.append((node, None))
    try:
        return str(eval(text, {"nuke": sys.modules["nuke"]})).splitlines()
    finally:
        node._session.current.pop()


def draw_graph(nodes: Sequence[Node]) -> Canvas:
    """(H, W, 3) uint8, BGR. Nodes stand at their own positions; inputs that are not among ``nodes`` are left out."""
    left, top = (min(node._xy[axis] for node in nodes) - MARGIN for axis in (0, 1))
    right, bottom = (max(node._xy[axis] for node in nodes) + MARGIN for axis in (0, 1))
    size = (round(SCALE * (bottom - top + 2 * LINE)), round(SCALE * (right - left + WIDTH)), 3)
    canvas: Canvas = np.full(size, GROUND, np.uint8)
    boxes = {id(node): (node._xy[0] - left, node._xy[1] - top, LINE * len(label_of(node)) + 8) for node in nodes}
    for node in nodes:
        for index, above in enumerate(node._inputs):
            if above is not None and id(above) in boxes:
                _arrow(canvas, boxes[id(above)], boxes[id(node)], index, len(node._inputs), _input_name(node, index))
    for node in nodes:
        _box(canvas, node, boxes[id(node)])
    return canvas


def _input_name(node: Node, index: int) -> str:
    if not isinstance(node, Group):
        return ""
    inputs = [child for child in node._children if child._class == "Input"]
    return next(child._name for child in inputs if int(child._value("number")) == index)


def _at(x: float, y: float) -> tuple[int, int]:
    return round(SCALE * x), round(SCALE * y)


def _arrow(
    canvas: Canvas, above: tuple[int, int, int], node: tuple[int, int, int], index: int, count: int, name: str
) -> None:
    start = (above[0] + WIDTH / 2, above[1] + above[2])
    end = (node[0] + WIDTH * (index + 1) / (count + 1), node[1] - 2)
    tip = 8 / np.hypot(end[0] - start[0], end[1] - start[1])
    cv2.arrowedLine(canvas, _at(*start), _at(*end), WIRE, SCALE, cv2.LINE_AA, tipLength=float(tip))
    if name:
        _text(canvas, name, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), WIRE, GROUND)


def _text(
    canvas: Canvas, text: str, middle: tuple[float, float], ink: tuple[int, int, int], ground: tuple[int, int, int]
) -> None:
    """Centred on ``middle``, on a patch of ``ground`` that hides what runs behind it."""
    font = cv2.FontFace("sans")
    half = cv2.getTextSize((10000, 100), text, (0, 0), font, 12 * SCALE)[2] / SCALE / 2 + 3
    cv2.rectangle(canvas, _at(middle[0] - half, middle[1] - 7), _at(middle[0] + half, middle[1] + 7), ground, -1)
    cv2.putText(canvas, text, _at(middle[0] - half + 3, middle[1] + 4), ink, font, 12 * SCALE, 400)


def _box(canvas: Canvas, node: Node, box: tuple[int, int, int]) -> None:
    x, y, height = box
    tile = TILES.get(node._class, (150, 150, 150))
    cv2.rectangle(canvas, _at(x, y), _at(x + WIDTH, y + height), tile, -1)
    cv2.rectangle(canvas, _at(x, y), _at(x + WIDTH, y + height), EDGE, SCALE)
    for row, text in enumerate(label_of(node)):
        _text(canvas, text, (x + WIDTH / 2, y + 4 + LINE * (row + 0.5)), INK, tile)
