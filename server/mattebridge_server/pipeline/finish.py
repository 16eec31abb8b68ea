"""From a model's alpha to files: restore, solve in linear light, core and garbage, foreground, composite, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattebridge.planes import SUFFIX as PLANES_SUFFIX

from ..matting.foreground import straight_foreground
from ..matting.linear_light import solve_linear
from ..matting.restore import Placement, restore
from ..media import place, write_alpha, write_planes, write_rgb
from ..model_names import CLEAN_PLATE
from ..models.base import FrameResult, Model, ModelCard
from .background import behind
from .beside import Filler
from .colour import config_label, is_scene_linear
from .inputs import ShotInputs
from .outputs import FILL_ATTRIBUTE, KEY_ATTRIBUTE, SHOT_ATTRIBUTE, Outputs, role_key
from .plan import ShotPlan
from .planner import Shot
from .prepare import StillWindow
from .region import paste
from .store import FrameStore
from .timing import Stages
from .tracking import MAIN_LAYER

Float32 = NDArray[np.float32]
Attributes = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Finished:
    """One frame's results at plate resolution. ``alpha`` (H, W); ``layers`` by name; colours (H, W, 3) scene-linear."""

    frame: int
    alpha: Float32
    layers: Mapping[str, Float32]
    colours: Mapping[str, Float32]


def solid_and_empty(alpha: Float32, core: Float32 | None, garbage: Float32 | None) -> Float32:
    """``core`` forces 1 and ``garbage`` forces 0, both soft, garbage last; (H, W) float32 in 0..1."""
    if core is not None:
        alpha = alpha + core * (1.0 - alpha)
    if garbage is not None:
        alpha = alpha * (1.0 - garbage)
    return np.clip(alpha, 0.0, 1.0)


class Finisher:
    """Turns results into files for one job. Stateless between frames, so that any thread may finish any frame."""

    def __init__(
        self,
        shot: Shot,
        card: ModelCard,
        inputs: ShotInputs,
        store: FrameStore,
        stages: Stages,
        about: Attributes,
        filler: Filler,
    ) -> None:
        self._shot, self._card, self._inputs, self._store = shot, card, inputs, store
        self._stages, self._about = stages, dict(about)
        self._filler = None if CLEAN_PLATE in card.outputs else filler  # None: the job's own model fills
        self._linear = is_scene_linear(shot.config, shot.plan.plate_space)
        self._outputs: Outputs | None = None

    def send_to(self, outputs: Outputs) -> None:
        """Where results go; known once it is clear which of them are there already."""
        self._outputs = outputs

    def finish(self, result: FrameResult) -> Finished:
        """Everything between the model and the disk."""
        frame = result.number
        core, garbage = self._store.coverage("core", frame), self._store.coverage("garbage", frame)
        large = {name: self._at_plate(frame, layer) for name, layer in result.layers.items()}
        alpha, large = self._with_given(frame, self._at_plate(frame, result.alpha), large)
        alpha = solid_and_empty(alpha, core, garbage)
        layers = {name: solid_and_empty(layer, None, garbage) for name, layer in large.items()}
        return Finished(frame, alpha, layers, self._colours(frame, alpha, result))

    def write(self, finished: Finished, key: str) -> list[tuple[str, str]]:
        """Write one frame; role and path of each file. Every file is whole under its name, or not there."""
        assert self._outputs is not None
        written = []
        header, grid = self._store.header(finished.frame), self._store.reference.data_window
        for role in self._inputs.results:
            path = str(self._outputs.path(role, finished.frame))
            about = {**self._about, KEY_ATTRIBUTE: role_key(key, role, self.extra(role, finished.frame))}
            if role == "cleanplate" and self._filler is not None:
                filler = self._filler.model()
                about |= {FILL_ATTRIBUTE: filler.digest(), "fillLicence": filler.card.licence}
            with self._stages.measure("write"):
                if path.endswith(PLANES_SUFFIX):  # has no room for a key, so it is never found fresh
                    image = finished.alpha if role == "alpha" else finished.colours[role]
                    write_planes(path, place(image, grid, header.data_window), frame=finished.frame)
                elif role == "alpha":
                    others = {name: layer for name, layer in finished.layers.items() if name != MAIN_LAYER}
                    named = {MAIN_LAYER: finished.alpha, **others}
                    layers = {name: place(layer, grid, header.data_window) for name, layer in named.items()}
                    write_alpha(path, layers, like=header, frame=finished.frame, attributes=about)
                else:
                    colour = place(finished.colours[role], grid, header.data_window)
                    write_rgb(path, colour, like=header, frame=finished.frame, attributes=about)
            written.append((role, path))
        return written

    def extra(self, role: str, frame: int) -> str:
        """What a role's pixels hang on besides the frame's key."""
        if role == "comp":
            return self._store.digest("background", frame)
        return self._filler.model().digest() if role == "cleanplate" and self._filler is not None else ""

    # -- stages ------------------------------------------------------------------------------------------------

    def _with_given(self, frame: int, alpha: Float32, layers: dict[str, Float32]) -> tuple[Float32, dict[str, Float32]]:
        """A tracker's answer for a frame that came with a mask is that mask, not what the canvas left of it."""
        if self._card.temporal != "shot" or "mask" not in self._card.outputs:
            return alpha, layers
        given = self._store.coverage("mask", frame)
        corrected = any(prompt.frame == frame and prompt.layer == MAIN_LAYER for prompt in self._shot.plan.prompts)
        if given is None or corrected or (layers and MAIN_LAYER not in layers):
            return alpha, layers
        if not layers:
            return given, layers
        layers = {**layers, MAIN_LAYER: given}
        return np.maximum.reduce(list(layers.values())), layers

    def _at_plate(self, frame: int, alpha: Float32) -> Float32:
        """A model's alpha on the plate's grid; a linear model's already is."""
        region = self._shot.plan.region
        if region is None:
            return alpha
        plate = self._store.plate(frame).pixels
        x, y = region.offsets[self._inputs.index(frame)]
        if "alpha" not in self._card.outputs:  # a track is a hard mask: nothing in the plate is to soften it
            size, empty = (plate.shape[1], plate.shape[0]), np.zeros(plate.shape[:2], np.float32)
            return paste(alpha, region, self._inputs.index(frame), size, empty)
        light = self._shot.transform.light(plate)
        with self._stages.measure("restore"):
            guide, mask = self._shot.transform.forward(light), self._store.coverage("mask", frame)
            large = restore(alpha, guide, mask, Placement(x, y, region.width, region.height))
        if not self._shot.plan.params.get("linear_light", True):
            return large
        with self._stages.measure("solve"):
            return solve_linear(light, large, self._shot.transform)

    def _colours(self, frame: int, alpha: Float32, result: FrameResult) -> dict[str, Float32]:
        roles = set(self._inputs.results)
        colours: dict[str, Float32] = {}
        if roles - {"alpha"}:
            alpha = alpha.astype(np.float16).astype(np.float32)  # colours go with the alpha that is on disk
        if roles & {"fgr", "comp"}:
            with self._stages.measure("foreground"):
                colours["fgr"] = self._foreground(self._store.plate(frame).pixels, alpha)
        if "comp" in roles:
            colours["comp"] = self._composite(frame, alpha, colours["fgr"])
        if "cleanplate" in roles:
            colours["cleanplate"] = self._clean_plate(frame, alpha, result)
        return colours

    def _foreground(self, plate: Float32, alpha: Float32) -> Float32:
        """Straight colour in the plate's own space, unmixed in linear light; solid pixels are the plate's."""
        if self._linear:
            return straight_foreground(plate, alpha)
        unmixed = self._of_light(straight_foreground(self._light(plate), alpha))
        return np.where(alpha[..., None] >= 1.0, plate, unmixed)

    def _clean_plate(self, frame: int, alpha: Float32, result: FrameResult) -> Float32:
        """The plate with the subject filled in, in the plate's own space; what was not filled is the plate's."""
        plate = self._store.plate(frame).pixels
        filled = result
        if self._filler is not None:
            with self._stages.measure("cleanplate"):
                filled = self._filler.fill(StillWindow(frame, self._light(plate), alpha))
        assert filled.foreground is not None
        return np.where(filled.alpha[..., None] > 0, self._of_light(filled.foreground), plate)

    def _composite(self, frame: int, alpha: Float32, foreground: Float32) -> Float32:
        """Foreground over background in light, in the plate's space, display window on display window."""
        background, reference = self._store.background(frame), self._store.reference
        pixels = behind(background, reference, self._shot.config, self._shot.plan.plate_space)
        sky = place(self._light(pixels), background.header.data_window, reference.data_window)
        cover = alpha[..., None]
        mixed = self._of_light(self._light(foreground) * cover + sky * (1.0 - cover))
        return np.where(cover >= 1.0, foreground, mixed)

    def _light(self, plate: Float32) -> Float32:
        """The plate's space as light that adds up; itself where it is scene-linear already."""
        return plate if self._linear else self._shot.transform.light(plate)

    def _of_light(self, light: Float32) -> Float32:
        return light if self._linear else self._shot.transform.from_rec709.apply(light)


def about_job(shot: Shot, card: ModelCard, tracker: Model | None, profile: str, version: str) -> dict[str, str | float]:
    """What every result says about itself in its header (besides its key); ``tracker`` made masks for the job."""
    plan = shot.plan
    masks = {} if tracker is None else {"maskModel": tracker.digest(), "maskLicence": tracker.card.licence}
    return {
        **masks,
        "version": version,
        "model": plan.model_digest,
        "licence": card.licence,
        "plan": plan.digest(),
        SHOT_ATTRIBUTE: plan.frames,
        "params": ", ".join(f"{name}={value}" for name, value in plan.params.items()),
        "plateSpace": plan.plate_space,
        "config": config_label(plan.config, plan.config_digest),
        "look": plan.look,
        "gainStops": plan.gain_stops,
        **_canvas(plan, card),
        "precision": plan.precision if plan.precision in card.precisions else "",
        "profile": profile,
    }


def _canvas(plan: ShotPlan, card: ModelCard) -> dict[str, str | float]:
    """The canvas that a network saw, and the preset that it comes from: the card's first where none was named."""
    if plan.region is None:
        return {}
    width, height = plan.region.canvas
    return {"preset": plan.preset or next((one.name for one in card.presets), ""), "canvas": f"{width}x{height}"}
