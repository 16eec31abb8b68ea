"""From the node's facts to the requests of a job: plain values, one request per view."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from mattebridge.errors import MatteBridgeError
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from . import frame_keys
from .node_settings import AUTOMATIC, CHANNELS, canonical, spans
from .read_source import ByPath, ToRender
from .render_spec import RenderSpec
from .script_facts import NodeFacts

ROLES = ("plate", "mask", "core", "garbage")
EXPECTED_BEFORE_RENDER = ("MISSING_FRAMES", "BAD_INPUT", "BAD_FRAME")


@dataclass(frozen=True)
class Plan:
    """One press: what to render, what to ask. ``inputs`` are the patterns by role, rendered ones included."""

    facts: NodeFacts
    frames: FrameSet
    inputs: Mapping[str, str]
    renders: tuple[RenderSpec, ...]
    plate_space: str

    def rendered(self) -> dict[str, RenderSpec]:
        return {spec.role: spec for spec in self.renders}


def plan(facts: NodeFacts, frames: Optional[FrameSet] = None) -> Plan:
    """``frames`` to write; the whole shot when None. Every input covers the whole shot: that is what the plan sees."""
    inputs: dict[str, str] = {}
    renders: list[RenderSpec] = []
    space = facts.colour.space
    for role in ROLES:
        source = facts.sources.get(role)
        if isinstance(source, ToRender):
            spec = render_spec(facts, role)
            renders.append(spec)
            inputs[role] = spec.pattern
        elif isinstance(source, ByPath):
            inputs[role] = source.pattern
            space = source.space or space if role == "plate" else space
    return Plan(facts, facts.shot if frames is None else frames, inputs, tuple(renders), space)


def render_spec(facts: NodeFacts, role: str) -> RenderSpec:
    """Where and how an input is written. Masks as their coverage channel alone, the plate as RGB."""
    view = ".%V" if facts.several_views else ""
    pattern = f"{facts.folder}/inputs/{role}{view}.%04d.exr"
    channels = "rgb" if role == "plate" else f"rgba.{facts.settings.mask_channel}"
    return RenderSpec(role, pattern, channels, spans(facts.shot), facts.views)


def request(job: Plan, view: str, roles: Mapping[str, str], delivery: str, label: str = "") -> dict[str, Any]:
    """The job as the client takes it. ``roles`` are the output patterns of the version."""
    facts, settings = job.facts, job.facts.settings
    named = facts.several_views or any(Sequence.parse(pattern).has_view for pattern in job.inputs.values())
    values: dict[str, Any] = {
        "plate": job.inputs["plate"],
        "mask": job.inputs.get("mask", ""),
        "core": job.inputs.get("core", ""),
        "garbage": job.inputs.get("garbage", ""),
        "out": roles.get("alpha", ""),
        "fgr": roles.get("fgr", ""),
        "cleanplate": roles.get("cleanplate", ""),
        "frames": str(job.frames),
        "shot": str(facts.shot),
        "view": view if named else "",
        "model": settings.model,
        "params": dict(settings.params),
        "preset": settings.preset,
        "plate_space": job.plate_space,
        "config": facts.colour.config,
        "context": dict(facts.colour.context),
        "look": settings.look,
        "mask_channel": _mask_channel(job),
        "mask_invert": settings.mask_invert,
        "mask_fit": settings.mask_fit,
        "delivery": "files" if delivery == AUTOMATIC else delivery,
        "priority": settings.priority,
        "label": label or f"{_script_name(facts.script)} {settings.name}".strip(),
    }
    return {name: value for name, value in values.items() if value not in ("", {}, False)}


def _mask_channel(job: Plan) -> str:
    """Only where it was chosen: alpha is what the server looks for first anyway."""
    if job.facts.settings.made_mask or job.facts.settings.mask_channel == "alpha":
        return ""
    return CHANNELS[job.facts.settings.mask_channel]


def _script_name(script: str) -> str:
    return script.rpartition("/")[2]


def output_roles(facts: NodeFacts) -> tuple[str, ...]:
    settings = facts.settings
    wanted = {"alpha": True, "fgr": settings.make_fgr, "cleanplate": settings.make_cleanplate}
    return tuple(role for role, on in wanted.items() if on)


def version_digest(job: Plan, keys: Mapping[int, str], model: str) -> str:
    """One digest of everything that decides the pictures: settings, colour, shot, model and every input frame."""
    facts = job.facts
    body = request(job, "", {}, AUTOMATIC, label="-")
    for free in ("frames", "delivery", "priority", "label"):
        body.pop(free, None)
    usual = facts.settings.defaults  # one that is stated is the same as one that is not
    chosen = {name: value for name, value in body.pop("params", {}).items() if usual.get(name) != value}
    body.update({"params": chosen} if chosen else {})
    rendered = job.rendered()
    body.update(dict.fromkeys(rendered, "rendered"))
    body.update(model_version=model, roles=output_roles(facts), views=facts.views if facts.several_views else ())
    return frame_keys.digest([canonical(body), *(f"{frame}:{key}" for frame, key in sorted(keys.items()))])


def problems_before_render(problems: list[MatteBridgeError], job: Plan) -> list[MatteBridgeError]:
    """CHECK runs before rendering: what it says about files that are still to be rendered is no problem yet."""
    waiting = [_anything_like(spec.pattern) for spec in job.renders]
    return [
        problem
        for problem in problems
        if not (problem.code in EXPECTED_BEFORE_RENDER and any(form.fullmatch(problem.file) for form in waiting))
    ]


def all_here(job: Plan) -> bool:
    """Whether this machine has every frame of every input that is used by its path."""
    rendered = job.rendered()
    for role, pattern in job.inputs.items():
        sequence = Sequence.parse(pattern)
        for view in job.facts.views if sequence.has_view else ("",):
            if role not in rendered and sequence.missing(job.facts.shot, view):
                return False
    return True


def _anything_like(pattern: str) -> re.Pattern[str]:
    """Matches the pattern itself and every file of it."""
    pieces = re.split(r"%0?\d*d|%[Vv]", pattern)
    return re.compile(".+".join(re.escape(piece) for piece in pieces))
