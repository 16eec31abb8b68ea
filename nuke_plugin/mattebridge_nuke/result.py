"""Putting a version on the node: one named undo step of plain knob values. Main thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mattebridge.errors import UsageError
from mattebridge.frames import FrameSet

from . import frame_keys, host, rendered_inputs, status_text, versions
from .job_request import Plan
from .node_settings import MADE
from .script_facts import NodeFacts
from .versions import Version

FILE_KNOBS = {
    "alpha": ("alpha_path", "has_matte"),
    "fgr": ("fgr_path", "has_fgr"),
    "cleanplate": ("cleanplate_path", "has_cleanplate"),
}
NO_VERSION = "none"
CACHE = "version_cache"
WAITING = "farm_version"
"""The knob with the version that the farm makes for this node; saved with the script."""

READS = ("ReadAlpha", "ReadFgr", "ReadCleanplate", "ReadCompare", "ReadMask")


def show(node: host.Node, facts: NodeFacts, version: Version, views: tuple[str, ...]) -> str:
    """Switch when the version is complete, or at once with preview partial; says so when it is not shown.

    A node that shows this version already, or none at all, has nothing to protect: it shows what there is.
    """
    missing = version.missing(views)
    refresh_menu(node, facts)
    other = host.get(node, "has_matte") and not is_shown(node, version)
    if missing and other and not facts.settings.preview_partial:
        return status_text.waiting_version(version.name, missing)
    if not missing and host.get(node, WAITING) == version.name:
        wait_for(node, "")
    if len(missing) < len(version.frames()):
        put_version(node, version)
        set_label(node, version, missing, FrameSet())
    return ""


def is_shown(node: host.Node, version: Version) -> bool:
    """Whether the node reads this version: a copied or renamed node reads one of the same name in another folder."""
    named = str(host.get(node, "version_name")) == version.name
    return named and host.pattern(node, "alpha_path") == version.roles.get("alpha", "")


def spare_the_farm(node: host.Node, job: Plan, keys: Mapping[str, Mapping[int, str]]) -> None:
    """Raises `UsageError` where rendering would write over inputs from which the farm still makes a version."""
    waiting = str(host.get(node, WAITING))
    found = next((one for one in versions.on_disk(job.facts.folder) if one.name == waiting), None)
    if found is not None and found.missing(job.facts.views) and rendered_inputs.replaced(job, keys):
        raise UsageError(
            f"the farm still makes {waiting} from the rendered inputs, and these have changed",
            remedy="Wait for it and press Reload. Or stop its job on the farm, press Cancel, then press again.",
        )


def wait_for(node: host.Node, name: str) -> None:
    """The farm makes this version from now on; none when ``name`` is empty. Reload shows it when it is whole."""
    shown = str(host.get(node, "version_name"))
    host.put_quiet(node, {WAITING: name, "node_label": status_text.with_farm(shown, name)})


def put_version(node: host.Node, version: Version) -> None:
    """Have the node read ``version``, and its menu say so."""
    before = str(host.get(node, "version"))
    names = list(dict.fromkeys((*menu_of(node), version.name)))
    host.set_menu(node, "version", names, before)
    _put_knobs(node, {**knobs_of(version), "version": version.name})
    host.set_menu(node, "version", names, version.name)
    host.reload(node, READS)


def choose(node: host.Node, name: str) -> None:
    """The artist took a version from the menu. No look at the disk, so that a callback may do it."""
    try:
        knobs = json.loads(str(host.get(node, CACHE)) or "{}").get(name)
    except ValueError:
        knobs = None
    if knobs:
        _put_knobs(node, knobs)
        name_version(node)


def name_version(node: host.Node) -> None:
    """The menu and the label name the version that is read, without a look at the disk."""
    shown = str(host.get(node, "version_name"))
    if shown:
        host.set_menu(node, "version", host.menu_items(node, "version"), shown)
    host.put_quiet(node, {"node_label": status_text.with_farm(shown, str(host.get(node, WAITING)))})


def knobs_of(version: Version) -> dict[str, Any]:
    """The plain values with which the node reads ``version``."""
    frames = version.frames()
    values: dict[str, Any] = {"result_first": frames.first, "result_last": frames.last, "version_name": version.name}
    for role, (path_knob, flag_knob) in FILE_KNOBS.items():
        values[path_knob] = version.roles.get(role, "")
        values[flag_knob] = role in version.roles
    return values


def _put_knobs(node: host.Node, values: Mapping[str, Any]) -> None:
    """One undo step, named after the node and the version; nothing at all when it is shown already."""
    changed = {name: value for name, value in values.items() if host.get(node, name) != value}
    if changed:
        with host.undo_step(f"{host.full_name(node)} {values['version_name']}"), host.filling():
            host.put(node, changed)


def show_mask(node: host.Node, facts: NodeFacts, version: Version, views: tuple[str, ...]) -> str:
    """A made mask becomes the mask of the node."""
    del facts
    missing = version.missing(views)
    if missing:
        return status_text.waiting_version(f"mask {version.name}", missing)
    frames = version.frames()
    with host.undo_step(f"{host.full_name(node)} mask {version.name}"):
        host.put(node, {"mask_path": version.roles["alpha"], "has_mask": True, "mask_from": MADE})
        host.put(node, {"mask_first": frames.first, "mask_last": frames.last})
    host.reload(node, READS)
    return ""


def menu_of(node: host.Node) -> list[str]:
    """Names of the versions in the menu."""
    return [item for item in host.menu_items(node, "version") if item != NO_VERSION]


def refresh_menu(node: host.Node, facts: NodeFacts) -> list[Version]:
    """The version menu, and what each of its items would show, from what is on disk; gives the versions."""
    shown = str(host.get(node, "version_name"))
    found = [one for one in versions.on_disk(facts.folder) if one.roles and (not one.unsure or one.name == shown)]
    host.put_quiet(node, {CACHE: json.dumps({version.name: knobs_of(version) for version in found})})
    names = [version.name for version in found]
    host.set_menu(node, "version", names if shown else [NO_VERSION, *names], shown or NO_VERSION)
    return found


def refresh(node: host.Node, facts: NodeFacts) -> str:
    """Read files again, count what is missing and stale; the status text."""
    found = {version.name: version for version in refresh_menu(node, facts)}
    host.reload(node, READS)
    waits = _from_farm(node, facts, found)
    shown = found.get(str(host.get(node, "version_name")))
    if shown is None or not is_shown(node, shown):
        return waits or _from_elsewhere(node)
    host.put_quiet(node, {"result_first": shown.frames().first, "result_last": shown.frames().last})
    now = frame_keys.joined(rendered_inputs.keys_now(node, facts), facts.shot)
    stale = frame_keys.changed(shown.keys, now)
    missing = shown.missing(facts.views)
    set_label(node, shown, missing, stale)
    text = status_text.label(shown.name, len(shown.frames()), missing, stale)
    return "\n".join(filter(None, (f"{text} ({stale})" if stale else text, waits)))


def _from_elsewhere(node: host.Node) -> str:
    """What is said of a node that shows no version of its own folder."""
    if not host.get(node, "has_matte"):
        return "no matte yet"
    return status_text.elsewhere(str(host.get(node, "version_name")), host.pattern(node, "alpha_path"))


def _from_farm(node: host.Node, facts: NodeFacts, found: Mapping[str, Version]) -> str:
    """Show the version that this node waits for when it is whole, or begun with preview partial; how far it is."""
    name = str(host.get(node, WAITING))
    version = found.get(name)
    if version is None:
        if name:
            wait_for(node, "")
        return ""
    show(node, facts, version, facts.views)
    missing = version.missing(facts.views)
    return status_text.on_the_farm(name, len(version.frames()), missing) if missing else ""


def mark_stale(node: host.Node, facts: NodeFacts, version: Version, stale: FrameSet) -> None:
    """What changed while the version was made, on the label of a node that shows it."""
    if is_shown(node, version):
        set_label(node, version, version.missing(facts.views), stale)


def set_label(node: host.Node, version: Version, missing: FrameSet, stale: FrameSet) -> None:
    text = status_text.label(version.name, len(version.frames()), missing, stale)
    host.put_quiet(node, {"node_label": status_text.with_farm(text, str(host.get(node, WAITING)))})
