"""What the `types-nuke` stubs declare, read from their .pyi files: the fake may have nothing that they do not have."""

from __future__ import annotations

import ast
import importlib.metadata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Stubs:
    """``classes`` maps a class to its own and inherited attributes, ``names`` are the module's own names."""

    classes: dict[str, frozenset[str]]
    names: frozenset[str]


class NotInStubs(Exception):
    """The fake offers an attribute that the stubs do not declare."""


@lru_cache(maxsize=1)
def load() -> Stubs:
    """Parse every module that `nuke-stubs/__init__.pyi` re-exports with a star."""
    folder = _folder()
    names: set[str] = set()
    own: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for file in ("_nuke", "utils", "callbacks", "colorspaces", "executeInMain", "overrides", "scripts"):
        for item in ast.parse((folder / f"{file}.pyi").read_text("utf-8")).body:
            names.update(_declared(item))
            if isinstance(item, ast.ClassDef):
                own[item.name] = {name for part in item.body for name in _declared(part)}
                bases[item.name] = [base.id for base in item.bases if isinstance(base, ast.Name)]
    classes = {name: frozenset(_inherited(name, own, bases)) for name in own}
    return Stubs(classes, frozenset(names))


def _folder() -> Path:
    files = importlib.metadata.files("types-nuke") or []
    return Path(str(next(file for file in files if file.name == "_nuke.pyi").locate())).parent


def _declared(item: ast.stmt) -> list[str]:
    if isinstance(item, (ast.FunctionDef, ast.ClassDef)):
        return [item.name]
    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
        return [item.target.id]
    if isinstance(item, ast.Assign):
        return [target.id for target in item.targets if isinstance(target, ast.Name)]
    if isinstance(item, ast.ImportFrom):
        return [alias.asname or alias.name for alias in item.names if alias.name != "*"]
    return []


def _inherited(name: str, own: dict[str, set[str]], bases: dict[str, list[str]]) -> set[str]:
    found = set(own.get(name, ()))
    for base in bases.get(name, ()):
        found |= _inherited(base, own, bases)
    return found


def require_class(fake: type, name: str) -> None:
    """Raises `NotInStubs` when a public attribute of ``fake`` is not declared for the stub class ``name``."""
    declared = load().classes.get(name)
    if declared is None:
        raise NotInStubs(f"types-nuke has no class {name}")
    extra = {attr for attr in dir(fake) if not attr.startswith("_")} - declared
    if extra:
        raise NotInStubs(f"types-nuke's {name} has no {', '.join(sorted(extra))}")


def require_names(names: set[str]) -> None:
    """Raises `NotInStubs` when a name of the fake module is not declared."""
    extra = names - load().names
    if extra:
        raise NotInStubs(f"types-nuke's nuke has no {', '.join(sorted(extra))}")
