"""A model that the tests hold and let go, frame by frame: the mean of the masks around a frame, once a file is there.

``gate`` names a folder; a window is worked on when `open` or its first frame's number is a file in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mattebridge_server.models.base import Checkpoint, FrameResult, Model, ModelCard, Param, ParamValue, Window


class Gated(Model):
    card: ClassVar[ModelCard] = ModelCard(
        name="gated",
        title="Gated",
        summary="Mean of the masks two frames either way; waits for the test.",
        licence="Apache-2.0",
        temporal="frame",
        plate_state="linear",
        version="1",
        radius=2,
        params=(
            Param("gain", 1.0, "Multiplies the matte.", low=0.0, high=1.0),
            Param("gate", "", "Folder of files that let frames through; empty lets all through."),
            Param("mode", "mean", "What is made of the masks.", choices=("mean", "centre")),
            Param("sure", False, "Does nothing."),
        ),
    )

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        for number in window.wanted:
            self._wait(str(params["gate"]), number, checkpoint)
            around = [window.mask(other) for other in window.numbers]
            masks = [mask for mask in around if mask is not None]
            mean: NDArray[np.float32] = np.stack(masks).mean(axis=0, dtype=np.float32)
            yield FrameResult(number, mean * np.float32(params["gain"]))

    @staticmethod
    def _wait(gate: str, number: int, checkpoint: Checkpoint) -> None:
        folder = Path(gate)
        while gate and not (folder / "open").exists() and not (folder / str(number)).exists():
            checkpoint("gate")
            time.sleep(0.005)
