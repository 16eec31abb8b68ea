"""What scene-linear means in this script, in the words that the server understands.

`$OCIO` overrides the project settings, as it does in Nuke; then a custom config, then the stock config by its path.
In Nuke's own mode the working space is linear Rec.709, and the status says so. So it is in the stock config
nuke-default, whose file has curves alone and does not say which gamut they are for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from mattebridge.config_digest import BUILTIN_SCHEME, NUKE_DEFAULT, declared_variables

SCENE_LINEAR = "scene_linear"


@dataclass(frozen=True)
class ScriptColour:
    """``config`` for the request; ``space`` of pictures that Nuke writes raw; ``text`` for the panel."""

    config: str
    space: str
    text: str
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def ocio(self) -> bool:
        return self.config != NUKE_DEFAULT


def script_colour(root: Callable[[str], Any], environment: Mapping[str, str]) -> ScriptColour:
    """``root`` gives project settings by knob name, "" for one that this Nuke does not have."""
    named = environment.get("OCIO", "")
    if named:
        return _ocio(named, "$OCIO")
    if str(root("colorManagement")) != "OCIO":
        return ScriptColour(NUKE_DEFAULT, "", "linear Rec.709 (Nuke's own colour management)")
    choice = str(root("OCIO_config"))
    if choice == "custom":
        return _ocio(str(root("customOCIOConfigPath")), "custom config")
    if choice == NUKE_DEFAULT:
        return ScriptColour(NUKE_DEFAULT, "", "linear Rec.709 (the nuke-default config)")
    stock = str(root("OCIOConfigPath") or "")
    if stock:
        return _ocio(stock, choice)
    return ScriptColour("", "", f"unknown: the path of the config {choice} cannot be read from this Nuke")


_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")


def with_context(colour: ScriptColour, environment: Mapping[str, str]) -> ScriptColour:
    """With the values of the variables that the config stands on (`$SHOT` ...), as this Nuke has them.

    A config that declares its variables gets those; one that does not gets every variable that its text names. A config
    that cannot be read is left to CHECK, which says so.
    """
    if not colour.ocio or not colour.config or colour.config.startswith(BUILTIN_SCHEME):
        return colour
    try:
        text = Path(colour.config).read_text("utf-8", "replace")
    except OSError:
        return colour
    declared = declared_variables(text)
    names = set(_VARIABLE.findall(text)) if declared is None else set(declared)
    return replace(colour, context={name: environment[name] for name in sorted(names) if name in environment})


def _ocio(config: str, origin: str) -> ScriptColour:
    path = config.replace("\\", "/")
    return ScriptColour(path, SCENE_LINEAR, f"scene_linear of {path.rpartition('/')[2] or path} ({origin})")
