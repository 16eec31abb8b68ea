"""Everything that a press of a button needs to know about the node and its script, taken at once in the main thread."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mattebridge.errors import InputError, UsageError
from mattebridge.frames import FrameSet

from . import host, model_parameters, node_settings, read_source, versions
from .node_settings import NodeSettings
from .read_source import ByPath, Channel, ReadFacts, Source, ToRender
from .script_colour import ScriptColour, script_colour, with_context

INPUTS = {"plate": 0, "mask": 1, "core": 2, "garbage": 3}


@dataclass(frozen=True)
class NodeFacts:
    """The node as it stands. ``sources`` by role; ``folder`` is where its versions are, "" in an unsaved script."""

    settings: NodeSettings
    colour: ScriptColour
    shot: FrameSet
    folder: str
    script: str
    views: tuple[str, ...]
    sources: Mapping[str, Source] = field(default_factory=dict)
    several_views: bool = False


def gather(node: host.Node, mask_needed: bool = True) -> NodeFacts:
    """Without ``mask_needed`` only the plate counts, because a mask is to be made.

    Raises `UsageError` or `InputError` for what can be seen to be wrong without a server.
    """
    name = host.full_name(node)
    folder = result_folder(node)
    params = model_parameters.values(node)
    settings = node_settings.read(name, lambda knob: host.get(node, knob), folder, params)
    settings = replace(settings, defaults=model_parameters.defaults(node))
    if not mask_needed:
        settings = replace(settings, made_mask="")
    if settings.made_mask:
        settings = node_settings.with_made_mask(settings, host.pattern(node, "mask_path"))
    plate = host.upstream(node, INPUTS["plate"])
    if plate is None:
        raise UsageError("the plate input is not connected", remedy=f"Connect a plate to {name}.")
    if mask_needed and not settings.made_mask and host.upstream(node, INPUTS["mask"]) is None:
        raise UsageError("the mask input is not connected", remedy="Connect a mask, or make one on the Make mask tab.")
    project = (int(host.root_value("first_frame")), int(host.root_value("last_frame")))
    shot = node_settings.shot_frames(settings, host.frame_range_of(plate), project)
    colour = colour_of_script()
    views, several = _views(settings)
    roles = [role for role in INPUTS if _used(node, role, settings)] if mask_needed else ["plate"]
    sources = {role: _source(node, role, settings, shot, colour, views) for role in roles}
    _refuse_shared_mask(settings, sources, views)
    script = host.script_path()
    where = versions.node_folder(settings.folder, script, name)
    if "[" in settings.folder:
        raise UsageError(
            f"this Nuke does not evaluate the expression in the result folder {settings.folder}",
            remedy="Write the folder out, on the Output tab.",
        )
    return NodeFacts(settings, colour, shot, where, script, views, sources, several)


def result_folder(node: host.Node) -> str:
    """As the artist set it, evaluated; "" for the one beside the script."""
    return host.in_project(host.path(node, "folder"))


def require_folder(facts: NodeFacts) -> str:
    """Raises `UsageError` in a script that was never saved and has no result folder."""
    if not facts.folder:
        raise UsageError(
            "the script was never saved, so there is no place beside it for the matte",
            remedy="Save the script, or set a result folder on the Output tab.",
        )
    return facts.folder


def colour_of_script() -> ScriptColour:
    return with_context(script_colour(host.root_value, os.environ), os.environ)


def _views(settings: NodeSettings) -> tuple[tuple[str, ...], bool]:
    """The views to matte, and whether the script has more than one (then paths carry `%V`)."""
    every = tuple(host.views())
    several = len(every) > 1
    return (every if settings.all_views else (host.current_view(),)), several


def _used(node: host.Node, role: str, settings: NodeSettings) -> bool:
    if role == "mask" and settings.made_mask:
        return True
    return host.upstream(node, INPUTS[role]) is not None


def _source(
    node: host.Node, role: str, settings: NodeSettings, shot: FrameSet, colour: ScriptColour, views: tuple[str, ...]
) -> Source:
    if role == "mask" and settings.made_mask:
        return ByPath(settings.made_mask)
    above = host.upstream(node, INPUTS[role])
    if above is None:
        raise InputError(f"the {role} input is not connected")
    if settings.always_render:
        return ToRender("always render inputs is ticked")
    if above.Class() != "Read":
        return ToRender(f"it comes from a {above.Class()}")
    channel: Channel = "rgb" if role == "plate" else "alpha" if settings.mask_channel == "alpha" else "colour"
    return read_source.resolve(read_facts(above), shot, colour.ocio, channel, views)


def read_facts(read: host.Node) -> ReadFacts:
    """The knobs of a Read. The file knob's own text: never the proxy, never a local copy."""

    def get(name: str, default: object) -> object:
        return host.get(read, name) if host.has(read, name) else default

    animated = any(host.is_animated(read, name) for name in ("file", "first", "last") if host.has(read, name))
    return ReadFacts(
        file=host.in_project(host.filter_path(str(get("file", "")).replace("\\", "/"))),
        first=int(str(get("first", 1))),
        last=int(str(get("last", 1))),
        frame_mode=str(get("frame_mode", "expression")),
        frame=str(get("frame", "")),
        on_error=str(get("on_error", "error")),
        colorspace=str(get("colorspace", "")),
        raw=bool(get("raw", False)),
        disabled=bool(get("disable", False)),
        premultiplied=bool(get("premultiplied", False)),
        animated=animated,
    )


def _refuse_shared_mask(settings: NodeSettings, sources: Mapping[str, Source], views: tuple[str, ...]) -> None:
    """A mask of one view must not serve the other without a word."""
    mask = sources.get("mask")
    if (
        len(views) < 2
        or settings.one_mask
        or not isinstance(mask, ByPath)
        or "%V" in mask.pattern
        or "%v" in mask.pattern
    ):
        return
    raise InputError(
        f"the mask is the same file for the views {' and '.join(views)}",
        file=mask.pattern,
        remedy="Give the mask a path with %V, matte one view, or tick one mask for all views.",
    )
