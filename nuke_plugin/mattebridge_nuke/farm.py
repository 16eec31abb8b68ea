"""Without an artist: list what a script needs, fail a render whose matte is not there. Nothing here starts a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from mattebridge.errors import InputError
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from . import frame_keys, host, job_request, rendered_inputs, script_facts, versions
from .host import RenderSpec
from .job_request import Plan
from .script_facts import NodeFacts

CLI_FLAGS = {
    "plate": "--plate",
    "mask": "--mask",
    "out": "--out",
    "frames": "--frames",
    "shot": "--shot",
    "model": "--model",
    "plate_space": "--plate-space",
    "config": "--config",
    "look": "--look",
    "mask_channel": "--mask-channel",
    "mask_fit": "--mask-fit",
    "core": "--core",
    "garbage": "--garbage",
    "fgr": "--fgr",
    "delivery": "--delivery",
    "priority": "--priority",
}


class MatteMissing(Exception):
    """A frame is about to be rendered without its matte. The name has no "Error:" in it: the one line is printed."""


@dataclass(frozen=True)
class NodeJob:
    """One job that a node needs, as a plan of work for a farm.

    ``renders`` must be rendered from the script first (`render_inputs`, in `nuke -t`); then ``request`` is what
    `mattebridge.Client.matte` takes, and ``missing`` are the frames that have no file yet. ``version`` is the version
    it writes.
    """

    node: str
    view: str
    version: str
    request: Mapping[str, Any]
    renders: tuple[RenderSpec, ...]
    missing: FrameSet

    @property
    def complete(self) -> bool:
        return not self.missing

    def command(self) -> list[str]:
        """The same job for a shell."""
        words = ["mattebridge", "matte"]
        for name, flag in CLI_FLAGS.items():
            if self.request.get(name):
                words += [flag, str(self.request[name])]
        words += ["--mask-invert"] if self.request.get("mask_invert") else []
        for name, value in sorted(self.request.get("context", {}).items()):
            words += ["--context", f"{name}={value}"]
        for name, value in sorted(self.request.get("params", {}).items()):
            words += ["--param", f"{name}={value}"]
        return words


def jobs_of(script: str = "") -> list[NodeJob]:
    """Raises `UsageError` and `InputError` for a node that cannot work, naming it."""
    if script and script.replace("\\", "/") != host.script_path():
        host.open_script(script)
    found: list[NodeJob] = []
    for node in host.bridge_nodes():
        if not host.get(node, "disable"):
            found += _jobs_of_node(node)
    return found


def render_inputs(node_name: str) -> int:
    """Render the inputs of one node that a server needs as files; how many frames. Starts no inference.

    Raises `InputError` for a node that is not there or an input that cannot be rendered.
    """
    node = next((one for one in host.bridge_nodes() if host.full_name(one) == node_name), None)
    if node is None:
        raise InputError(f"the script has no MatteBridge node {node_name}", remedy="Ask jobs_of() for their names.")
    facts = script_facts.gather(node)
    script_facts.require_folder(facts)
    plan = job_request.plan(facts)
    return rendered_inputs.render_stale(node, plan, rendered_inputs.keys_now(node, facts))


def _jobs_of_node(node: host.Node) -> list[NodeJob]:
    facts = script_facts.gather(node)
    script_facts.require_folder(facts)
    plan = job_request.plan(facts)
    number, version = _version_of(node, plan)
    jobs = []
    for view in facts.views:
        roles = versions.role_patterns(
            facts.folder, facts.settings.name, number, job_request.output_roles(facts), facts.several_views
        )
        request = job_request.request(plan, view, roles, facts.settings.delivery)
        missing = _missing(roles["alpha"], facts, view) if version else facts.shot
        jobs.append(NodeJob(facts.settings.name, view, f"v{number:03d}", request, plan.renders, missing))
    return jobs


def _version_of(node: host.Node, plan: Plan) -> tuple[int, bool]:
    """The version that would be written and whether it was begun; inputs are compared with what it was made from."""
    keys = frame_keys.joined(rendered_inputs.keys_now(node, plan.facts), plan.facts.shot)
    found = versions.on_disk(plan.facts.folder)
    for version in reversed(found):
        if version.model and version.digest == job_request.version_digest(plan, keys, version.model):
            return version.number, True
    return max((version.number for version in found), default=0) + 1, False


def _missing(pattern: str, facts: NodeFacts, view: str) -> FrameSet:
    sequence = Sequence.parse(pattern)
    return sequence.missing(facts.shot, view if sequence.has_view else "")


# -- rendering ---------------------------------------------------------------------------------------------------------

_above: list[host.Node] = []
_said: set[str] = set()


def before_render() -> None:
    """Remember which MatteBridge nodes the Write about to run depends on."""
    _above[:] = host.bridge_nodes_above(host.this_node())


def before_frame() -> None:
    """Raises `MatteMissing` when a matte of this frame is not on disk; prints one ERROR: line per node and process."""
    for node in _above:
        if host.full_name(node) == host.full_name(host.this_node()):
            continue
        reason = missing_reason(node, host.current_frame())
        if reason is None:
            continue
        name = host.full_name(node)
        if name not in _said:
            _said.add(name)
            host.complain(f"ERROR: {name}: {reason}")
        raise MatteMissing(f"{name}: {reason}")


def missing_reason(node: host.Node, frame: int) -> Optional[str]:
    """Why ``frame`` has no matte, or None. Two knobs and one look at the disk: cheap enough for every frame."""
    if not host.get(node, "has_matte"):
        return "no matte was made; open the script and press Matte range"
    first, last = int(host.get(node, "result_first")), int(host.get(node, "result_last"))
    if not first <= frame <= last:
        return f"frame {frame} is outside the matted range {first}-{last}"
    path = host.path(node, "alpha_path")
    if not Path(path).exists():
        return f"the matte of frame {frame} is missing: {path}"
    return None
