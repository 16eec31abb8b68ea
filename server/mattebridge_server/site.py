"""The site file: what a studio decides once, in TOML. Found by ``--site FILE`` or ``MATTEBRIDGE_SITE``.

roots = ["/mnt/projects"]                 # nothing outside is ever read or written; empty: no limit (local servers)

[[path_map]]                              # one folder under its names on each platform
linux = "/mnt/projects"
macos = "/Volumes/projects"
windows = ["P:/", '//filer/projects']     # drive letters and UNC names, any slashes, any case

[licences]
allow = ["Apache-2.0", "MIT"]             # absent: a model's licence is accepted by whoever installs it

[shows.default]                           # for every show that has no table of its own
plate_space = "ACEScg"

[presets.hero]                            # a job that names the preset takes what it does not state itself
model = "videomama"
preset = "large"
params = { linear_light = true }

[output]
umask = "0002"
group = "vfx"

[models]
folders = ["/mnt/models/mattebridge"]
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

import msgspec
import tomllib

from mattebridge.errors import InputError
from mattebridge.messages import JobRequest, ParamValue
from mattebridge.requests import CHOICES

from .paths import PathMap

ENVIRONMENT_VARIABLE = "MATTEBRIDGE_SITE"
DEFAULT_SHOW = "default"


@dataclass(frozen=True)
class LicencePolicy:
    """``allow`` lists SPDX names; None means that the site has no policy, and each user decides."""

    allow: tuple[str, ...] | None = None

    def allows(self, licence: str) -> bool:
        """Whether the policy, if there is one, names this licence; case does not matter."""
        return self.allow is None or licence.lower() in {name.lower() for name in self.allow}


@dataclass(frozen=True)
class Show:
    """Defaults of one show. ``config`` is a pinned OCIO URI or a path on the server."""

    plate_space: str = ""
    config: str = ""


@dataclass(frozen=True)
class Preset:
    """Values for the fields of a `JobRequest` that the job left at their defaults."""

    model: str = ""
    preset: str = ""
    precision: str = ""
    look: str = ""
    params: dict[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """How result files are made: ``umask`` is octal text, ``group`` a group's name; empty leaves the process's own."""

    umask: str = ""
    group: str = ""

    @property
    def umask_bits(self) -> int | None:
        return int(self.umask, 8) if self.umask else None

    def group_id(self, file: str = "") -> int | None:
        """The group's number on this machine; None where none is named, and on Windows, which has no such groups.

        ``file`` is the site file's name, for the error. Raises `InputError` for a group that is not known here, or that
        this user may not give its files to.
        """
        if not self.group or sys.platform == "win32":
            return None
        import grp

        try:
            number = grp.getgrnam(self.group).gr_gid
        except KeyError:
            raise _refusal(f"this machine has no group '{self.group}', which results are to belong to", file) from None
        if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
            raise _refusal(
                f"the server's user is not in the group '{self.group}', which results are to belong to", file
            )
        return number


@dataclass(frozen=True)
class Models:
    """Folders with weights, searched in order after those of the command line."""

    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """A studio's decisions. `Site()` is a site without any."""

    roots: tuple[str, ...] = ()
    path_map: tuple[PathMap, ...] = ()
    licences: LicencePolicy = field(default_factory=LicencePolicy)
    shows: dict[str, Show] = field(default_factory=dict)
    presets: dict[str, Preset] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    models: Models = field(default_factory=Models)

    @classmethod
    def parse(cls, text: str, file: str = "site.toml") -> Site:
        """The site that ``text`` describes; empty text is an empty site. Raises `InputError` naming file and line."""
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _refusal(str(error), file) from error
        for place in _unknown(tree, cls):
            raise _refusal(f"'{place}' is not a setting of the site file{_line(text, place)}", file)
        _listed(tree)
        try:
            site = msgspec.convert(tree, cls)
        except msgspec.ValidationError as error:
            place = str(error).rpartition("`$.")[2].rstrip("`")
            raise _refusal(f"{error}{_line(text, place)}", file) from error
        _verify(site, text, file)
        return site

    def show(self, name: str) -> Show:
        """Defaults of a show: its own table, else the table ``default``, else nothing."""
        return self.shows.get(name) or self.shows.get(DEFAULT_SHOW) or Show()

    def apply_preset(self, request: JobRequest) -> JobRequest:
        """The request with the site's preset of that name filled in; what the job states itself stays."""
        preset = self.presets.get(request.preset)
        if preset is None:
            return request
        blank = JobRequest(plate="")
        filled = {
            name: getattr(preset, name)
            for name in ("model", "precision", "look")
            if getattr(preset, name) and getattr(request, name) == getattr(blank, name)
        }
        return replace(request, preset=preset.preset, params={**preset.params, **request.params}, **filled)


def find_site(flag: str, environ: Mapping[str, str]) -> str:
    """The text of the site file named by the flag or by the environment; empty where neither names one.

    Raises `InputError` where it cannot be read or is not right: here its name is known.
    """
    name = flag or environ.get(ENVIRONMENT_VARIABLE, "")
    if not name:
        return ""
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the site file cannot be read: {error}",
            remedy=f"Correct --site or {ENVIRONMENT_VARIABLE}, or remove it to run without a site file.",
            file=name,
        ) from error
    Site.parse(text, name)
    return text


def _unknown(tree: Mapping[str, object], cls: type) -> Iterator[str]:
    """Dotted names of keys that no field of ``cls`` takes: a misspelt policy must not be a policy without effect."""
    inner = {"licences": LicencePolicy, "output": Output, "models": Models}
    each = {"shows": Show, "presets": Preset}
    known = {item.name for item in fields(cls)} if is_dataclass(cls) else set()
    for key, value in tree.items():
        if key not in known:
            yield key
        elif cls is not Site:
            continue
        elif key in inner and isinstance(value, dict):
            yield from (f"{key}.{name}" for name in _unknown(value, inner[key]))
        elif key in each and isinstance(value, dict):
            for name, table in value.items():
                if isinstance(table, dict):
                    yield from (f"{key}.{name}.{one}" for one in _unknown(table, each[key]))
        elif key == "path_map" and isinstance(value, list):
            for index, table in enumerate(value):
                if isinstance(table, dict):
                    yield from (f"{key}[{index}].{one}" for one in _unknown(table, PathMap))


def _listed(tree: Mapping[str, object]) -> None:
    maps = tree.get("path_map")
    for table in maps if isinstance(maps, list) else ():
        if isinstance(table, dict) and isinstance(table.get("windows"), str):
            table["windows"] = [table["windows"]]


def _verify(site: Site, text: str, file: str) -> None:
    for root in site.roots:
        if not Path(root).is_absolute() or "\0" in root:
            raise _refusal(f"the root '{root}' is not an absolute path{_line(text, 'roots')}", file)
    if site.output.umask and not re.fullmatch(r"(0o)?[0-7]{1,4}", site.output.umask):
        raise _refusal(f"umask '{site.output.umask}' is not octal{_line(text, 'output.umask')}", file)
    for name, preset in site.presets.items():
        if preset.look and preset.look not in CHOICES["look"]:
            line = _line(text, f"presets.{name}.look")
            raise _refusal(f"look '{preset.look}' is none of {', '.join(CHOICES['look'])}{line}", file)
    for index, entry in enumerate(site.path_map):
        if sum(map(bool, (entry.linux, entry.macos, *entry.windows))) < 2:
            raise _refusal(f"path_map[{index}] needs at least two names of the folder{_line(text, 'path_map')}", file)


def _line(text: str, place: str) -> str:
    """``, line N`` where the last key of a dotted place stands; empty where it cannot be told."""
    parts = [part for part in re.split(r"[.\[\]]", place) if part and not part.isdigit() and part != "..."]
    start = 0
    for key in parts:
        quoted = re.escape(key)
        found = re.search(rf"(?m)^.*(?<![\w-])[\"']?{quoted}[\"']?(?![\w-])", text[start:])
        if found is None:
            break
        start += found.start()
    else:
        return f", line {text.count(chr(10), 0, start) + 1}" if parts else ""
    return ""


def _refusal(message: str, file: str) -> InputError:
    return InputError(message, remedy="Correct the site file.", file=file)
