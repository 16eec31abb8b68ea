"""The frames of one window in the state that a model's card asks for: scene-linear plate, or a network's picture."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mattebridge_ocio.network import NetworkTransform

from ..models.base import Prompt, Window
from .plan import ShotPlan
from .region import cut
from .store import FrameStore

Float32 = NDArray[np.float32]


class LinearWindow(Window):
    """Plates at their own resolution in a scene-linear space; ``to_linear`` is None where they already are.

    ``salt`` names what ``to_linear`` does, for the keys."""

    def __init__(
        self,
        store: FrameStore,
        numbers: tuple[int, ...],
        wanted: tuple[int, ...],
        to_linear: Callable[[Float32], Float32] | None = None,
        prompts: tuple[Prompt, ...] = (),
        mask_role: str = "mask",
        salt: str = "",
    ) -> None:
        self.numbers, self.wanted, self.prompts = numbers, wanted, prompts
        self._store, self._to_linear, self._role, self._salt = store, to_linear, mask_role, salt

    def plate(self, number: int) -> Float32:
        pixels = self._store.plate(number).pixels
        return pixels if self._to_linear is None else self._to_linear(pixels)

    def mask(self, number: int) -> Float32 | None:
        return self._store.coverage(self._role, number)

    def plate_key(self, number: int) -> str:
        return f"{self._store.identity('plate', number)} {self._salt}"

    def mask_key(self, number: int) -> str:
        return f"{self._role} {self._store.identity(self._role, number)}"


class DisplayFrames:
    """Network pictures of a shot, made once per frame and kept while overlapping windows use them."""

    def __init__(self, store: FrameStore, plan: ShotPlan, shot: tuple[int, ...], transform: NetworkTransform) -> None:
        assert plan.region is not None
        self._store, self._transform, self.region = store, transform, plan.region
        self._index = {number: index for index, number in enumerate(shot)}
        self._keep = 2 * max(plan.length, 1)
        self._held: dict[str, OrderedDict[int, Float32]] = {}
        self._salt = repr((plan.look, plan.gain_stops, plan.plate_space, plan.config_digest, plan.context))

    def plate(self, number: int) -> Float32:
        return self._kept("plate", number)

    def mask(self, number: int, role: str = "mask") -> Float32 | None:
        return None if self._store.coverage(role, number) is None else self._kept(role, number)

    def key(self, role: str, number: int) -> str:
        """Digest of a network picture: its file, and everything that turns the file into the picture."""
        region = self.region
        where = (region.width, region.height, region.canvas, region.offsets[self._index[number]])
        text = f"{role} {self._store.identity(role, number)} {where} {self._salt if role == 'plate' else ''}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _kept(self, role: str, number: int) -> Float32:
        held = self._held.setdefault(role, OrderedDict())
        if number not in held:
            held[number] = self._made(role, number)
            while len(held) > self._keep:
                held.popitem(last=False)
        return held[number]

    def _made(self, role: str, number: int) -> Float32:
        if role == "plate":
            pixels = self._store.plate(number).pixels
            return self._transform.apply(cut(pixels, self.region, self._index[number]))
        coverage = self._store.coverage(role, number)
        assert coverage is not None
        return np.clip(cut(coverage, self.region, self._index[number]), 0.0, 1.0)


class DisplayWindow(Window):
    """Plates cut to the region of interest, scaled to the canvas and display-encoded."""

    def __init__(
        self,
        frames: DisplayFrames,
        numbers: tuple[int, ...],
        wanted: tuple[int, ...],
        prompts: tuple[Prompt, ...] = (),
        mask_role: str = "mask",
    ) -> None:
        self.numbers, self.wanted, self.prompts = numbers, wanted, prompts
        self._frames, self._role = frames, mask_role

    def plate(self, number: int) -> Float32:
        return self._frames.plate(number)

    def mask(self, number: int) -> Float32 | None:
        return self._frames.mask(number, self._role)

    def plate_key(self, number: int) -> str:
        return self._frames.key("plate", number)

    def mask_key(self, number: int) -> str:
        return self._frames.key(self._role, number)


class StillWindow(Window):
    """One frame that is in memory already: plate (H, W, 3) in any state and mask (H, W), both float32."""

    def __init__(self, number: int, plate: Float32, mask: Float32) -> None:
        self.numbers = self.wanted = (number,)
        self._plate, self._mask = plate, mask

    def plate(self, number: int) -> Float32:  # noqa: ARG002
        return self._plate

    def mask(self, number: int) -> Float32 | None:  # noqa: ARG002
        return self._mask

    def plate_key(self, number: int) -> str:
        return f"still {number}"

    def mask_key(self, number: int) -> str:
        return f"still {number}"
