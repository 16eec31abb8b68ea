"""Overlapping windows into one result per frame: the normalised weighted sum, in ascending order of windows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..models.base import FrameResult
from .plan import ShotPlan
from .windows import Span

Float32 = NDArray[np.float32]


@dataclass
class _Sum:
    alpha: Float32
    layers: dict[str, Float32] = field(default_factory=dict)


class Blend:
    """Collects the results of one shot's windows; a frame leaves as soon as its last window has spoken."""

    def __init__(self, plan: ShotPlan, shot: tuple[int, ...]) -> None:
        self._index = {number: index for index, number in enumerate(shot)}
        self._layout = None if plan.temporal == "frame" else plan.layout(len(shot))
        self._open: dict[int, _Sum] = {}

    def add(self, span: Span, result: FrameResult) -> FrameResult | None:
        """One window's word on one frame; the frame's result when it was the last window, else None.

        Windows must be added in ascending order: the order of the sum is part of the result.
        """
        if self._layout is None:
            return result
        shares = self._layout.weights(self._index[result.number])
        if len(shares) == 1:
            return result
        weight = np.float32(next(share for other, share in shares if other.number == span.number))
        if span.number == shares[0][0].number:
            layers = {name: layer * weight for name, layer in result.layers.items()}
            self._open[result.number] = _Sum(result.alpha * weight, layers)
            return None
        total = self._open[result.number]
        total.alpha = total.alpha + result.alpha * weight
        total.layers = {name: total.layers[name] + layer * weight for name, layer in result.layers.items()}
        if span.number != shares[-1][0].number:
            return None
        del self._open[result.number]
        return FrameResult(result.number, total.alpha, total.layers, result.foreground)
