"""A whole shot through SAM2: every object forward from its first prompt, and backward before it.

Results come in ascending order. Frames before an object's first prompt are tracked first, backward, and their logits
wait as half floats (0.13 MB each); nothing else grows with the shot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from mattebridge_server.models.base import Checkpoint, FrameResult, Window
from mattebridge_server.models.coverage import NOISE_FLOOR, binarise
from mattebridge_server.models.sam2.prompts import DEFAULT_LAYER, Layer, gather, union
from mattebridge_server.models.sam2.track import Picture, Track

MEAN = np.array((0.485, 0.456, 0.406), np.float32)
DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)
Float32 = NDArray[np.float32]


class ShotTracker:
    """Runs one window, which for SAM2 is the whole shot. ``soft`` gives alpha, else hard masks."""

    def __init__(self, model: Any, window: Window, *, soft: bool, checkpoint: Checkpoint) -> None:
        self._model, self._window, self._soft, self._checkpoint = model, window, soft, checkpoint
        self._side = int(model.image_size)
        self._picture: Picture | None = None
        self._empty = self._look_at_masks()
        self.layers = gather(window, self._empty)
        self.peak_bytes = 0

    def run(self) -> Iterator[FrameResult]:
        """One result per wanted frame, ascending. Frames that came with a mask keep it, where masks are the result."""
        wanted = set(self._window.wanted)
        last = max(i for i, number in enumerate(self._window.numbers) if number in wanted)
        earlier = self._backward()
        tracks = [Track(self._model, layer, self._see, self._mask_of) for layer in self.layers]
        for index, number in enumerate(self._window.numbers[: last + 1]):
            self._checkpoint("track")
            logits = {}
            for track in tracks:
                name, first = track.layer.name, track.layer.prompted[0]
                if self._is_given(track.layer, index):
                    continue
                if index < first:
                    logits[name] = torch.from_numpy(earlier[name].pop(index).astype(np.float32))
                else:
                    logits[name] = self._step(track, index, reverse=False)
            if number in wanted:
                yield self._result(number, logits)

    def _look_at_masks(self) -> dict[int, bool]:
        """Whether a mask is empty, for each shot index that has one: all are read, which takes long in a long shot."""
        empty: dict[int, bool] = {}
        for index, number in enumerate(self._window.numbers):
            self._checkpoint("masks")
            if (mask := self._window.mask(number)) is not None:
                empty[index] = not bool((mask > NOISE_FLOOR).any())
        return empty

    def _backward(self) -> dict[str, dict[int, NDArray[np.float16]]]:
        """Logits of each layer's frames before its first prompt, by shot index."""
        waiting: dict[str, dict[int, NDArray[np.float16]]] = {layer.name: {} for layer in self.layers}
        tracks = [Track(self._model, layer, self._see, self._mask_of) for layer in self.layers]
        for index in range(max(layer.prompted[0] for layer in self.layers) - 1, -1, -1):
            self._checkpoint("track")
            for track in tracks:
                if index < track.layer.prompted[0] and not self._is_given(track.layer, index):
                    logits = self._step(track, index, reverse=True)
                    waiting[track.layer.name][index] = logits.clamp(-32, 32).numpy().astype(np.float16)
        return waiting

    def _step(self, track: Track, index: int, *, reverse: bool) -> Tensor:
        logits = track.step(index, reverse=reverse, own_answer=self._soft)
        self.peak_bytes = max(self.peak_bytes, track.retained_bytes())
        return logits

    def _is_given(self, layer: Layer, index: int) -> bool:
        """Whether the frame's own mask is the answer, so that the network need not look at it."""
        if layer.name != DEFAULT_LAYER or index in layer.clicks or index not in self._empty:
            return False
        return self._empty[index] or not self._soft

    def _result(self, number: int, logits: dict[str, Tensor]) -> FrameResult:
        shape = self._window.plate(number).shape[:2]
        layers: dict[str, Float32] = {}
        for layer in self.layers:
            if layer.name in logits:
                layers[layer.name] = self._restore(logits[layer.name], shape)
            else:
                mask = self._window.mask(number)
                assert mask is not None
                layers[layer.name] = np.asarray(mask, np.float32)
        only_default = tuple(layers) == (DEFAULT_LAYER,)
        return FrameResult(number, union(layers), {} if only_default else layers)

    def _restore(self, logits: Tensor, shape: tuple[int, ...]) -> Float32:
        """Logits (s, s) to the frame's grid: alpha is enlarged as alpha, a mask as logits, which keeps its edge."""
        values = torch.sigmoid(logits) if self._soft else logits
        large = nnf.interpolate(values[None, None], size=tuple(shape), mode="bilinear", align_corners=False)[0, 0]
        result: Float32 = (large if self._soft else (large > 0).float()).numpy()
        return result

    @torch.inference_mode()
    def _see(self, index: int) -> Picture:
        if self._picture is not None and self._picture.index == index:
            return self._picture
        plate = self._window.plate(self._window.numbers[index])
        square = (_resize(plate, self._side) - MEAN) / DEVIATION
        pixels = torch.from_numpy(square).permute(2, 0, 1).to(self._model.device, self._model.dtype)
        output = self._model.get_image_features(pixels[None], return_dict=True)
        features = {"vision_feats": output.fpn_hidden_states, "vision_pos_embeds": output.fpn_position_encoding}
        self._picture = Picture(index, pixels, features)
        return self._picture

    def _mask_of(self, index: int) -> Tensor:
        mask = self._window.mask(self._window.numbers[index])
        assert mask is not None
        square = cv2.resize(binarise(mask), (self._side, self._side), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy((square >= 0.5).astype(np.float32))


def _resize(plate: Float32, side: int) -> Float32:
    """(H, W, 3) to (side, side, 3); averaged where it shrinks, so that fine texture does not alias."""
    shrinks = plate.shape[0] * plate.shape[1] > side * side
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(plate, np.float32), (side, side), interpolation=method))
