"""The frames of one window in the state that a model's card asks for: scene-linear plate, or a network's picture."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mattebridge_ocio.network import NetworkTransform
from mattebridge_ocio.processors import Transform

from ..models.base import Prompt, Window
from .plan import ShotPlan
from .region import cut
from .store import FrameStore

Float32 = NDArray[np.float32]


class LinearWindow(Window):
    """Plates at their own resolution in a scene-linear space; ``to_linear`` is None where they already are."""

    def __init__(
        self,
        store: FrameStore,
        numbers: tuple[int, ...],
        wanted: tuple[int, ...],
        to_linear: Transform | None = None,
        prompts: tuple[Prompt, ...] = (),
    ) -> None:
        self.numbers, self.wanted, self.prompts = numbers, wanted, prompts
        self._store, self._to_linear = store, to_linear

    def plate(self, number: int) -> Float32:
        pixels = self._store.plate(number).pixels
        return pixels if self._to_linear is None else self._to_linear.apply(pixels)

    def mask(self, number: int) -> Float32 | None:
        return self._store.coverage("mask", number)

    def plate_key(self, number: int) -> str:
        return self._store.digest("plate", number)

    def mask_key(self, number: int) -> str:
        return self._store.digest("mask", number)


class DisplayFrames:
    """Network pictures of a shot, made once per frame and kept while overlapping windows use them."""

    def __init__(self, store: FrameStore, plan: ShotPlan, shot: tuple[int, ...], transform: NetworkTransform) -> None:
        assert plan.region is not None
        self._store, self._transform, self.region = store, transform, plan.region
        self._index = {number: index for index, number in enumerate(shot)}
        self._keep = 2 * max(plan.length, 1)
        self._plates: OrderedDict[int, Float32] = OrderedDict()
        self._masks: OrderedDict[int, Float32] = OrderedDict()
        self._salt = repr((plan.look, plan.gain_stops, plan.plate_space, plan.config_digest, plan.context))

    def plate(self, number: int) -> Float32:
        return self._kept(self._plates, number, self._make_plate)

    def mask(self, number: int) -> Float32 | None:
        if self._store.coverage("mask", number) is None:
            return None
        return self._kept(self._masks, number, self._make_mask)

    def key(self, role: str, number: int) -> str:
        """Digest of a network picture: its file, and everything that turns the file into the picture."""
        region = self.region
        where = (region.width, region.height, region.canvas, region.offsets[self._index[number]])
        text = f"{self._store.digest(role, number)} {where} {self._salt if role == 'plate' else ''}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _kept(self, held: OrderedDict[int, Float32], number: int, make: Callable[[int], Float32]) -> Float32:
        if number not in held:
            held[number] = make(number)
            while len(held) > self._keep:
                held.popitem(last=False)
        return held[number]

    def _make_plate(self, number: int) -> Float32:
        pixels = self._store.plate(number).pixels
        return self._transform.apply(cut(pixels, self.region, self._index[number]))

    def _make_mask(self, number: int) -> Float32:
        coverage = self._store.coverage("mask", number)
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
    ) -> None:
        self.numbers, self.wanted, self.prompts = numbers, wanted, prompts
        self._frames = frames

    def plate(self, number: int) -> Float32:
        return self._frames.plate(number)

    def mask(self, number: int) -> Float32 | None:
        return self._frames.mask(number)

    def plate_key(self, number: int) -> str:
        return self._frames.key("plate", number)

    def mask_key(self, number: int) -> str:
        return self._frames.key("mask", number)
