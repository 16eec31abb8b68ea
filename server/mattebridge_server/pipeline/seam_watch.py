"""Watches a job's alphas go by and measures whether the joints between windows show."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

import numpy as np
from numpy.typing import NDArray

from mattebridge.messages import ParamValue

from ..media import shrink
from ..metrics.seam import seam_from_changes
from ..models.base import FrameResult
from .inputs import ShotInputs
from .plan import ShotPlan

Float32 = NDArray[np.float32]
WIDTH = 480


class SeamWatch:
    """Keeps one small picture: the change of each frame against the one before, at most 480 pixels wide."""

    def __init__(self, plan: ShotPlan, inputs: ShotInputs) -> None:
        frames = len(inputs.shot)
        self._borders = frozenset(plan.layout(frames).borders()) if plan.temporal == "window" else frozenset()
        self._inputs = inputs
        self._changes: dict[int, float] = {}
        self._last: tuple[int, Float32] | None = None

    def watch(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """The same results; frames that do not follow the one before are not compared."""
        for result in results:
            if self._borders:
                self._look(self._inputs.index(result.number), result.alpha)
            yield result

    def facts(self) -> dict[str, ParamValue]:
        """``seam_ratio`` (change at borders over change elsewhere; 1 is no seam) where the job crossed a border."""
        order = sorted(self._changes)
        borders = [place for place, index in enumerate(order, 1) if index in self._borders]
        seam = seam_from_changes([self._changes[index] for index in order], borders)
        if not seam.borders or isnan(seam.ratio):
            return {}
        return {"seam_ratio": round(seam.ratio, 3), "seam_borders": seam.borders}

    def _look(self, index: int, alpha: Float32) -> None:
        scale = min(1.0, WIDTH / alpha.shape[1])
        small = shrink(alpha, scale)
        if self._last is not None and self._last[0] == index - 1:
            self._changes[index] = float(np.abs(small - self._last[1]).mean(dtype=np.float64))
        self._last = index, small
