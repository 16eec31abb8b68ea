"""SAM2 and SAM2-Matte behind the model interface. Importing this costs nothing: torch comes with `load`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mattebridge.errors import EngineFailed
from mattebridge_server.models.base import (
    DRIVER_BYTES,
    Canvas,
    Checkpoint,
    Device,
    FrameResult,
    LoadSpec,
    Model,
    ModelCard,
    ParamValue,
    Window,
)
from mattebridge_server.models.execution import (
    memory_errors,
    release_device_memory,
    reproducible,
    require_torch,
    settled_precision,
    torch_device,
    torch_dtype,
)
from mattebridge_server.models.folders import digest_of_model
from mattebridge_server.models.sam2.card import MATTE, TRACK, memory_need

__all__ = ["Sam2", "Sam2Matte"]


class Sam2(Model):
    """Prompts, or masks on some frames, to a hard mask on every frame of the shot.

    ``Window.mask`` is None on frames to be filled; frames that come with a mask keep it. ``Window.prompts`` are
    fractions of the frames that ``Window.plate`` gives.
    """

    card: ClassVar[ModelCard] = TRACK
    driver_bytes: ClassVar[int] = DRIVER_BYTES
    soft: ClassVar[bool] = False

    def __init__(self) -> None:
        self._model: Any = None
        self._device = Device()
        self._digest = ""

    def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
        """The same for any canvas and any number of frames."""
        return memory_need(canvas, frames, precision or "fp32")

    def load(self, spec: LoadSpec) -> None:
        """Read the network to the device. A load that fails leaves what was loaded before in service."""
        precision = settled_precision(self.card, spec)
        require_torch(self.card.title)
        from mattebridge_server.models.sam2.weights import load_model

        device = torch_device(spec.device)
        with memory_errors(f"loading {self.card.title}"):
            model = load_model(self.card, spec.folders, device, torch_dtype(precision))
        self._model, self._device = model, spec.device
        self._digest = digest_of_model(self.card, spec.folders, precision)

    def identify(self, spec: LoadSpec) -> bool:
        """From the weight files alone."""
        self._digest = digest_of_model(self.card, spec.folders, settled_precision(self.card, spec))
        return True

    def unload(self) -> None:
        """Give the device's memory back."""
        if self._model is not None:
            self._model = None
            release_device_memory()

    def digest(self) -> str:
        """Code version, digest of the weight files, precision; only name and version before either is known."""
        return self._digest or super().digest()

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        """Frames are tracked one by one as they are asked for; the global torch settings hold only while one is."""
        del params
        if self._model is None:
            raise EngineFailed(f"{self.card.title} was run before it was loaded")
        from mattebridge_server.models.sam2.tracker import ShotTracker

        results = ShotTracker(self._model, window, soft=self.soft, checkpoint=checkpoint).run()
        need = self.memory_need(Canvas(0, 0), 1, "")
        while True:
            with reproducible(self._device), memory_errors(self.card.title, need):
                result = next(results, None)
            if result is None:
                return
            yield result


class Sam2Matte(Sam2):
    """The same network with weights fine-tuned on mattes; its sigmoid, at its true resolution, is the alpha."""

    card: ClassVar[ModelCard] = MATTE
    soft: ClassVar[bool] = True
