"""Without an artist: list what a script needs, prepare it, make farm jobs of it, take what was made.

Nothing here starts a job: `make_bundles` writes folders that a submitter hands to the farm.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mattebridge.errors import InputError, UsageError
from mattebridge.frames import FrameSet

from . import frame_keys, host, job_request, rendered_inputs, result, script_facts, versions
from .job_request import Plan
from .render_spec import RenderSpec
from .versions import Version

PAIR_FLAGS = {"context": "--context", "params": "--param"}
"""Fields of a request that are tables: a flag for each pair. Every other field is a flag of its own name."""
OUT_FLAGS = {"out": "--alpha", "fgr": "--fgr", "cleanplate": "--cleanplate"}
"""What is written, as a bundle's flags name it."""
NOT_PLANNED = (*OUT_FLAGS, "delivery", "priority")
"""What a plan does not hang on."""


@dataclass(frozen=True)
class NodeJob:
    """One job that a node needs, as a plan of work for a farm.

    `prepare` comes first (in `nuke -t`: it renders ``renders``); then ``request`` is what `mattebridge.Client.matte`
    takes; then `take_results` has the script read what was made. ``missing`` are the frames that have no file yet,
    ``version`` is the version that the job writes.
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
        """The same job for a shell. `--flag=value`: a frame range may begin with a minus."""
        return ["mattebridge", "matte", *self._words(*self.request)]

    def plan_words(self, file: str) -> list[str]:
        """Arguments of ``mattebridge`` that freeze the shot's plan in ``file``."""
        return ["plan", *self._words(*(name for name in self.request if name not in NOT_PLANNED)), f"--out={file}"]

    def bundle_words(self, plan: str, folder: str) -> list[str]:
        """Arguments of ``mattebridge`` that make a farm job of the plan."""
        outs = [f"{flag}={self.request[name]}" for name, flag in OUT_FLAGS.items() if self.request.get(name)]
        return ["farm", "bundle", f"--plan={plan}", f"--out={folder}", *outs]

    def _words(self, *names: str) -> list[str]:
        words = []
        for name, value in {"config": "", **{name: self.request[name] for name in names}}.items():
            if name in PAIR_FLAGS:
                words += [f"{PAIR_FLAGS[name]}={key}={item}" for key, item in sorted(value.items())]
            else:
                words.append("--" + name.replace("_", "-") + ("" if value is True else f"={value}"))
        return words


def jobs_of(script: str = "") -> list[NodeJob]:
    """Raises `UsageError` and `InputError` for a node that cannot work, naming it."""
    return [job for node in _enabled_nodes(script) for job in _jobs_of_node(node)]


def prepare(node_name: str) -> int:
    """Before a node's jobs run: render what a server needs as files, and open the version with its record.

    Starts no inference. Gives the number of frames that were rendered. Raises `InputError` for a node that is not there
    or an input that cannot be rendered or may not be used, `UsageError` for a node that cannot work.
    """
    node = next((one for one in host.bridge_nodes() if host.full_name(one) == node_name), None)
    if node is None:
        raise InputError(f"the script has no MatteBridge node {node_name}", remedy="Ask jobs_of() for their names.")
    wanted = _wanted(node)
    count = rendered_inputs.render_stale(node, wanted.plan, wanted.keys)
    rendered_inputs.refuse_shared_mask(wanted.plan)
    if not wanted.version.digest:
        digest = job_request.version_digest(wanted.plan, wanted.joined, "")
        versions.save(replace(wanted.version, digest=digest, shot=str(wanted.plan.facts.shot), keys=wanted.joined))
    return count


def take_results(script: str = "") -> list[str]:
    """After the jobs: every enabled node whose version is whole reads it; their names. Saving the script is the
    caller's. Raises what `jobs_of` raises.
    """
    taken = []
    for node in _enabled_nodes(script):
        wanted = _wanted(node)
        facts, version = wanted.plan.facts, wanted.version
        if version.digest and not version.missing(facts.views):
            result.show(node, facts, version, facts.views)
            taken.append(facts.settings.name)
    return taken


def _enabled_nodes(script: str) -> list[host.Node]:
    if script and host.absolute(script) != host.script_path():
        host.open_script(script)
    return [node for node in host.bridge_nodes() if not host.get(node, "disable")]


@dataclass(frozen=True)
class _Wanted:
    """What a node needs now. ``version`` has no digest where its record was not written yet."""

    plan: Plan
    keys: Mapping[str, Mapping[int, str]]
    joined: Mapping[int, str]
    version: Version


def _wanted(node: host.Node) -> _Wanted:
    facts = script_facts.gather(node)
    script_facts.require_folder(facts)
    plan = job_request.plan(facts)
    keys = rendered_inputs.keys_now(node, facts)
    joined = frame_keys.joined(keys, facts.shot)
    found = versions.on_disk(facts.folder)
    version = versions.matching(found, lambda model: job_request.version_digest(plan, joined, model))
    if version is None:
        number, roles = versions.next_number(found), job_request.output_roles(facts)
        patterns = versions.role_patterns(facts.folder, facts.settings.name, number, roles, facts.several_views)
        version = Version(number, f"{facts.folder}/v{number:03d}", roles=patterns)
    return _Wanted(plan, keys, joined, version)


def make_bundles(node_name: str, folder: str, write: str = "", chunk: int = 0) -> list[str]:
    """Farm jobs of one node: render the inputs that are needed as files, freeze the plan, write a bundle for each view.

    The bundles are folders below ``folder``; ``write``, the name of a Write, adds the comp of the saved script as a
    last step that waits for the matte. Nothing is submitted: hand a folder to ``mattebridge farm submit`` or to a
    scheduler. Raises what `jobs_of` and `prepare` raise, and `InputError` with what the command line said.
    """
    if write and not host.script_path():
        raise UsageError("a comp job needs a script on disk", remedy="Save the script.")
    prepare(node_name)
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
    wanted = _wanted(node)
    facts, version = wanted.plan.facts, wanted.version
    jobs = []
    for view in facts.views:
        request = job_request.request(wanted.plan, view, version.roles, facts.settings.delivery)
        missing = version.missing((view,)) if version.digest else facts.shot
        jobs.append(NodeJob(facts.settings.name, view, version.name, request, wanted.plan.renders, missing))
    return jobs
