"""One object's way through a shot: which frames teach SAM2 what the object is, and how little has to be remembered.

SAM2 looks at memories of *conditioning* frames (those with a prompt) and of the frames tracked just before. The
library's session keeps everything it ever saw, 17.75 MB a frame; attention reads no more than

    conditioning frames   the nearest few on either side of the current frame (made when first needed)
    tracked frames        6 memories, and 15 object pointers of 1 kB
    everything else       nothing: frames, upsampled masks and older memories go at once

so that is what stays, and a shot of any length needs the same memory. Shot indices are used throughout, because the
library treats negative frame numbers as the end of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mattebridge_server.models.sam2.prompts import Clicks, Layer

NEAREST_CONDITIONING = 4
OBJECT = 1


@dataclass(frozen=True)
class Picture:
    """A frame as SAM2 sees it: ``pixels`` (3, S, S) normalised, and ``features``, computed once for all objects."""

    index: int
    pixels: Tensor
    features: dict[str, Any]


class Track:
    """One object in one direction of time. ``see`` gives the picture of a shot index, ``mask_of`` its mask (S, S)."""

    def __init__(
        self, model: Any, layer: Layer, see: Callable[[int], Picture], mask_of: Callable[[int], Tensor]
    ) -> None:
        from transformers import Sam2VideoInferenceSession

        self.layer = layer
        self._model, self._see, self._mask_of = model, see, mask_of
        self._session: Any = Sam2VideoInferenceSession(inference_device=model.device, dtype=model.dtype)
        self._session.obj_id_to_idx(OBJECT)
        self._outputs = self._session.output_dict_per_obj[0]

    def step(self, index: int, *, reverse: bool, own_answer: bool = False) -> Tensor:
        """Mask logits (s, s) float32 on the host for one frame; frames are to be taken in order of time.

        A frame with clicks gives what SAM2 makes of them. One with a mask gives that mask as logits of +-10, or, with
        ``own_answer``, what the network itself sees there, its memory of the mask included.
        """
        self._condition(index)
        picture = self._see(index)
        if index in self.layer.masks and own_answer:
            logits = self._answer(picture, reverse)
        else:
            logits = self._forward(picture, reverse)
        self._forget(index, reverse)
        return logits[0, 0].float().cpu()

    def retained_bytes(self) -> int:
        """Bytes of all tensors that the session holds."""
        seen: dict[int, int] = {}
        _add_storages(vars(self._session), seen)
        return sum(seen.values())

    def _condition(self, index: int) -> None:
        """Let SAM2 look at the prompted frames nearest to ``index`` that it has not seen yet."""
        wanted = nearest(self.layer.prompted, index, NEAREST_CONDITIONING)
        held = self._outputs["cond_frame_outputs"]
        for gone in held.keys() - set(wanted):
            del held[gone]
        for prompt in wanted:
            if prompt in held:
                continue
            clicks = self.layer.clicks.get(prompt)
            if clicks is not None:
                self._session.add_point_inputs(0, prompt, self._points(clicks))
            else:
                self._session.add_mask_inputs(0, prompt, self._mask_of(prompt)[None, None])
            self._session.obj_with_new_inputs = [OBJECT]
            self._forward(self._see(prompt), reverse=False)
            self._session.remove_point_inputs(0, prompt)
            self._session.remove_mask_inputs(0, prompt)
            held[prompt].pop("high_res_masks", None)
        self._outputs["cond_frame_outputs"] = dict(sorted(held.items()))

    def _points(self, clicks: Clicks) -> dict[str, Tensor]:
        side = float(self._model.image_size)
        coordinates = torch.tensor(clicks.coordinates, dtype=self._model.dtype) * side
        return {
            "point_coords": coordinates[None, None],  # [1, 1, P, 2]
            "point_labels": torch.tensor(clicks.labels, dtype=torch.int32)[None, None],  # [1, 1, P]
        }

    def _forward(self, picture: Picture, reverse: bool) -> Tensor:
        self._offer(picture)
        output = self._model(
            inference_session=self._session, frame_idx=picture.index, frame=picture.pixels, reverse=reverse
        )
        self._session.processed_frames.clear()
        logits: Tensor = output.pred_masks
        return logits

    def _answer(self, picture: Picture, reverse: bool) -> Tensor:
        """As `_forward`, but on a frame with a mask, where the model's own forward would hand the mask back."""
        self._offer(picture)
        self._session.add_new_frame(picture.pixels, picture.index)
        with torch.inference_mode():
            output = self._model._run_single_frame_inference(
                inference_session=self._session,
                frame_idx=picture.index,
                obj_idx=0,
                batch_size=1,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                reverse=reverse,
                streaming=True,
            )
        self._session.processed_frames.clear()
        logits: Tensor = output["pred_masks"]
        return logits

    def _offer(self, picture: Picture) -> None:
        self._session.cache.clear_all()
        self._session.cache.cache_vision_features(picture.index, picture.features)

    def _forget(self, index: int, reverse: bool) -> None:
        self._session.cache.clear_all()
        self._session.frames_tracked_per_obj[0].clear()
        memories = int(self._model.num_maskmem) - 1
        pointers = int(self._model.config.max_object_pointers_in_encoder) - 1
        tracked = self._outputs["non_cond_frame_outputs"]
        for other in list(tracked):
            age = (other - index if reverse else index - other) + 1  # as the next frame will see it
            tracked[other].pop("high_res_masks", None)
            tracked[other].pop("pred_masks", None)
            if age > memories:
                tracked[other].pop("maskmem_features", None)
                tracked[other].pop("maskmem_pos_enc", None)
            if age > pointers:
                del tracked[other]


def nearest(prompted: Sequence[int], index: int, count: int) -> tuple[int, ...]:
    """At most ``count`` prompted frames around ``index``, ascending: half on either side where both sides have them."""
    before = [i for i in prompted if i <= index]
    after = [i for i in prompted if i > index]
    half = count // 2
    take_after = min(len(after), max(half, count - len(before)))
    take_before = min(len(before), count - take_after)
    return tuple(before[len(before) - take_before :] + after[:take_after])


def _add_storages(held: object, seen: dict[int, int]) -> None:
    if isinstance(held, torch.Tensor):
        storage = held.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    elif isinstance(held, dict):
        for value in held.values():
            _add_storages(value, seen)
    elif isinstance(held, (list, tuple)):
        for value in held:
            _add_storages(value, seen)
    elif type(held).__name__ == "Sam2VideoInferenceCache":
        _add_storages(vars(held), seen)
