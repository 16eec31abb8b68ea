"""A studio's own network, in the studio's own package: here the mean of the masks in a window, tilted by the window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from mattebridge_server.models.base import Checkpoint, FrameResult, Model, ModelCard, Param, ParamValue, Window


class StudioMean(Model):
    card: ClassVar[ModelCard] = ModelCard(
        name="studio-mean",
        title="Studio mean",
        summary="Mean of a window's masks; what a frame gets depends on which windows cover it.",
        licence="Proprietary",
        temporal="window",
        plate_state="linear",
        version="1",
        window=5,
        stride=3,
        params=(Param("tilt", 0.25, "How much a frame's place in its window counts.", low=0.0, high=1.0),),
    )
    windows_run: ClassVar[list[tuple[int, ...]]] = []

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        self.windows_run.append(window.numbers)
        masks = [window.mask(number) for number in window.numbers]
        mean = np.mean([mask for mask in masks if mask is not None], axis=0, dtype=np.float32)
        for number in window.wanted:
            checkpoint("studio-mean")
            place = window.numbers.index(number) / len(window.numbers)
            yield FrameResult(number, mean * np.float32(1 - float(params["tilt"]) * place))
