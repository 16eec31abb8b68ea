"""Without an artist: list what a script needs, make farm jobs of it, fail a render whose matte is not there.

Nothing here starts a job: `make_bundles` writes folders that a submitter hands to the farm.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from mattebridge.errors import InputError, UsageError
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from . import frame_keys, host, job_request, rendered_inputs, script_facts, versions
from .host import RenderSpec
from .job_request import Plan
from .script_facts import NodeFacts

SHOT_FLAGS = {
    "plate": "--plate",
    "mask": "--mask",
    "frames": "--frames",
    "shot": "--shot",
    "view": "--view",
    "model": "--model",
    "preset": "--preset",
    "plate_space": "--plate-space",
    "config": "--config",
    "look": "--look",
    "mask_channel": "--mask-channel",
    "mask_fit": "--mask-fit",
    "core": "--core",
    "garbage": "--garbage",
    "label": "--label",
}
OUT_FLAGS = {"fgr": "--fgr", "cleanplate": "--cleanplate"}
JOB_FLAGS = {"out": "--out", **OUT_FLAGS, "delivery": "--delivery", "priority": "--priority"}


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
        return ["mattebridge", "matte", *self._shot_words(), *self._words(JOB_FLAGS)]

    def plan_words(self, file: str) -> list[str]:
        """Arguments of ``mattebridge`` that freeze the shot's plan in ``file``."""
        return ["plan", *self._shot_words(), "--out", file]

    def bundle_words(self, plan: str, folder: str) -> list[str]:
        """Arguments of ``mattebridge`` that make a farm job of the plan."""
        return ["farm", "bundle", "--plan", plan, "--out", folder, *self._words({"out": "--alpha", **OUT_FLAGS})]

    def _shot_words(self) -> list[str]:
        words = self._words(SHOT_FLAGS)
        words += ["--mask-invert"] if self.request.get("mask_invert") else []
        for flag, field in (("--context", "context"), ("--param", "params")):
            for name, value in sorted(self.request.get(field, {}).items()):
                words += [flag, f"{name}={value}"]
        return words

    def _words(self, flags: Mapping[str, str]) -> list[str]:
        given = [(flag, self.request.get(name)) for name, flag in flags.items()]
        return [word for flag, value in given if value for word in (flag, str(value))]


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


def make_bundles(node_name: str, folder: str, write: str = "", chunk: int = 0) -> list[str]:
    """Farm jobs of one node: render the inputs that are needed as files, freeze the plan, write a bundle for each view.

    The bundles are folders below ``folder``; ``write``, the name of a Write, adds the comp of the saved script as a
    last step that waits for the matte. Nothing is submitted: hand a folder to ``mattebridge farm submit`` or to a
    scheduler. Raises what `jobs_of` and `render_inputs` raise, and `InputError` with what the command line said.
    """
    if write and not host.script_path():
        raise UsageError("a comp job needs a script on disk", remedy="Save the script.")
    render_inputs(node_name)
    made = []
    for job in jobs_of():
        if job.node != node_name:
            continue
        bundle = Path(folder) / "_".join(filter(None, (node_name.replace(".", "_"), job.version, job.view)))
        bundle.mkdir(parents=True, exist_ok=True)
        plan = str(bundle / "plan.json")
        _mattebridge(job.plan_words(plan))
        comp = ["--nuke-script", host.script_path(), "--nuke-write", write] if write else []
        _mattebridge([*job.bundle_words(plan, str(bundle)), "--chunk", str(chunk), *comp])
        made.append(str(bundle))
    return made


def _mattebridge(words: list[str]) -> None:
    """Run the command line in the server's Python: plans and bundles need packages that Nuke does not have."""
    from mattebridge.launch import clean_environment, server_command
    from mattebridge.settings import Settings

    settings = Settings.from_environment()
    done = subprocess.run(
        [*server_command(settings), *words],
        env=clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("mattebridge: ")[2]
        raise InputError(said or f"`mattebridge {words[0]}` ended with status {done.returncode}")


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
