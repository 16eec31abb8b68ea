"""Paths of users: translated between platforms, and refused where they lead out of the allowed roots.

Translation (`map_path`) is string work and may run anywhere. Everything else touches the disk and belongs to the path
helper and the engine. A link may be swapped between the answer here and an open: against that stands `confine`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mattebridge.errors import PathRefused
from mattebridge.messages import JobRequest
from mattebridge.requests import PATH_FIELDS

_DRIVE = re.compile(r"[A-Za-z]:(?:/|\Z)")
_ODD_ROOTS = ("/proc", "/dev", "/sys")
_PLATFORM: str = sys.platform


@dataclass(frozen=True)
class PathMap:
    """One folder under its names on each platform; a name that does not exist there is empty."""

    linux: str = ""
    macos: str = ""
    windows: tuple[str, ...] = ()

    def name_on(self, platform: str) -> str:
        """The folder's name for ``sys.platform``; empty where the site does not give one."""
        if platform.startswith("win"):
            return self.windows[0] if self.windows else ""
        return self.macos if platform == "darwin" else self.linux


def map_path(path: str, maps: Sequence[PathMap], platform: str = sys.platform) -> str:
    """``path``, in any platform's form, as this platform writes it. No map fits: returned as it is, slashes normalised.

    The longest fitting name wins; names fit whole components only. Windows and UNC names ignore case. Sequence tokens
    (`####`, `%04d`, `%V`) pass through untouched. Raises `PathRefused` for NUL, for ``..`` and for a Windows or UNC
    form that no map translates on a platform that has no such thing.
    """
    if "\0" in path:
        raise _refused("the path holds a NUL character", path.replace("\0", "\\0"))
    foreign = is_windows_form(path)
    plain = path.replace("\\", "/") if foreign or platform.startswith("win") else path
    if ".." in plain.split("/"):
        raise _refused("the path climbs with '..'", path, "Give the path without '..' components.")
    best, rest = "", ""
    for entry in maps:
        target = entry.name_on(platform)
        for name in (entry.linux, entry.macos, *entry.windows) if target else ():
            tail = _tail_under(plain, name)
            if tail is not None and len(name) > len(best):
                best, rest = name, _join(target, tail, platform)
    if best:
        return rest
    if foreign and not platform.startswith("win"):
        raise _refused(
            "the server has no name for this Windows path",
            path,
            "Add a [[path_map]] for it to the site file, or use --delivery exr.",
        )
    return plain


def is_windows_form(path: str) -> bool:
    """Whether the path is a drive letter's or a UNC name, as only Windows writes them (``P:/x``, ``//filer/x``)."""
    return bool(_DRIVE.match(path.replace("\\", "/"))) or path.startswith(("\\\\", "//"))


def inside(path: str, roots: Sequence[str]) -> bool:
    """Whether ``path`` (absolute, resolved) is a root or under one. No roots: all but the kernel's own folders."""
    if not roots:
        return not any(_tail_under(path, odd) is not None for odd in _ODD_ROOTS)
    return any(_tail_under(path, os.path.realpath(root)) is not None for root in roots)


def resolve(path: str, roots: Sequence[str]) -> Path:
    """Where ``path`` leads after all symlinks; it need not exist. Raises `PathRefused` outside the roots.

    Between this answer and an open, the disk may change (see `confine`).
    """
    _refuse_odd(path)
    real = os.path.realpath(path)
    if not inside(real, roots):
        raise _outside(path, real, roots)
    return Path(real)


def require_inside(request: JobRequest, roots: Sequence[str]) -> None:
    """Raises `PathRefused` where one of the job's paths leaves the roots; without roots there is nothing to leave."""
    for path in (getattr(request, name) for name in PATH_FIELDS):
        if path and roots:
            resolve(path, roots)


def _refuse_odd(path: str) -> None:
    if not path or "\0" in path:
        raise _refused("the path is empty or holds a NUL character", path.replace("\0", "\\0"))
    if not Path(path).is_absolute():
        raise _refused("the path is not absolute", path, "Give the whole path.")
    if _PLATFORM != "win32" and is_windows_form(path):
        raise _refused("the server has no name for this Windows path", path)
    if ".." in re.split(r"[\\/]" if _PLATFORM == "win32" else "/", path):
        raise _refused("the path climbs with '..'", path, "Give the path without '..' components.")


def _tail_under(path: str, name: str) -> str | None:
    """What follows ``name`` in ``path``; "" where they are equal, None where the path is not under the name."""
    if not name:
        return None
    windows = is_windows_form(name)
    stem = (name.replace("\\", "/") if windows else name).rstrip("/")
    head, tail = path[: len(stem)], path[len(stem) :]
    same = head.lower() == stem.lower() if windows else head == stem
    return tail.lstrip("/") if same and (not tail or tail.startswith("/")) else None


def _join(target: str, tail: str, platform: str) -> str:
    base = target.replace("\\", "/") if platform.startswith("win") else target
    return f"{base.rstrip('/')}/{tail}" if tail else base


def _refused(message: str, path: str, remedy: str = "") -> PathRefused:
    return PathRefused(message, file=path, remedy=remedy)


def _outside(path: str, real: str, roots: Sequence[str]) -> PathRefused:
    via = f" (it leads to {real})" if real != path else ""
    allowed = ", ".join(roots) or "the user's own folders"
    return PathRefused(f"the path is outside the allowed roots{via}", file=path, details={"roots": allowed})
