"""VideoMaMa behind the model interface. Importing this costs nothing: torch and diffusers come with `load`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

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
from mattebridge_server.models.noise import DEFAULT_SEED
from mattebridge_server.models.videomama.card import CARD, memory_need

if TYPE_CHECKING:
    from mattebridge_server.models.videomama.latents import Counters, Memory
    from mattebridge_server.models.videomama.runner import WindowRunner

__all__ = ["VideoMaMa"]


class VideoMaMa(Model):
    """Coarse mask to alpha, one window of up to 16 frames at a time.

    ``latent_bytes`` caps the host memory for latents (0.15 MB a frame at the smallest preset, twice with the mask's),
    ``result_bytes`` that for whole windows (38 MB each there); both outlive jobs, windows and `unload`.
    """

    card: ClassVar[ModelCard] = CARD
    driver_bytes: ClassVar[int] = DRIVER_BYTES

    def __init__(self, *, latent_bytes: int = 512 * 2**20, result_bytes: int = 2**30) -> None:
        self._caps = (latent_bytes, result_bytes)
        self._memory: Memory | None = None
        self._runner: WindowRunner | None = None
        self._device = Device()
        self._digest = ""

    def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
        """Peak bytes of device memory, with the UNet parked off the device while decoding where that is needed."""
        return memory_need(canvas, frames, precision or self.card.precisions[0])

    def load(self, spec: LoadSpec) -> None:
        """Read both networks to the device. A load that fails leaves what was loaded before in service."""
        precision = settled_precision(self.card, spec)
        require_torch(self.card.title)
        from mattebridge_server.models.videomama.latents import Memory
        from mattebridge_server.models.videomama.runner import WindowRunner
        from mattebridge_server.models.videomama.weights import load_network

        device = torch_device(spec.device)
        with memory_errors("loading VideoMaMa"):
            network = load_network(spec.folders, device, torch_dtype(precision))
        self._memory = self._memory or Memory(*self._caps)
        self._device = spec.device
        self._digest = digest_of_model(self.card, spec.folders, precision)
        profile = f"{self._digest}/{spec.device.kind}/{spec.device.threads}"
        self._runner = WindowRunner(network, self._memory, spec, precision, profile)

    def identify(self, spec: LoadSpec) -> bool:
        """From the weight files alone."""
        self._digest = digest_of_model(self.card, spec.folders, settled_precision(self.card, spec))
        return True

    def unload(self) -> None:
        """Give the device's memory back; latents and window results stay, on the host."""
        self._runner = None
        if self._memory is not None:
            release_device_memory()

    def digest(self) -> str:
        """Code version, digest of the weight files, precision; only name and version before either is known."""
        return self._digest or super().digest()

    def counters(self) -> Counters:
        """Windows and latents computed and reused since the model was made."""
        from mattebridge_server.models.videomama.latents import Counters

        return self._memory.counters() if self._memory else Counters()

    def forget(self) -> None:
        """Empty the caches and give unused device memory back: where memory ran out, the next try starts from there."""
        if self._memory is not None:
            self._memory.clear()
            release_device_memory()

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        """The whole window is computed before its first frame is yielded."""
        if self._runner is None:
            raise EngineFailed("VideoMaMa was run before it was loaded")
        with reproducible(self._device):
            seed, compiled = int(params.get("seed", DEFAULT_SEED)), bool(params.get("compile", False))
            alphas = self._runner.run(window, seed, compiled, checkpoint)
        wanted = set(window.wanted)
        for number, alpha in zip(window.numbers, alphas, strict=True):
            if number in wanted:
                yield FrameResult(number, alpha)
