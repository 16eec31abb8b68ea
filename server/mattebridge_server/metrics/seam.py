"""Do the joints between windows show? A measure that needs no ground truth.

A model that is run in windows may jump where one window hands over to the next. Whatever a shot does, its change from
frame to frame at those borders should be like its change elsewhere. For one clip the question is whether the border
changes exceed the interior ones; over many clips chance answers yes half the time (ground truth: 32 of 64 clips, hard
cuts between windows: 63 of 64).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Seam:
    """``border`` and ``interior`` are mean changes per pixel (alpha units) from a frame to the next; nan if none."""

    border: float
    interior: float
    borders: int

    @property
    def ratio(self) -> float:
        """Border change over interior change; 1 is no seam, nan where there is nothing to compare."""
        if not self.borders or np.isnan(self.interior) or (self.interior == 0 and self.border == 0):
            return 1.0 if self.borders and self.border == self.interior == 0 else float("nan")
        return float("inf") if self.interior == 0 else self.border / self.interior


def frame_changes(alphas: Iterable[Float32]) -> list[float]:
    """Mean absolute change per pixel of each frame against the one before, in order; one fewer than the frames.

    ``alphas``: (H, W) float32 in 0..1 in shot order, taken one by one and never held more than two at a time. Raises
    `ValueError` where frames differ in size.
    """
    changes: list[float] = []
    previous: Float32 | None = None
    for alpha in alphas:
        if previous is not None:
            if alpha.shape != previous.shape:
                raise ValueError(f"alpha is {alpha.shape} where the frame before was {previous.shape}")
            changes.append(float(np.abs(alpha - previous).mean(dtype=np.float64)))
        previous = alpha
    return changes


def seam_from_changes(changes: Sequence[float], border_frames: Sequence[int]) -> Seam:
    """Compare change at window borders with change elsewhere.

    ``changes[i - 1]`` is the step to frame i, as `frame_changes` gives it. ``border_frames``: shot indices i at which
    another set of windows begins to take part, so that the step from i - 1 to i crosses a border; others are ignored.
    """
    borders = {i for i in border_frames if 1 <= i <= len(changes)}
    at_border = [change for i, change in enumerate(changes, 1) if i in borders]
    inside = [change for i, change in enumerate(changes, 1) if i not in borders]
    return Seam(_mean(at_border), _mean(inside), len(at_border))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
