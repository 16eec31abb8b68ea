"""The parameters of a model as knobs of the node: made from DESCRIBE, saved with the script like any user knob.

Knobs are named `p_{model}__{parameter}` and live on the last tab. They are added in the main thread at the press of
Refresh models, never in a callback; a change of model only shows one set and hides the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import host

if TYPE_CHECKING:
    from mattebridge.messages import ModelInfo, ParamInfo, ParamValue

TAB = "mb_model_tab"
PREFIX = "p_"
DEFAULTS = "param_defaults"
"""The knob with the defaults of the parameters whose knobs are saved with the script, to be saved with them."""

KINDS = {"bool": "Boolean_Knob", "int": "Int_Knob", "float": "Double_Knob", "str": "String_Knob"}


def knob_of(model: str, param: str) -> str:
    """`p_sam2_matte__band`: knob names take no dashes, and `sam2` must not claim the knobs of `sam2-matte`."""
    return PREFIX + "".join(mark if mark.isalnum() else "_" for mark in model) + f"__{param}"


def cache_text(models: Iterable[ModelInfo]) -> str:
    """What is to be known of the models without asking a server: names, presets, parameters with their defaults."""
    table = {
        info.name: {
            "presets": [preset.name for preset in info.presets],
            "params": {param.name: param.default for param in info.params},
        }
        for info in models
    }
    return json.dumps(table)


def cached(node: host.Node) -> dict[str, Any]:
    return _table(node, "model_cache")


def _table(node: host.Node, name: str) -> dict[str, Any]:
    try:
        table = json.loads(str(host.get(node, name)) or "{}")
    except ValueError:
        return {}
    return table if isinstance(table, dict) else {}


def add(node: host.Node, models: Sequence[ModelInfo]) -> None:
    """Add the knobs that are not there yet. One undo step would confuse: none is made."""
    with host.quiet():
        known = {info.name: {param.name: param.default for param in info.params} for info in models}
        host.put(node, {DEFAULTS: json.dumps({**_table(node, DEFAULTS), **known})})
        for info in models:
            for param in info.params:
                name = knob_of(info.name, param.name)
                if not host.has(node, name):
                    _ensure_tab(node)
                    _add_one(node, info.name, name, param)


def _ensure_tab(node: host.Node) -> None:
    if not host.has(node, TAB):
        host.add_knob(node, "Tab_Knob", TAB, "Model", "")


def _add_one(node: host.Node, model: str, name: str, param: ParamInfo) -> None:
    label = param.label or param.name.replace("_", " ")
    hint = f"{param.hint} ({model})" if param.hint else model
    if param.choices:
        items = list(param.choices)
        host.add_knob(node, "Enumeration_Knob", name, label, hint, items=items, default=str(param.default))
        return
    kind = KINDS[param.type]
    host.add_knob(node, kind, name, label, hint, low=param.low, high=param.high, default=param.default)


def show(node: host.Node, model: str) -> None:
    """Only the chosen model's parameters are shown."""
    for other, entry in cached(node).items():
        for param in entry.get("params", {}):
            name = knob_of(other, param)
            if host.has(node, name):
                host.show_knob(node, name, visible=other == model)


def values(node: host.Node) -> dict[str, ParamValue]:
    """The chosen model's parameters as set on the node; empty before the first Refresh models."""
    model = chosen(node)
    prefix = knob_of(model, "")
    table = defaults(node)
    if table:
        pairs = {param: knob_of(model, param) for param in table}
    else:
        pairs = {name[len(prefix) :]: name for name in host.knob_names(node) if name.startswith(prefix)}
    return {param: host.get(node, name) for param, name in pairs.items() if host.has(node, name)}


def defaults(node: host.Node) -> Mapping[str, ParamValue]:
    """What the chosen model takes where nothing is said; empty before the first Refresh models."""
    table: Mapping[str, ParamValue] = _table(node, DEFAULTS).get(chosen(node), {})
    return table


def chosen(node: host.Node) -> str:
    """The name of the node's model: the saved text is the truth, the menu may not be filled yet."""
    return str(host.get(node, "model_name") or host.get(node, "model"))
