"""What Nuke calls on its own. Cheap, repeatable, no disk, no network, no rendering; nothing that could raise.

Nuke calls `knob_changed` for any change, also by scripts and while a script is loaded, and with the panel closed
(17.1): every branch may run at any time, any number of times.
"""

from __future__ import annotations

import os

from . import host, model_parameters, status_text
from .node_settings import AUTOMATIC
from .script_colour import script_colour

MENUS = {"model": "model_name", "preset": "preset_name"}
"""Menus whose items a machine decides are not saved; the plain text knob beside each is the truth."""


def created(node: host.Node) -> None:
    """New, pasted and loaded nodes: show what the script and the saved text say, in menus, status and working space."""
    for menu, text in {**MENUS, "version": "version_name"}.items():
        saved = str(host.get(node, text))
        if saved:
            host.set_menu(node, menu, host.menu_items(node, menu), saved)
    shown, waiting = str(host.get(node, "version_name")), str(host.get(node, "farm_version"))
    if waiting:
        label = status_text.with_farm(shown, waiting)
        host.put_quiet(node, {"node_label": label, "status": f"{label} as saved with the script; Reload looks again"})
    elif shown:
        host.put_quiet(node, {"status": f"{shown} as saved with the script; Reload looks for stale frames"})
    host.put_quiet(node, {"working_space": script_colour(host.root_value, os.environ).text})
    _enable(node)


def knob_changed(node: host.Node, knob: object) -> None:
    name = host.knob_name(knob)
    if host.is_filling():
        return
    if name in MENUS:
        _follow(node, name, MENUS[name])
        if name == "model":
            _model_changed(node)
    elif name == "version":
        _version_changed(node)
    elif name == "version_name":
        from . import result

        result.name_version(node)  # after undo and redo
    elif name == "range":
        _enable(node)


def _follow(node: host.Node, menu: str, text: str) -> None:
    chosen = str(host.get(node, menu))
    if host.get(node, text) != chosen:
        host.put_quiet(node, {text: chosen})


def _model_changed(node: host.Node) -> None:
    model = str(host.get(node, "model_name"))
    model_parameters.show(node, model)
    presets = model_parameters.cached(node).get(model, {}).get("presets", [])
    chosen = str(host.get(node, "preset_name"))
    items = [AUTOMATIC, *presets]
    host.set_menu(node, "preset", items, chosen if chosen in items else AUTOMATIC)
    _follow(node, "preset", "preset_name")


def _version_changed(node: host.Node) -> None:
    chosen = str(host.get(node, "version"))
    if chosen != host.get(node, "version_name"):
        from . import result

        result.choose(node, chosen)


def _enable(node: host.Node) -> None:
    host.show_knob(node, "frames", visible=True, enabled=host.get(node, "range") == "custom")
