"""LaMa: the plate behind the subject, frame by frame.

The network is a TorchScript file, which is a program, so nothing of it is read before its SHA-256 is that of the one
file whose origin is known. It was trained on display-encoded pictures of 256 px and is good to about 2K; a linear
plate is scaled so that its highlights survive, encoded, filled and decoded again. Outside the dilated mask the result
is the plate, bit for bit. Sources: arXiv 2109.07161; the published ``big-lama.pt``, Apache-2.0.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mattebridge.errors import EngineFailed, InputError
from mattebridge_server.models import folders
from mattebridge_server.models.base import (
    DRIVER_BYTES,
    Canvas,
    Checkpoint,
    Device,
    FrameResult,
    LoadSpec,
    Model,
    ModelCard,
    Param,
    ParamValue,
    Preset,
    Weights,
    Window,
)
from mattebridge_server.models.execution import (
    memory_errors,
    release_device_memory,
    reproducible,
    require_torch,
    torch_device,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Mask = NDArray[np.bool_]

GIB = 2**30
SHA256 = "344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9"
WEIGHTS_BYTES = 205_669_692
MULTIPLE = 8
MAX_SIDE = 2048
BYTES_PER_PIXEL = 560
"""Live activations per canvas pixel in float32: 518 were counted in the network's outermost layers alone."""
SHOULDER = 0.8
"""Where in the picture's range the shoulder begins; `KNEE` is the light there."""


class LaMa(Model):
    """Fills what the mask covers. ``FrameResult.foreground`` is the clean plate, ``alpha`` the area that was filled.

    ``sha256`` names the one file that may be run; another is for tests.
    """

    card: ClassVar[ModelCard] = ModelCard(
        name="lama",
        title="LaMa",
        summary="Clean plate: fills the area of the mask from its surroundings, in the plate's own light.",
        licence="Apache-2.0",
        temporal="frame",
        plate_state="linear",
        version="2",
        params=(
            Param("grow", 12, "How far the filled area reaches beyond the mask.", label="Grow (px)", low=0, high=200),
        ),
        weights=(Weights("lama/big-lama.pt", "signature-ai/big-lama", "Apache-2.0", WEIGHTS_BYTES, sha256=SHA256),),
        presets=(Preset("full", MAX_SIDE * MAX_SIDE // 2, int(2 * GIB)),),
        precisions=("fp32",),
        needs_mask="every",
        outputs=("clean_plate",),
    )
    driver_bytes: ClassVar[int] = DRIVER_BYTES

    def __init__(self, *, sha256: str = SHA256) -> None:
        self._sha256 = sha256
        self._network: Any = None
        self._device = Device()
        self._place: Any = None

    def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
        """Weights, activations of one frame, and what CUDA holds."""
        del frames, precision
        return DRIVER_BYTES + WEIGHTS_BYTES + min(canvas.pixels, MAX_SIDE * MAX_SIDE) * BYTES_PER_PIXEL

    def load(self, spec: LoadSpec) -> None:
        """Check the file's digest, then read it. Raises `ModelNotInstalled`, `InputError`, `OutOfMemory`."""
        path = next(iter(folders.require(self.card, spec.folders).values()))
        require_torch(self.card.title)
        check_digest(path, self._sha256)
        import torch

        self._place = torch_device(spec.device)
        with memory_errors("loading LaMa"):
            network = torch.jit.load(str(path), map_location=self._place)  # type: ignore[no-untyped-call]
        self._network, self._device = network.eval(), spec.device

    def unload(self) -> None:
        """Give the device's memory back."""
        if self._network is not None:
            self._network = None
            release_device_memory()

    def digest(self) -> str:
        """The pinned digest is the weights' digest: no other file is ever loaded."""
        return f"{super().digest()}/{self._sha256[:32]}"

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        """Each wanted frame on its own."""
        if self._network is None:
            raise EngineFailed("LaMa was run before it was loaded")
        grow = int(params.get("grow", self.card.params[0].default))
        for number in window.wanted:
            checkpoint("fill")
            plate, mask = window.plate(number), window.mask(number)
            area = np.zeros(plate.shape[:2], bool) if mask is None else grown(mask > 0, grow)
            with reproducible(self._device), memory_errors("LaMa"):
                filled = fill_linear(plate, area, self._fill)
            yield FrameResult(number, area.astype(np.float32), foreground=filled)

    def _fill(self, picture: Float32, area: Mask) -> Float32:
        """The network itself: picture (H, W, 3) display-encoded 0..1 and area (H, W), sides multiples of 8."""
        import torch

        image = torch.from_numpy(picture).permute(2, 0, 1)[None].to(self._place)
        mask = torch.from_numpy(area.astype(np.float32))[None, None].to(self._place)
        with torch.inference_mode():
            filled = self._network(image, mask)
        result: Float32 = filled[0].permute(1, 2, 0).float().cpu().numpy()
        return result


def check_digest(path: Path, sha256: str) -> None:
    """Raises `InputError` unless the file's SHA-256 is ``sha256``. Reads the file as bytes and nothing more."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{path.name} has SHA-256 {found[:12]}…, not {sha256[:12]}…; it was not opened",
            remedy="Remove it and run `mattebridge models pull lama`.",
            file=str(path),
        )


def grown(area: Mask, radius: int) -> Mask:
    """The area and every pixel within ``radius`` of it."""
    import cv2

    if radius <= 0 or not area.any():
        return area
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(area.astype(np.uint8), kernel) > 0)


def fill_linear(plate: Float32, area: Mask, fill: Any) -> Float32:
    """Scene-linear plate (H, W, 3) with ``area`` (H, W) filled; every pixel outside is the plate's, bit for bit.

    ``fill(picture, area)`` is a network for display-encoded pictures whose sides are multiples of 8. Large plates are
    filled at 2K and enlarged: only what is filled loses detail.
    """
    import cv2

    if not area.any():
        return plate.copy()
    height, width = area.shape
    surround = plate[~area] if not area.all() else plate.reshape(-1, 3)
    tone = tone_for(surround)
    scale = min(1.0, MAX_SIDE / max(height, width))
    small, hole = tone.encode(plate), area
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.float32)
        # Whatever holds the least of the area, as the picture itself is made small: nothing of the subject shows.
        hole = cv2.resize(area.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    rows, columns = small.shape[:2]
    margins = (0, -rows % MULTIPLE, 0, -columns % MULTIPLE)
    padded = cv2.copyMakeBorder(small, *margins, cv2.BORDER_REFLECT_101)
    padded_hole = cv2.copyMakeBorder(hole.astype(np.uint8), *margins, cv2.BORDER_REFLECT_101) > 0
    filled = np.asarray(fill(np.ascontiguousarray(padded, np.float32), padded_hole)[:rows, :columns], np.float32)
    if scale < 1.0:
        filled = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    result = plate.copy()
    result[area] = tone.decode(filled[area])
    return result


@dataclass(frozen=True)
class Tone:
    """How a linear plate becomes a picture in 0..1 and back.

    sRGB's curve after ``exposure``; from ``KNEE`` on, ``stops`` of light share the rest of the range evenly, so that
    nothing clips and nothing that a network paints can come out brighter than ``peak``. No stops: the plain curve.
    """

    exposure: float = 1.0
    stops: float = 0.0

    @property
    def peak(self) -> float:
        """The brightest light that a picture can hold."""
        return (KNEE * 2.0**self.stops if self.stops else 1.0) / self.exposure

    def encode(self, linear: Float32) -> Float32:
        """Scene-linear, any shape, to 0..1 float32."""
        light = np.maximum(np.nan_to_num(linear, nan=0.0, posinf=65504.0, neginf=0.0), 0.0) * np.float32(self.exposure)
        plain = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
        if not self.stops:
            return np.asarray(np.minimum(plain, 1.0), np.float32)
        above = SHOULDER + (1.0 - SHOULDER) * np.log2(np.maximum(light / KNEE, 1.0)) / self.stops
        return np.asarray(np.minimum(np.where(light <= KNEE, plain, above), 1.0), np.float32)

    def decode(self, picture: Float32) -> Float32:
        """The inverse of `encode`; values beyond 0..1 are clipped."""
        value = np.clip(picture, 0.0, 1.0)
        light = _srgb_to_linear(value)
        if self.stops:
            above = KNEE * np.exp2((value - SHOULDER) / (1.0 - SHOULDER) * self.stops)
            light = np.where(value <= SHOULDER, light, above)
        return np.asarray(light / np.float32(self.exposure), np.float32)


def tone_for(pixels: Float32) -> Tone:
    """The tone for a fill among ``pixels`` (N, 3), scene-linear.

    Where they stay below 1, the plain curve. Where they do not, exposure takes half of the excess, in stops, so that
    ordinary pixels stay near what the network was trained on, and the shoulder holds the rest up to the very peak.
    """
    finite = pixels[np.isfinite(pixels)]
    peak = float(finite.max()) if finite.size else 0.0
    if peak <= 1.0:
        return Tone()
    exposure = peak**-0.5
    return Tone(exposure, math.log2(peak * exposure / KNEE))


def _srgb_to_linear(value: Any) -> Any:
    return np.where(value <= 0.04045, value / 12.92, np.power((value + 0.055) / 1.055, 2.4))


KNEE = float(_srgb_to_linear(SHOULDER))
