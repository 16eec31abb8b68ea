"""Inputs that Nuke renders: which frames are stale, and rendering just those. Main thread where a node is taken."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from mattebridge.errors import Cancelled, InputError, MatteBridgeError, OutputFailed
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from . import exr_pixels, frame_keys, host, render_check
from .job_request import Plan
from .node_settings import spans
from .read_source import ByPath, ReadFacts, remapped
from .render_spec import RenderSpec
from .script_facts import INPUTS, NodeFacts, read_facts

RECORD = "inputs.json"
_CANCELLED = re.compile(r"[^/\\]*\bcancell?ed\b[^/\\]*", re.IGNORECASE)
"""What Nuke says when the artist cancels, and no path in which the word may stand for something else."""


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


def go_on() -> None:
    """Nobody cancels."""


def render_stale(
    node: host.Node, job: Plan, keys: Mapping[str, Mapping[int, str]], stop: Callable[[], None] = go_on
) -> int:
    """Render what is missing or changed; how many frames. ``stop`` raises `Cancelled` once the artist has enough.

    What was finished before a cancel or a failure is not rendered again. Raises `InputError`, `OutputFailed`.
    """
    count = 0
    for spec in job.renders:
        record, now = _load(spec), _written_as(spec, keys)
        stale = _stale(spec, now, record)
        if not stale:
            continue
        source = _source(node, spec.role)
        _refuse_unmatted(source, spec.role, stale)
        for view in record:
            _render_view(source, replace(spec, views=(view,) if view else spec.views), record, view, now, stop)
        count += len(stale)
    return count


def _render_view(
    source: host.Node,
    spec: RenderSpec,
    record: dict[str, dict[int, str]],
    view: str,
    now: Mapping[int, str],
    stop: Callable[[], None],
) -> None:
    """One view's stale frames; the record on disk never calls a frame written that is not."""
    known = record[view]
    stale = _stale(spec, now, {view: known})

    def finished(frame: int) -> None:
        if frame in stale:
            known[frame] = now[frame]
        stop()

    if not stale:
        return
    for frame in stale:
        known.pop(frame, None)
    _save(spec, record)
    try:
        _render(source, replace(spec, spans=spans(stale)), finished, stop)
        known.update({frame: now[frame] for frame in stale})
    finally:
        _save(spec, record)


def _refuse_unmatted(source: host.Node, role: str, frames: FrameSet) -> None:
    """Raises `InputError` where a MatteBridge node above has no matte: its render would only be refused."""
    above = host.bridge_nodes_above(source)
    with host.at_frames() as go_to:
        for frame in frames if above else ():
            go_to(frame)
            for found in above:
                reason = render_check.lacks(found, frame)
                if reason is not None:
                    name = host.full_name(found.node)
                    raise InputError(
                        f"the {role} is made with {name}: {reason}", remedy=f"Matte the range on {name} first."
                    )


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


def _render(source: host.Node, spec: RenderSpec, finished: Callable[[int], None], stop: Callable[[], None]) -> None:
    folder = Path(spec.pattern).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        host.render(source, spec, finished)
    except OSError as reason:
        raise OutputFailed(f"the {spec.role} cannot be written: {reason}", file=spec.pattern) from reason
    except RuntimeError as reason:
        stop()  # it was our own cancel, which Nuke passes on in words of its own
        raise _named(str(reason), spec.role, folder.as_posix()) from reason


def _named(text: str, role: str, folder: str) -> MatteBridgeError:
    """What Nuke said of a render that ended early, as an error with a remedy."""
    if _CANCELLED.fullmatch(text):
        return Cancelled("rendering the inputs was cancelled", remedy="Press again to go on.")
    if "already executing" in text:
        return InputError("Nuke is rendering something else", remedy="Wait until it has finished, then press again.")
    if folder in text.replace("\\", "/"):
        return OutputFailed(f"the {role} cannot be written: {text}")
    return InputError(f"Nuke could not render the {role}: {text}", remedy="Look at the node it names.")


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
