"""Inputs that Nuke renders: which frames are stale, and rendering just those. Main thread where a node is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mattebridge.errors import Cancelled, InputError, OutputFailed
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from . import exr_pixels, frame_keys, host
from .job_request import Plan
from .node_settings import spans
from .read_source import ByPath
from .render_spec import RenderSpec
from .script_facts import INPUTS, NodeFacts

RECORD = "inputs.json"


def keys_now(node: host.Node, facts: NodeFacts) -> dict[str, dict[int, str]]:
    """By role, the key of every frame of the shot as the inputs stand now."""
    found: dict[str, dict[int, str]] = {}
    rendered = []
    for role, source in facts.sources.items():
        if isinstance(source, ByPath):
            found[role] = frame_keys.path_keys(source.pattern, facts.shot, facts.views)
        else:
            rendered.append(role)
    if rendered:
        found.update(_tree_keys(node, facts, rendered))
    return found


def _tree_keys(node: host.Node, facts: NodeFacts, roles: list[str]) -> dict[str, dict[int, str]]:
    above = {role: host.upstream(node, INPUTS[role]) for role in roles}
    reads = {role: host.reads_above(source) if source is not None else [] for role, source in above.items()}
    found: dict[str, dict[int, str]] = {role: {} for role in roles}
    with host.at_frames() as go_to:
        for frame in facts.shot:
            go_to(frame)
            for role, source in above.items():
                if source is not None:
                    files = [frame_keys.file_fact(host.path(read, "file")) for read in reads[role]]
                    found[role][frame] = frame_keys.digest([host.op_digest(source), *files])
    return found


def render_stale(node: host.Node, job: Plan, keys: Mapping[str, Mapping[int, str]]) -> int:
    """Render what is missing or changed; how many frames. Raises `Cancelled`, `InputError`, `OutputFailed`."""
    count = 0
    for spec in job.renders:
        record = _load(spec)
        stale = _stale(spec, keys[spec.role], record)
        source = host.upstream(node, INPUTS[spec.role])
        if not stale or source is None:
            continue
        for frame in stale:
            record.pop(frame, None)
        _save(spec, record)
        _render(source, replace(spec, spans=spans(stale)))
        record.update({frame: keys[spec.role][frame] for frame in stale})
        _save(spec, record)
        count += len(stale)
    return count


def refuse_shared_mask(job: Plan) -> None:
    """Raises `InputError` when a rendered mask came out the same in every view and nobody said that this is meant.

    From any thread: only files are looked at, up to the first frame in which the views differ.
    """
    spec = job.rendered().get("mask")
    views = job.facts.views
    if spec is None or len(views) < 2 or job.facts.settings.one_mask:
        return
    sequence = Sequence.parse(spec.pattern)
    for frame in job.facts.shot:
        first, *others = (Path(sequence.path(frame, view)) for view in views)
        try:
            if not all(exr_pixels.same_picture(first, other) for other in others):
                return
        except (OSError, ValueError) as reason:
            raise InputError(
                f"the rendered mask cannot be read: {reason}", remedy="Delete it and press again.", frame=frame
            ) from reason
    raise InputError(
        f"the mask is the same in the views {' and '.join(views)}",
        remedy="Draw a mask for each view, matte one view, or tick one mask for all views.",
    )


def _stale(spec: RenderSpec, now: Mapping[int, str], record: Mapping[int, str]) -> FrameSet:
    sequence = Sequence.parse(spec.pattern)
    stale = frame_keys.changed(record, now)
    for view in spec.views if sequence.has_view else ("",):
        stale = stale | sequence.missing(FrameSet(now), view)
    return stale


def _render(source: host.Node, spec: RenderSpec) -> None:
    try:
        Path(spec.pattern).parent.mkdir(parents=True, exist_ok=True)
        host.render(source, spec)
    except OSError as reason:
        raise OutputFailed(f"the {spec.role} cannot be written: {reason}", file=spec.pattern) from reason
    except RuntimeError as reason:
        text = str(reason)
        if "cancel" in text.lower():
            raise Cancelled("rendering the inputs was cancelled") from reason
        if "already executing" in text:
            raise InputError(
                "Nuke is rendering something else", remedy="Wait until it has finished, then press again."
            ) from reason
        raise InputError(
            f"Nuke could not render the {spec.role}: {text}", remedy="Look at the node it names."
        ) from reason


def _record_path(spec: RenderSpec) -> Path:
    return Path(spec.pattern).parent / RECORD


def _load(spec: RenderSpec) -> dict[int, str]:
    try:
        table = json.loads(_record_path(spec).read_text("utf-8"))
        return {int(frame): str(key) for frame, key in table.get(spec.role, {}).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _save(spec: RenderSpec, record: Mapping[int, str]) -> None:
    path = _record_path(spec)
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        table = {}
    table[spec.role] = dict(record)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{RECORD}.{os.getpid()}")
        temporary.write_text(json.dumps(table), "utf-8")
        os.replace(temporary, path)
    except OSError as reason:
        raise OutputFailed(f"the record of rendered inputs cannot be written: {reason}", file=str(path)) from reason
