"""Where results go, which of them are there already, and how one gets its final name.

A result on disk is *fresh* when the key in its header is the key that this job would write. Fresh results are kept. A
result with another key, or a foreign file, is in the way: with ``{version}`` in the path the job goes to the next
version and carries the fresh frames over; without it the job is refused unless it may overwrite.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from mattebridge.errors import OutputExists, OutputFailed
from mattebridge.frames import FrameSet
from mattebridge.sequence import Sequence

from ..media import OWN_PREFIX, make_folder, read_attributes, share
from ..media.exr_check import is_cut_off
from .inputs import ShotInputs, check_names, exists

KEY_ATTRIBUTE, SHOT_ATTRIBUTE, FILL_ATTRIBUTE = "key", "shot", "fillModel"
ROLE_VERSIONS = {"comp": "2", "cleanplate": "2"}
"""How a role's pixels come from a frame's alpha: raised where they change, so that earlier results are not kept."""

FrameKey = Callable[[int], str]


def role_key(key: str, role: str, extra: str = "") -> str:
    """The key of one of a frame's results; the alpha's is the frame's key itself."""
    version = ROLE_VERSIONS.get(role, "")
    return key if role == "alpha" else hashlib.sha256(f"{key}\n{role}{version}\n{extra}".encode()).hexdigest()


@dataclass(frozen=True)
class Outputs:
    """The job's inputs with the version resolved, and the frames that need no work.

    ``carried`` are the files that fresh frames got in a version that was opened for this job.
    """

    inputs: ShotInputs
    fresh: frozenset[int]
    version: int = 0
    carried: frozenset[Path] = frozenset()

    def path(self, role: str, frame: int) -> Path:
        path = self.inputs.path(role, frame)
        assert path is not None
        return path


def resolve_outputs(
    inputs: ShotInputs,
    key_of: FrameKey,
    extra_of: Callable[[str, int], str],
    overwrite: bool,
    mine: AbstractSet[Path] = frozenset(),
) -> Outputs:
    """Choose the version and find the fresh frames. ``extra_of`` adds what a role's pixels hang on besides the key.

    Files that are ``mine``, of an earlier round of the same job, are never in the way. Keys are only computed for
    frames that have a file: a first run reads nothing here. Raises `OutputExists`.
    """
    roles = inputs.results
    versioned = any(inputs.sequences[role].has_version for role in roles)
    version = max((max(inputs.sequences[r].versions(), default=0) for r in roles), default=0) if versioned else 0
    current = _at_version(inputs, roles, version or 1) if versioned else inputs
    fresh, stale = _examine(current, roles, key_of, extra_of, mine)
    if not stale or overwrite:
        check_names(current)
        return Outputs(current, frozenset(fresh), version or int(versioned))
    if not versioned:
        raise _in_the_way(inputs, stale)
    following = _at_version(inputs, roles, version + 1)
    check_names(following)  # only now: an earlier version may well be what this one is made from
    for frame in fresh:
        for role in roles:
            _carry_over(current.path(role, frame), following.path(role, frame), frame)
    carried = frozenset(part for f in fresh for role in roles if (part := following.path(role, f)) is not None)
    return Outputs(following, frozenset(fresh), version + 1, carried)


def _in_the_way(inputs: ShotInputs, stale: list[tuple[int, Path]]) -> OutputExists:
    frame, path = stale[0]
    made, here = _attribute(path, SHOT_ATTRIBUTE), str(FrameSet(inputs.shot))
    why, remedy = "were made with other inputs or parameters", ""
    if made and made != here:
        why = f"were made as part of the shot {made}, and this one is {here}"
        if FrameSet(inputs.frames) <= FrameSet.parse(made):
            remedy = f"If nothing else has changed, --shot {made} keeps them. Else: {OutputExists.default_remedy}"
    text = f"{len(stale)} of {len(inputs.frames)} results exist already and {why}"
    return OutputExists(text, file=str(path), frame=frame, remedy=remedy)


def make_folders(outputs: Outputs, frames: Iterable[int]) -> None:
    """Make every folder that the frames will be written to. Raises `OutputFailed` naming the folder."""
    for folder in {outputs.path(role, frame).parent for role in outputs.inputs.results for frame in frames}:
        try:
            make_folder(folder)
        except OSError as error:
            raise OutputFailed(f"cannot make the folder {folder}: {error.strerror}", file=str(folder)) from error


def results_with_keys(inputs: ShotInputs, keys: Mapping[int, str]) -> set[Path]:
    """The files of the frames whose alpha on disk still has the key in ``keys``."""
    found: set[Path] = set()
    for frame, key in keys.items():
        alpha = inputs.path("alpha", frame)
        if alpha is not None and key_on_disk(alpha) == key:
            found.update(path for role in inputs.results if (path := inputs.path(role, frame)) is not None)
    return found


def key_on_disk(path: Path) -> str | None:
    """The key in a result's header; empty for a file that is not one of our results, None where there is none, or one
    without a byte: what a copy or a disk left that came to an end, and nothing that anybody could miss.
    """
    return _attribute(path, KEY_ATTRIBUTE) if exists(path, least_bytes=1) else None


def _attribute(path: Path, name: str) -> str:
    """One of our own attributes in a file's header; empty where there is none."""
    try:
        return str(read_attributes(str(path)).get(OWN_PREFIX + name, ""))
    except Exception:  # whatever is wrong with a file in the way, it is not our result
        return ""


def _examine(
    inputs: ShotInputs,
    roles: Iterable[str],
    key_of: FrameKey,
    extra_of: Callable[[str, int], str],
    mine: AbstractSet[Path],
) -> tuple[list[int], list[tuple[int, Path]]]:
    fresh: list[int] = []
    stale: list[tuple[int, Path]] = []
    for frame in inputs.frames:
        found = {role: _existing(inputs, role, frame) for role in roles}
        present = {role: path for role, path in found.items() if path is not None}
        if not present:
            continue
        key = key_of(frame)
        wrong = [p for role, p in present.items() if key_on_disk(p) != role_key(key, role, extra_of(role, frame))]
        foreign = [p for p in wrong if p not in mine]
        if foreign:
            stale.append((frame, foreign[0]))
        elif not wrong and len(present) == len(found) and not any(is_cut_off(str(path)) for path in present.values()):
            fresh.append(frame)
    return fresh, stale


def _existing(inputs: ShotInputs, role: str, frame: int) -> Path | None:
    path = inputs.path(role, frame)
    return path if exists(path, least_bytes=1) else None


def _at_version(inputs: ShotInputs, roles: Iterable[str], version: int) -> ShotInputs:
    chosen: dict[str, Sequence] = dict(inputs.sequences)
    for role in roles:
        chosen[role] = chosen[role].with_version(version)
    return replace(inputs, sequences=chosen)


def _carry_over(source: Path | None, target: Path | None, frame: int) -> None:
    """Give a finished file a second name in the next version: a link where the disk can, else a copy."""
    if source is None or target is None or exists(target):
        return
    part = target.with_name(f".{target.name}.carry")
    try:
        make_folder(target.parent)
        part.unlink(missing_ok=True)
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)
            share(part)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputFailed(f"cannot carry {source} over: {error.strerror}", file=str(target), frame=frame) from error
