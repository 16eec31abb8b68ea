"""Versions on disk: `{folder}/{node}/v003/{node}.%04d.exr` and one `version.json` beside the frames.

`version.json` says what the version was made from: a digest of the whole request with its parameters and model, the
key of every input frame, and whether it is complete. Another digest means another version; the same digest resumes it.
A new version starts with the frames of the last one as hard links (copies where the disk has no links): the server
keeps those whose own key still holds and replaces the rest by rename, so that the old version never changes. What was
carried over and not confirmed is taken away again when a job ends early: a version never holds a frame that is not its
own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Optional

from mattebridge.errors import OutputFailed
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

RECORD = "version.json"
_VERSION = re.compile(r"v(\d{3,})\Z")


@dataclass(frozen=True)
class Version:
    """One version of one node. ``roles`` maps alpha, fgr, cleanplate to the pattern of their files.

    ``unsure`` while a job runs on carried frames (a host that dies then leaves frames that no server confirmed), and
    after a job whose rendered inputs somebody wrote over. None of its frames counts until a job has been over it again.
    """

    number: int
    folder: str
    digest: str = ""
    shot: str = ""
    complete: bool = False
    keys: Mapping[int, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    unsure: bool = False

    @property
    def name(self) -> str:
        return f"v{self.number:03d}"

    def frames(self) -> FrameSet:
        return FrameSet.parse(self.shot) if self.shot else FrameSet()

    def missing(self, views: tuple[str, ...]) -> FrameSet:
        """Frames of the shot without a file, in any view and any role; all of them while nobody vouches for any."""
        if self.unsure:
            return self.frames()
        lacking = FrameSet()
        for pattern in self.roles.values():
            sequence = Sequence.parse(pattern)
            for view in views if sequence.has_view else ("",):
                lacking = lacking | sequence.missing(self.frames(), view)
        return lacking


def node_folder(folder: str, script: str, node: str) -> str:
    """Where a node's versions are. Empty when the script was never saved and no folder was given."""
    base = folder.rstrip("/")
    if not base and script:
        base = f"{script.rpartition('/')[0]}/mattebridge"
    return f"{base}/{node.replace('.', '_')}" if base else ""


def role_patterns(folder: str, node: str, version: int, roles: tuple[str, ...], several_views: bool) -> dict[str, str]:
    """Patterns of a version's files: alpha lies in the version's folder, other roles in folders of their own."""
    name = node.rpartition(".")[2]
    view = ".%V" if several_views else ""
    stem = f"{folder}/v{version:03d}"
    return {
        role: f"{stem}/{name}{view}.%04d.exr" if role == "alpha" else f"{stem}/{role}/{name}_{role}{view}.%04d.exr"
        for role in roles
    }


def on_disk(folder: str) -> list[Version]:
    """Every version that has a record, oldest first; a record that cannot be read counts as an empty version."""
    found = []
    for entry in sorted(Path(folder).glob("v*")) if folder else []:
        match = _VERSION.match(entry.name)
        if match and entry.is_dir():
            found.append(load(entry.as_posix(), int(match[1])))
    return sorted(found, key=lambda version: version.number)


def load(folder: str, number: int) -> Version:
    try:
        data = json.loads((Path(folder) / RECORD).read_text("utf-8"))
        keys = {int(frame): str(key) for frame, key in data.pop("keys").items()}
        known = {name: data[name] for name in ("digest", "shot", "complete", "roles", "model", "unsure")}
        return Version(number, folder, keys=keys, **known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Version(number, folder)


def where_it_lies(version: Version) -> Version:
    """With its files under its folder as it is called here: another machine may have written the record."""
    there = version.roles.get("alpha", "").rpartition("/")[0]
    roles = {role: pattern.replace(there, version.folder, 1) for role, pattern in version.roles.items()}
    return replace(version, roles=roles)


def save(version: Version) -> None:
    """Put the record in place in one step. Raises `OutputFailed`."""
    folder = Path(version.folder)
    data = {name: value for name, value in asdict(version).items() if name not in ("number", "folder")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{RECORD}.{os.getpid()}"
        temporary.write_text(json.dumps(data, indent=1), "utf-8")
        os.replace(temporary, folder / RECORD)
    except OSError as reason:
        raise OutputFailed(f"the version cannot be written: {reason.strerror}", file=version.folder) from reason


def matching(found: list[Version], digest_of: Callable[[str], str], model: str = "") -> Optional[Version]:
    """The newest version that was made from these inputs and settings.

    ``digest_of`` gives their digest for a model's version, ``model`` is the one that counts ("" where no server was
    asked: any). A record without a model's version was opened where no server could be asked, and fits every one.
    """
    for version in reversed(found):
        fits = not model or version.model in ("", model)
        if fits and version.digest and version.digest == digest_of(version.model):
            return version
    return None


def next_number(found: list[Version]) -> int:
    return max((version.number for version in found), default=0) + 1


def before(found: list[Version], number: int) -> Optional[Version]:
    """The newest version older than ``number`` that has frames to carry over."""
    return next((one for one in reversed(found) if one.number < number and one.roles), None)


@dataclass(frozen=True)
class Carried:
    """One file that a new version took over from the last one."""

    path: Path
    frame: int
    view: str


def carry_over(source: Version, wanted: Version, views: tuple[str, ...]) -> list[Carried]:
    """Link or copy the frames that both shots have; gives what was made. Raises `OutputFailed`."""
    made: list[Carried] = []
    shared = source.frames() & wanted.frames()
    for role in sorted(set(source.roles) & set(wanted.roles)):
        old, new = Sequence.parse(source.roles[role]), Sequence.parse(wanted.roles[role])
        if old.has_view != new.has_view:
            continue
        for view in views if old.has_view else ("",):
            for frame in shared:
                here = Path(new.path(frame, view))
                if _link(Path(old.path(frame, view)), here):
                    made.append(Carried(here, frame, view))
    return made


def _link(source: Path, target: Path) -> bool:
    if not source.exists() or target.exists():
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copyfile(source, temporary)
            os.replace(temporary, target)
    except OSError as reason:
        raise OutputFailed(f"a frame cannot be carried over: {reason.strerror}", file=target.as_posix()) from reason
    return True


def drop_unconfirmed(carried: list[Carried], confirmed: set[tuple[int, str]]) -> int:
    """Take away carried files whose (frame, view) the server neither kept nor replaced; how many."""
    gone = [item.path for item in carried if (item.frame, item.view) not in confirmed]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)
