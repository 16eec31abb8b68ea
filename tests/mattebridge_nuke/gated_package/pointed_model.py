"""A tracker for tests: a disc around the first point of the prompt that goes a pixel to the right with every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from mattebridge_server.models.base import Checkpoint, FrameResult, Model, ModelCard, ParamValue, Window


class Pointed(Model):
    card: ClassVar[ModelCard] = ModelCard(
        name="pointed",
        title="Pointed",
        summary="A disc around a point.",
        licence="Apache-2.0",
        temporal="shot",
        plate_state="linear",
        version="1",
        needs_mask="none",
        preflight=False,
    )

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        (prompt,) = window.prompts
        x, y, _ = prompt.points[0]
        for number in window.wanted:
            checkpoint("point")
            height, width = window.plate(number).shape[:2]
            rows, columns = np.mgrid[0:height, 0:width]
            inside = np.hypot(columns + 0.5 - x * width - (number - prompt.frame), rows + 0.5 - y * height) < 8
            alpha = inside.astype(np.float32)
            yield FrameResult(number, alpha, {prompt.layer: alpha})
