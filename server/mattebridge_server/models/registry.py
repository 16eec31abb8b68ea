"""Models by name: those that ship here, and those that a studio's own package adds.

A package adds a model by an entry point in the group ``mattebridge.models``, whose name is the model's name and whose
object is a `Model` subclass. A broken add-on is reported and left out; it never keeps the server from starting.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from mattebridge.errors import ModelUnknown

from .base import Model

GROUP = "mattebridge.models"
SHIPPED = {
    "edge": "mattebridge_server.models.edge:Edge",
    "identity": "mattebridge_server.models.identity:Identity",
    "videomama": "mattebridge_server.models.videomama:VideoMaMa",
    "sam2": "mattebridge_server.models.sam2:Sam2",
    "sam2-matte": "mattebridge_server.models.sam2:Sam2Matte",
    "lama": "mattebridge_server.models.lama:LaMa",
}


@dataclass(frozen=True)
class Registry:
    """Model classes by name, and why an add-on could not be taken, by its name."""

    classes: dict[str, type[Model]]
    broken: dict[str, str]

    def get(self, name: str) -> type[Model]:
        """Raises `ModelUnknown` with the names there are, or with what is wrong with the add-on of that name."""
        if name in self.classes:
            return self.classes[name]
        if name in self.broken:
            raise ModelUnknown(
                f"the model {name!r} could not be imported: {self.broken[name]}", remedy="Mend or remove it."
            )
        raise ModelUnknown(f"no model is called {name!r}", remedy=f"Choose one of {', '.join(sorted(self.classes))}.")


def load_registry() -> Registry:
    """Import every model's module (cheap by rule: torch is imported when a model is loaded)."""
    found = [EntryPoint(name, target, GROUP) for name, target in SHIPPED.items()]
    found += [entry for entry in entry_points(group=GROUP) if entry.name not in SHIPPED]
    classes: dict[str, type[Model]] = {}
    broken: dict[str, str] = {}
    for entry in found:
        try:
            classes[entry.name] = _checked(entry)
        except Exception as error:  # an add-on may fail in any way
            broken[entry.name] = f"{type(error).__name__}: {error}"
    return Registry(classes, broken)


def _checked(entry: EntryPoint) -> type[Model]:
    module, _, name = entry.value.partition(":")
    cls = getattr(importlib.import_module(module), name)
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        raise TypeError(f"{entry.value} is not a Model")
    if cls.card.name != entry.name:
        raise ValueError(f"the card calls it {cls.card.name!r}, the entry point {entry.name!r}")
    return cls
