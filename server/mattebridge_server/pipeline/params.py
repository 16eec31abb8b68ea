"""A job's parameters checked against a model's card: every name known, every value of its type and in range."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from mattebridge.errors import InputError, UsageError
from mattebridge.messages import ParamValue

from ..models.base import ModelCard, Param, Preset

SHARED: tuple[Param, ...] = (
    Param("linear_light", True, "Solve the alpha again in linear light (network models).", "Linear light"),
    Param("roi", True, "Spend the canvas on the subject's region instead of the whole plate.", "Region of interest"),
)
"""Parameters that the pipeline itself takes for every model that sees a network picture."""


def card_params(card: ModelCard) -> tuple[Param, ...]:
    """All parameters a job may state for this model: its own, then the pipeline's."""
    return card.params + (SHARED if card.plate_state == "display" and "alpha" in card.outputs else ())


def resolve_params(card: ModelCard, given: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Every parameter with its value, sorted by name. Raises `UsageError` for an unknown name or a bad value."""
    known = {param.name: param for param in card_params(card)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(sorted(known)) or 'none'}."
            raise UsageError(f"{card.name} has no parameter {name!r}", remedy=hint)
    return {name: _value(card, known[name], given.get(name, known[name].default)) for name in sorted(known)}


def resolve_preset(card: ModelCard, name: str) -> Preset | None:
    """The card's preset of that name; None where none is named. Raises `InputError` for one that it does not have."""
    if not name:
        return None
    for preset in card.presets:
        if preset.name == name:
            return preset
    names = ", ".join(preset.name for preset in card.presets)
    raise InputError(
        f"{card.name} has no preset {name!r}, and the server's site file has none of that name",
        remedy=f"Choose one of {names}." if names else "Leave it out: this model has no presets of its own.",
    )


def _value(card: ModelCard, param: Param, value: ParamValue) -> ParamValue:
    kind = type(param.default)
    value = _converted(value, kind)
    if type(value) is not kind:
        raise UsageError(f"{card.name}: {param.name} takes a {kind.__name__}, not {value!r}", remedy=param.hint)
    if param.choices and value not in param.choices:
        raise UsageError(f"{card.name}: {param.name} is one of {', '.join(param.choices)}, not {value!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = param.low, param.high
        if (low is not None and value < low) or (high is not None and value > high) or value != value:
            raise UsageError(f"{card.name}: {param.name} lies between {low} and {high}, not {value!r}")
    return value


def _converted(value: ParamValue, kind: type) -> ParamValue:
    """Numbers widen, whole floats narrow, and the words on/off, yes/no, true/false are booleans."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is bool:
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value.lower() in ("on", "yes", "true", "off", "no", "false"):
            return value.lower() in ("on", "yes", "true")
    return value
