"""Makes a shot's plan: looks at all masks and a few plates, and decides everything that must hold for every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import msgspec

from mattebridge.errors import InputError, MissingFrames, PlanError
from mattebridge.frames import FrameSet
from mattebridge.messages import JobRequest
from mattebridge_ocio.chromaticities import Chromaticities
from mattebridge_ocio.config import ColourConfig
from mattebridge_ocio.network import NetworkTransform
from mattebridge_ocio.plate_space import PlateHints, Resolution

from ..media import (
    FrameHeader,
    Window,
    choose_mask_channel,
    read_header,
    read_plate,
    shrink,
    usable,
)
from ..models.base import ModelCard
from ..site import Site
from . import colour
from .background import require_background
from .control import Control
from .inputs import ShotInputs, exists, holes, missing_frames, require_files
from .params import resolve_params, resolve_preset
from .plan import ShotPlan, sample_indices
from .region import Box, Region, plan_region, subject_box
from .store import MaskRule, made_rule


@dataclass(frozen=True)
class Shot:
    """A shot that can be run: its plan, colour and a reference header. ``told`` are things to say about it."""

    plan: ShotPlan
    config: ColourConfig
    transform: NetworkTransform
    header: FrameHeader
    told: tuple[str, ...] = ()


def plan_shot(
    inputs: ShotInputs, request: JobRequest, card: ModelCard, model_digest: str, site: Site, control: Control
) -> Shot:
    """Make the plan of a shot. Raises the typed error of whatever is missing or cannot be read."""
    header = reference_header(inputs, request.plate_layer)
    config, resolution = shot_colour(header, request, site)
    behind = require_background(inputs, header, config, resolution.space)
    resolve_preset(card, request.preset)
    channels, told = _channels(inputs, request, card)
    plan = ShotPlan(
        frames=str(FrameSet(inputs.shot)),
        model=card.name,
        model_digest=model_digest,
        temporal=card.temporal,
        length=card.window,
        stride=card.stride,
        radius=card.radius,
        precision=request.precision,
        preset=request.preset,
        params=resolve_params(card, request.params),
        plate=_flat(header.data_window),
        display=_flat(header.display_window),
        pixel_aspect=header.pixel_aspect,
        plate_space=resolution.space,
        config=config.name,
        config_digest=config.digest,
        context={name: value for name, value in request.context.items() if name in config.context},
        look=request.look if card.plate_state == "display" else "",
        mask_channel=channels["mask"],
        core_channel=channels["core"],
        garbage_channel=channels["garbage"],
        mask_invert=request.mask_invert,
        mask_fit=request.mask_fit,
        prompts=request.prompts if card.temporal == "shot" else (),
    )
    if card.plate_state == "display":
        plan = _with_network_view(plan, inputs, request, card, config, header, control)
    transform = colour.transform(config, plan.plate_space, plan.look or "filmic", plan.gain_stops)
    absent = holes(inputs) if not (request.frames or request.shot) else ()
    gap = (f"the plate has no frame {FrameSet(absent)}, and the others are matted without it",) if absent else ()
    warnings = (*gap, *resolution.warnings, *filter(None, (behind,)), *told, *plan.notes)
    return Shot(plan, config, transform, header, warnings)


def shot_colour(header: FrameHeader, request: JobRequest, site: Site) -> tuple[ColourConfig, Resolution]:
    """The job's config and the plate's space in it. Raises `ColourSpaceUnknown`, `ColourConfigMismatch` and others."""
    show = site.show(request.show)
    config = colour.load_config(request, show.config)
    return config, colour.plate_space(config, _hints(header), request, show.plate_space)


def obey_plan(plan: ShotPlan, inputs: ShotInputs, request: JobRequest, card: ModelCard, model_digest: str) -> Shot:
    """A shot under a frozen plan. Raises `PlanError` where plan, model, config and plates do not belong together."""
    if plan.model != card.name or plan.model_digest != model_digest:
        raise PlanError(
            f"the plan was made for {plan.model} ({plan.model_digest}), this engine has {card.name} ({model_digest})"
        )
    header = reference_header(inputs, request.plate_layer)
    if (_flat(header.data_window), _flat(header.display_window)) != (plan.plate, plan.display):
        raise PlanError(
            f"the plan was made for a data window {plan.plate}, the plate has {header.data_window}", file=header.path
        )
    if plan.region is not None and len(plan.region.offsets) != len(inputs.shot):
        raise PlanError("the plan's region does not cover the plan's range")
    config = colour.load_config(as_planned(request, plan))
    behind = require_background(inputs, header, config, plan.plate_space)
    transform = colour.transform(config, plan.plate_space, plan.look or "filmic", plan.gain_stops)
    return Shot(plan, config, transform, header, tuple(filter(None, (behind,))))


def as_planned(request: JobRequest, plan: ShotPlan) -> JobRequest:
    """The request with the plan's colour: the plan decides, but where the config lies is the request's word."""
    return replace(
        request,
        config=request.config or plan.config,
        config_digest=plan.config_digest,
        context=dict(plan.context),
        plate_space=plan.plate_space,
        look=plan.look or request.look,
    )


def reference_header(inputs: ShotInputs, layer: str = "") -> FrameHeader:
    """The header of the first plate of the shot that exists, with the shot's grid as its data window.

    The grid is what the first plate stores and the display window together, so that renders cropped to their content
    share one grid. Raises `MissingFrames` where no plate exists.
    """
    for frame in inputs.shot:
        path = inputs.path("plate", frame)
        if exists(path):
            header = read_header(str(path), frame=frame, layer=layer, view=inputs.view)
            return replace(header, data_window=_union(header.data_window, header.display_window))
    pattern = inputs.sequences["plate"].pattern
    raise MissingFrames(f"no frame of the shot {FrameSet(inputs.shot)} exists: {pattern}", file=pattern)


def require_inputs(inputs: ShotInputs, needs_mask: str, frames: tuple[int, ...]) -> None:
    """Every plate, every background, and every mask where the model cannot do without; of core and garbage at least one
    frame of the shot, because a name that fits no file is misspelt. Raises `MissingFrames`, `InputError`.
    """
    require_files(inputs, "plate", frames)
    require_files(inputs, "background", inputs.frames)
    for role in ("core", "garbage"):
        if inputs.has(role) and not any(exists(inputs.path(role, frame)) for frame in inputs.shot):
            require_files(inputs, role, inputs.shot)
    if needs_mask == "every":
        if not inputs.has("mask"):
            raise InputError("this model needs a mask", remedy="Name one (--mask PATH), or draw points or a box.")
        require_files(inputs, "mask", frames)
    if (
        needs_mask == "any"
        and "mask" in inputs.sequences
        and len(missing_frames(inputs, "mask", frames)) == len(frames)
    ):
        require_files(inputs, "mask", frames)


def _hints(header: FrameHeader) -> PlateHints:
    return PlateHints(
        path=header.path,
        interop_id=header.colour.interop_id,
        aces_container=header.colour.aces_container,
        chromaticities=cast(Chromaticities, stated) if len(stated := header.colour.chromaticities) == 8 else None,
    )


def _channels(inputs: ShotInputs, request: JobRequest, card: ModelCard) -> tuple[dict[str, str], list[str]]:
    """The channel that the pictures of each role are read from, one for the shot, and what is to be said of it."""
    channels = {"mask": "", "core": "", "garbage": ""}
    told: list[str] = []
    sampled = [inputs.shot[index] for index in sample_indices(len(inputs.shot))]
    for role in channels:
        if not inputs.has(role) or (role == "mask" and card.needs_mask == "none"):
            continue
        asked = request.mask_channel if role == "mask" else ""
        paths = _given(inputs, role, sampled) or _given(inputs, role, inputs.shot)[:1]
        if not paths:
            channels[role] = asked
            continue
        choice = choose_mask_channel(paths, channel=asked, view=inputs.view)
        channels[role] = choice.channel
        told += filter(None, (f"{role} channel {choice.channel}: {choice.reason}", choice.warning))
    return channels, told


def _given(inputs: ShotInputs, role: str, frames: Iterable[int]) -> list[tuple[int, str]]:
    """The pictures that the user gave for ``frames``, as far as they are there."""
    given = [frame for frame in frames if not inputs.is_made(role, frame)]
    return [(frame, str(path)) for frame in given if exists(path := inputs.path(role, frame))]


def _with_network_view(
    plan: ShotPlan,
    inputs: ShotInputs,
    request: JobRequest,
    card: ModelCard,
    config: ColourConfig,
    header: FrameHeader,
    control: Control,
) -> ShotPlan:
    """Exposure gain from a few plates, region and canvas from all masks."""
    neutral = colour.transform(config, plan.plate_space, plan.look)
    gain = colour.shot_gain(neutral.light(plate) for plate in _sampled_plates(inputs, request, control))
    preset = resolve_preset(card, plan.preset)
    budget = (preset or card.presets[0]).canvas_pixels if card.presets else plan.plate[2] * plan.plate[3]
    boxes = _boxes(plan, inputs, header, control)
    crop = bool(plan.params.get("roi", True)) and card.temporal != "shot"
    region: Region = plan_region(boxes, plan.plate[2:], budget, plan.pixel_aspect, crop=crop)
    return msgspec.structs.replace(
        plan, gain_stops=gain, region=region, preset=(preset.name if preset else plan.preset)
    )


def _sampled_plates(inputs: ShotInputs, request: JobRequest, control: Control) -> Iterator[colour.Float32]:
    for index in sample_indices(len(inputs.shot)):
        control.checkpoint("plan")
        frame = inputs.shot[index]
        path = inputs.path("plate", frame)
        if not exists(path):
            continue
        plate = read_plate(str(path), frame=frame, layer=request.plate_layer, view=inputs.view)
        pixels, _ = usable(plate.pixels)
        yield shrink(pixels, min(1.0, 512 / max(pixels.shape[:2])))


def _boxes(plan: ShotPlan, inputs: ShotInputs, header: FrameHeader, control: Control) -> list[Box | None]:
    boxes: list[Box | None] = []
    stated = MaskRule(plan.mask_channel, plan.mask_invert, plan.mask_fit)
    for frame in inputs.shot:
        control.checkpoint("plan")
        path = inputs.path("mask", frame)
        if not exists(path):
            boxes.append(None)
            continue
        rule = made_rule() if inputs.is_made("mask", frame) else stated
        boxes.append(subject_box(rule.read(path, frame, header, inputs.view).coverage))
    return boxes


def _flat(window: Window) -> tuple[int, int, int, int]:
    return window.x, window.y, window.width, window.height


def _union(a: Window, b: Window) -> Window:
    x, y = min(a.x, b.x), min(a.y, b.y)
    return Window(x, y, max(a.right, b.right) - x, max(a.bottom, b.bottom) - y)
