"""`identity`: returns the mask. For measuring everything around a model: reading, colour, queues, writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from mattebridge.errors import MissingFrames

from .base import Checkpoint, FrameResult, Model, ModelCard, ParamValue, Window


class Identity(Model):
    """Reads the plate as every model does, and gives the mask back bit for bit."""

    card: ClassVar[ModelCard] = ModelCard(
        name="identity",
        title="Identity",
        summary="Returns the mask unchanged; measures the bridge.",
        licence="Apache-2.0",
        temporal="frame",
        plate_state="linear",
        version="1",
        preflight=False,
    )

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        del params
        for number in window.wanted:
            checkpoint("identity")
            window.plate(number)
            mask = window.mask(number)
            if mask is None:
                raise MissingFrames(f"frame {number} has no mask", frame=number)
            yield FrameResult(number, mask)
