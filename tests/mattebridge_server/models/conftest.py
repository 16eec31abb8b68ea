"""Windows over arrays, and small networks with random weights in the published layouts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mattebridge_server.models.base import Prompt, Window

Float32 = NDArray[np.float32]
GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"


class ArrayWindow(Window):
    """Frames from dictionaries; keys are digests of the pixels; ``read`` lists the plates fetched so far."""

    def __init__(
        self,
        plates: Mapping[int, Float32],
        masks: Mapping[int, Float32 | None],
        wanted: tuple[int, ...] | None = None,
        prompts: tuple[Prompt, ...] = (),
    ) -> None:
        self.numbers = tuple(sorted(plates))
        self.wanted = self.numbers if wanted is None else wanted
        self.prompts = prompts
        self.read: list[int] = []
        self._plates, self._masks = plates, masks

    def plate(self, number: int) -> Float32:
        self.read.append(number)
        return self._plates[number]

    def mask(self, number: int) -> Float32 | None:
        return self._masks.get(number)

    def plate_key(self, number: int) -> str:
        return _digest(self._plates[number])

    def mask_key(self, number: int) -> str:
        return _digest(self._masks.get(number))


def _digest(pixels: Float32 | None) -> str:
    return "" if pixels is None else hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.fixture
def array_window() -> type[ArrayWindow]:
    return ArrayWindow


@pytest.fixture
def golden() -> Path:
    """A small random model in VideoMaMa's published layout, its inputs, and the alpha of the reference."""
    return GOLDEN


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small networks lose more to threads that wait for each other than they gain, above all on a busy machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


Shot = Callable[..., tuple[dict[int, Float32], dict[int, Float32]]]


@pytest.fixture
def moving_disc() -> Shot:
    """``moving_disc(count, size, start)``: noisy plates and soft disc masks by frame number."""

    def make(count: int, size: int = 32, start: int = 1001) -> tuple[dict[int, Float32], dict[int, Float32]]:
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        plates, masks = {}, {}
        for i in range(count):
            generator = np.random.default_rng(i)
            distance = np.hypot(rows - size / 2, columns - size / 3 - i * size / 100)
            mask = np.clip(size / 4 - distance + 0.5, 0, 1).astype(np.float32)
            noise = generator.random((size, size, 3), dtype=np.float32)
            plates[start + i] = (0.25 * noise + 0.6 * mask[..., None]).astype(np.float32)
            masks[start + i] = mask
        return plates, masks

    return make
