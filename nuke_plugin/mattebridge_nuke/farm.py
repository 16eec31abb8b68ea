"""Without an artist: list what a script needs, prepare it, make farm jobs of it, take what was made, render the comp.

Nothing here starts a job: `make_bundles` writes folders that a submitter hands to the farm. The button of the panel is
`send_to_farm`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mattebridge.errors import InputError, MatteBridgeError, OutputFailed, UsageError
from mattebridge.frames import FrameSet

from . import frame_keys, host, job_request, render_check, rendered_inputs, result, script_facts, versions
from .command_line import CommandLine
from .job_request import Plan
from .node_settings import spans
from .render_spec import RenderSpec
from .versions import Version

PAIR_FLAGS = {"context": "--context", "params": "--param"}
"""Fields of a request that are tables: a flag for each pair. Every other field is a flag of its own name."""
OUT_FLAGS = {"out": "--alpha", "fgr": "--fgr", "cleanplate": "--cleanplate"}
"""What is written, as a bundle's flags name it."""
BUNDLE_FLAGS = {**OUT_FLAGS, "view": "--view"}
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
        words = [f"{flag}={self.request[name]}" for name, flag in BUNDLE_FLAGS.items() if self.request.get(name)]
        return ["farm", "bundle", f"--plan={plan}", f"--out={folder}", *words]

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
    wanted = [_wanted(node) for node in _enabled_nodes(script)]
    return [job for one in wanted for job in _jobs(one.plan, one.version)]


def prepare(node_name: str) -> int:
    """Before a node's jobs run: render what a server needs as files, and open the version with its record.

    Starts no inference. Gives the number of frames that were rendered. Raises `InputError` for a node that is not there
    or an input that cannot be rendered or may not be used, `UsageError` for a node that cannot work.
    """
    return prepare_node(_node(node_name))[0]


def prepare_node(node: host.Node, stop: Callable[[], None] = rendered_inputs.go_on) -> tuple[int, list[NodeJob]]:
    """As `prepare`, of a node in hand; with the jobs that follow. ``stop`` is asked after each rendered frame."""
    wanted = _wanted(node)
    result.spare_the_farm(node, wanted.plan, wanted.keys)
    count = rendered_inputs.render_stale(node, wanted.plan, wanted.keys, stop)
    rendered_inputs.refuse_shared_mask(wanted.plan)
    version = wanted.version
    if not version.digest:
        digest = job_request.version_digest(wanted.plan, wanted.joined, "")
        version = replace(version, digest=digest, shot=str(wanted.plan.facts.shot), keys=wanted.joined)
        versions.save(version)
    return count, _jobs(wanted.plan, version)


def take_results(script: str = "") -> list[str]:
    """After the jobs: every enabled node whose version is whole reads it; their names. Saving the script is the
    caller's. Raises what `jobs_of` raises.
    """
    return [host.full_name(node) for node in _enabled_nodes(script) if _take(node)]


def _take(node: host.Node) -> bool:
    wanted = _wanted(node)
    facts, version = wanted.plan.facts, wanted.version
    whole = bool(version.digest) and not version.missing(facts.views)
    if whole:
        result.show(node, facts, version, facts.views)
    return whole


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
    sure = [one for one in found if not one.unsure]
    version = versions.matching(sure, lambda model: job_request.version_digest(plan, joined, model))
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
    node = _node(node_name)
    if write:
        refuse_comp(node, write)
    script, made = host.script_path(), list[str]()
    for job in prepare_node(node)[1]:
        made.append(make_bundle(CommandLine(), job, folder, made, script, write, chunk))
    return made


def make_bundle(
    command: CommandLine,
    job: NodeJob,
    folder: str,
    others: Sequence[str] = (),
    script: str = "",
    write: str = "",
    chunk: int = 0,
) -> str:
    """Plan and bundle of one job whose inputs are on disk; gives the bundle's folder. From any thread.

    ``others`` are the bundles of the node's views before this one: all of them obey the plan of the first.
    """
    bundle = Path(folder) / "_".join(filter(None, (job.node.replace(".", "_"), job.version, job.view)))
    try:
        bundle.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise OutputFailed(f"the farm job cannot be written: {reason.strerror}", file=str(bundle)) from reason
    plan = f"{others[0] if others else bundle.as_posix()}/plan.json"
    if not others:
        command.run(*job.plan_words(plan))
    comp = [f"--nuke-script={script}", f"--nuke-write={write}"] if write else []
    command.run(*job.bundle_words(plan, bundle.as_posix()), f"--chunk={chunk}", *comp)
    return bundle.as_posix()


def refuse_comp(node: host.Node, write: str) -> None:
    """Raises `UsageError` for a comp that cannot follow the matte of ``node``."""
    name = host.full_name(node)
    if not host.script_path():
        raise UsageError("a comp job needs a script on disk", remedy="Save the script.")
    found = host.named(write)
    if found is None or found.Class() != "Write":
        raise UsageError(f"the script has no Write named {write}", remedy="Name the Write that renders the comp.")
    if host.get(found, "disable"):
        raise UsageError(f"{write} is disabled", remedy="Enable it, or name another Write.")
    if name not in [host.full_name(one.node) for one in host.bridge_nodes_above(found)]:
        raise UsageError(f"{write} does not render {name}", remedy="Name a Write below the node.")
    views = script_facts.gather(node).views
    if len(views) > 1:
        raise UsageError(
            f"the views {' and '.join(views)} are a job each, and a comp waits for one",
            remedy="Send the mattes without a comp, and render it when they are there.",
        )


def render_comp(frames: str, write: str, made: str, script: str) -> int:
    """A farm's comp task, in `nuke -t`: render a Write of ``script`` with the matte that the job made; exit status.

    The script was saved before there was a matte. The node whose version is in the folder ``made`` reads it here; a
    node that has none yet takes what is whole; nothing is saved. (The folder decides, not what the inputs look like
    now: on a worker they may be copies.) A failure is one ERROR: line.
    """
    try:
        host.open_script(script)
        found = host.named(write)
        if found is None:
            raise InputError(f"the script has no node {write}", file=script, remedy="Name one of its Writes.")
        for one in host.bridge_nodes_above(found):
            _read_result(one.node, made)
        for first, last in spans(FrameSet.parse(frames)):
            host.render_write(found, first, last)
    except MatteBridgeError as reason:
        host.complain(f"ERROR: {reason}")
        return reason.exit_status
    except Exception as reason:  # what Nuke raises: a farm looks for one line
        if render_check.complained():
            return InputError.exit_status
        host.complain(f"ERROR: {write}: {reason}")
        return MatteBridgeError.exit_status
    return 0


def _read_result(node: host.Node, made: str) -> None:
    folder = versions.node_folder(script_facts.result_folder(node), host.script_path(), host.full_name(node))
    for version in versions.on_disk(folder):
        if version.roles and os.path.realpath(version.folder) == os.path.realpath(made):
            result.put_version(node, versions.where_it_lies(version))
            return
    if not host.get(node, "has_matte"):
        _take(node)


def _node(name: str) -> host.Node:
    node = next((one for one in host.bridge_nodes() if host.full_name(one) == name), None)
    if node is None:
        raise InputError(f"the script has no MatteBridge node {name}", remedy="Ask jobs_of() for their names.")
    return node


def _jobs(plan: Plan, version: Version) -> list[NodeJob]:
    """One for each view."""
    facts = plan.facts
    jobs = []
    for view in facts.views:
        request = job_request.request(plan, view, version.roles, facts.settings.delivery)
        missing = version.missing((view,)) if version.digest else facts.shot
        jobs.append(NodeJob(facts.settings.name, view, version.name, request, plan.renders, missing))
    return jobs
