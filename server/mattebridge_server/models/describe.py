"""A model's card as the protocol describes it to clients."""

from __future__ import annotations

from mattebridge.messages import ClipInfo, ModelInfo, ParamInfo, PresetInfo

from .base import ModelCard, Param


def model_info(
    card: ModelCard, params: tuple[Param, ...], *, installed: bool = True, loaded: bool = False
) -> ModelInfo:
    """``params`` are all that a job may state, the pipeline's own included."""
    whole_shot = card.temporal == "shot"
    before = after = card.window - 1 if card.temporal == "window" else (-1 if whole_shot else card.radius)
    clips = [ClipInfo("plate", before, after)]
    if card.needs_mask != "none":
        clips.append(ClipInfo("mask", before, after, optional=card.needs_mask != "every"))
    clips += [ClipInfo("core", optional=True), ClipInfo("garbage", optional=True)]
    return ModelInfo(
        name=card.name,
        title=card.title,
        summary=card.summary,
        version=card.version,
        licence=card.licence,
        temporal=card.temporal,
        radius=card.radius,
        window=card.window,
        stride=card.stride,
        clips=tuple(clips),
        params=tuple(_param_info(param) for param in params),
        presets=tuple(PresetInfo(p.name, p.canvas_pixels, p.peak_bytes) for p in card.presets),
        precisions=card.precisions,
        outputs=card.outputs,
        installed=installed,
        loaded=loaded,
        experimental=card.experimental,
        weights_bytes=sum(weights.size_bytes or weights.about_bytes for weights in card.weights),
    )


def _param_info(param: Param) -> ParamInfo:
    return ParamInfo(
        name=param.name,
        type=type(param.default).__name__,
        default=param.default,
        label=param.label or param.name.replace("_", " ").capitalize(),
        hint=param.hint,
        low=param.low,
        high=param.high,
        choices=param.choices,
    )
