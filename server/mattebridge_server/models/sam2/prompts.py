"""What a user says about each object: clicks, boxes and masks by frame, in the square that SAM2 sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import InputError
from mattebridge_server.models.base import Prompt, Window

DEFAULT_LAYER = "A"
BOX_CORNERS = (2, 3)
POSITIVE, NEGATIVE = 1, 0


@dataclass(frozen=True)
class Clicks:
    """Points on one frame: ``coordinates`` as fractions (x, y), ``labels`` 1 and 0 for clicks, 2 and 3 for a box."""

    coordinates: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]


@dataclass
class Layer:
    """One object. ``clicks`` by shot index; ``masks`` are the shot indices whose mask is its prompt."""

    name: str
    clicks: dict[int, Clicks] = field(default_factory=dict)
    masks: set[int] = field(default_factory=set)

    @property
    def prompted(self) -> tuple[int, ...]:
        """Shot indices with a prompt, ascending."""
        return tuple(sorted(self.clicks.keys() | self.masks))


def gather(window: Window, empty: Mapping[int, bool]) -> tuple[Layer, ...]:
    """The objects of a window, sorted by name.

    ``empty`` tells for each shot index that has a mask whether it is empty: such a mask says that the object is not
    there, which is an answer, but nothing to track from. A click on a frame corrects the mask there and replaces it.
    Raises `InputError` for prompts outside the window and where nothing says what to track.
    """
    index = {number: i for i, number in enumerate(window.numbers)}
    layers: dict[str, Layer] = {}
    for prompt in window.prompts:
        if prompt.frame not in index:
            raise InputError(
                f"a prompt is on frame {prompt.frame}, outside the shot {window.numbers[0]}-{window.numbers[-1]}",
                remedy="Put prompts on frames of the shot.",
            )
        layer = layers.setdefault(prompt.layer, Layer(prompt.layer))
        at = index[prompt.frame]
        layer.clicks[at] = _merge(layer.clicks.get(at), _clicks(prompt))
    masked = {i for i, is_empty in empty.items() if not is_empty}
    if masked:
        layer = layers.setdefault(DEFAULT_LAYER, Layer(DEFAULT_LAYER))
        layer.masks |= masked - layer.clicks.keys()
    if not layers:
        raise InputError(
            "nothing says what to track: no point, no box, and no mask that shows anything",
            remedy="Click on the subject, draw a box around it, or give a mask on at least one frame.",
        )
    return tuple(layers[name] for name in sorted(layers))


def _clicks(prompt: Prompt) -> Clicks:
    coordinates: list[tuple[float, float]] = []
    labels: list[int] = []
    if prompt.box is not None:
        left, top, right, bottom = prompt.box
        coordinates += [(min(left, right), min(top, bottom)), (max(left, right), max(top, bottom))]
        labels += BOX_CORNERS
    for x, y, inside in prompt.points:
        coordinates.append((x, y))
        labels.append(POSITIVE if inside else NEGATIVE)
    if not labels:
        raise InputError(
            f"the prompt for {prompt.layer!r} on frame {prompt.frame} has neither a point nor a box", frame=prompt.frame
        )
    return Clicks(tuple(coordinates), tuple(labels))


def _merge(first: Clicks | None, second: Clicks) -> Clicks:
    """Several prompts of one object on one frame act together; a box comes before points, and only one box counts."""
    if first is None:
        return second
    pairs = list(zip(first.labels + second.labels, first.coordinates + second.coordinates, strict=True))
    box = [pair for pair in pairs if pair[0] in BOX_CORNERS][-2:]
    points = [pair for pair in pairs if pair[0] not in BOX_CORNERS]
    return Clicks(tuple(pair[1] for pair in box + points), tuple(pair[0] for pair in box + points))


def union(layers: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The largest of the layers at each pixel, (H, W) float32."""
    return np.asarray(np.maximum.reduce(list(layers.values())), np.float32)
