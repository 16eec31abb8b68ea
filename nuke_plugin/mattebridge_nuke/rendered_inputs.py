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
from .read_source import ByPath, ReadFacts, remapped
from .render_spec import RenderSpec
from .script_facts import INPUTS, NodeFacts, read_facts

RECORD = "inputs.json"


def keys_now(node: host.Node, facts: NodeFacts) -> dict[str, dict[int, str]]:
    """By role, the key of every frame of the shot as the inputs stand now.

    Raises `InputError` for an input that was disconnected since ``facts`` were gathered.
    """
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
    sources = {role: _source(node, role) for role in roles}
    files = {role: _Files(source, facts) for role, source in sources.items()}
    found: dict[str, dict[int, str]] = {role: {} for role in roles}
    with host.at_frames() as go_to:
        for frame in facts.shot:
            go_to(frame)
            for role, source in sources.items():
                found[role][frame] = frame_keys.digest([host.op_digest(source), *files[role].at(frame)])
    return found


def _source(node: host.Node, role: str) -> host.Node:
    source = host.upstream(node, INPUTS[role])
    if source is None:
        raise InputError(f"the {role} input was disconnected meanwhile", remedy="Connect it and press again.")
    return source


class _Files:
    """The facts of the files that a picture is made from, at one frame after the other.

    A Read counts with the file of the frame where that is surely the one that is looked at, else with all its files: a
    retime, a held frame or a node that nobody knows may look at any of them.
    """

    def __init__(self, source: host.Node, facts: NodeFacts) -> None:
        self._views = facts.views
        nodes = [found.node for found in host.above(source)]
        local = host.is_frame_local(nodes)
        self._reads: list[tuple[host.Node, ReadFacts]] = []
        self._always: list[str] = []
        for read in (found for found in nodes if found.Class() == "Read"):
            knobs = read_facts(read)
            if local and not remapped(knobs, facts.shot):
                self._reads.append((read, knobs))
            else:
                frames = range(knobs.first, knobs.last + 1)
                self._always += [fact for frame in frames for fact in self._facts(read, knobs, frame)]

    def at(self, frame: int) -> list[str]:
        """At the current frame, which is ``frame``."""
        return [*self._always, *(fact for read, knobs in self._reads for fact in self._facts(read, knobs, frame))]

    def _facts(self, read: host.Node, knobs: ReadFacts, frame: int) -> list[str]:
        """Of every view. A path that is an expression is taken as it stands at the current frame and view."""
        if not knobs.file or "[" in knobs.file:
            return [frame_keys.file_fact(host.in_project(host.path(read, "file")))]
        sequence = Sequence.parse(knobs.file)
        views = self._views if sequence.has_view else ("",)
        return [frame_keys.file_fact(sequence.path(frame, view)) for view in views]


def render_stale(node: host.Node, job: Plan, keys: Mapping[str, Mapping[int, str]]) -> int:
    """Render what is missing or changed; how many frames. Raises `Cancelled`, `InputError`, `OutputFailed`."""
    count = 0
    for spec in job.renders:
        record, now = _load(spec), _written_as(spec, keys)
        stale = _stale(spec, now, record)
        if not stale:
            continue
        source = _source(node, spec.role)
        for known in record.values():
            for frame in stale:
                known.pop(frame, None)
        _save(spec, record)
        _render(source, replace(spec, spans=spans(stale)))
        for known in record.values():
            known.update({frame: now[frame] for frame in stale})
        _save(spec, record)
        count += len(stale)
    return count


def stamp(job: Plan) -> str:
    """Changes when anybody writes over a rendered input of ``job``. From any thread."""
    keys = [frame_keys.path_keys(spec.pattern, job.facts.shot, spec.views) for spec in job.renders]
    return frame_keys.digest(key for one in keys for key in one.values())


def replaced(job: Plan, keys: Mapping[str, Mapping[int, str]]) -> FrameSet:
    """Frames whose file `render_stale` would write over."""
    found = FrameSet()
    for spec in job.renders:
        sequence = Sequence.parse(spec.pattern)
        stale = _stale(spec, _written_as(spec, keys), _load(spec))
        for view in _named_views(spec):
            found = found | (stale - sequence.missing(stale, view))
    return found


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


def _named_views(spec: RenderSpec) -> tuple[str, ...]:
    """Of the views that have files of their own; one without a name where all share them."""
    return spec.views if Sequence.parse(spec.pattern).has_view else ("",)


def _written_as(spec: RenderSpec, keys: Mapping[str, Mapping[int, str]]) -> dict[int, str]:
    """The key of every frame with what is written of it: another channel of the same picture is another file."""
    return {frame: f"{key} {spec.channels}" for frame, key in keys[spec.role].items()}


def _stale(spec: RenderSpec, now: Mapping[int, str], record: Mapping[str, Mapping[int, str]]) -> FrameSet:
    """Frames that changed or lack a file, in any view."""
    sequence, stale = Sequence.parse(spec.pattern), FrameSet()
    for view, known in record.items():
        stale = stale | frame_keys.changed(known, now) | sequence.missing(FrameSet(now), view)
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


def _entry(spec: RenderSpec, view: str) -> str:
    return f"{spec.role}.{view}" if view else spec.role


def _load(spec: RenderSpec) -> dict[str, dict[int, str]]:
    """By view, how every frame on disk was written: a view may have been rendered when another was not."""
    try:
        table = json.loads(_record_path(spec).read_text("utf-8"))
        return {
            view: {int(frame): str(key) for frame, key in table.get(_entry(spec, view), {}).items()}
            for view in _named_views(spec)
        }
    except (OSError, ValueError, AttributeError):
        return {view: {} for view in _named_views(spec)}


def _save(spec: RenderSpec, record: Mapping[str, Mapping[int, str]]) -> None:
    path = _record_path(spec)
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        table = {}
    table.update({_entry(spec, view): dict(known) for view, known in record.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{RECORD}.{os.getpid()}")
        temporary.write_text(json.dumps(table), "utf-8")
        os.replace(temporary, path)
    except OSError as reason:
        raise OutputFailed(f"the record of rendered inputs cannot be written: {reason}", file=str(path)) from reason
