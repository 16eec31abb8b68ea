"""Which files a job reads and writes: sequences and ranges turned into one path per role and frame.

Everything here is names; nothing is opened, though links are followed: an output may never be an input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeGuard

from mattebridge.errors import InputError, MissingFrames, UsageError
from mattebridge.frames import FrameSet
from mattebridge.messages import RESULT_ROLES, UPLOAD_ROLES, JobRequest, PromptInfo
from mattebridge.planes import SUFFIX as PLANES_SUFFIX
from mattebridge.sequence import Sequence

_LAYER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
"""Names of objects. A channel's name may have 255 bytes in an EXR, and what is beyond would be cut off."""
_BEYOND = 1.0
"""How far outside the display window a prompt may lie, in its widths: overscan, not pixels taken for fractions."""

_ASKED_ONE_BY_ONE = 8


@dataclass(frozen=True)
class ShotInputs:
    """Paths by role and frame. ``shot`` and ``frames`` are ascending frame numbers; ``frames`` are part of ``shot``.

    ``stand_ins`` are files made by the job itself, such as tracked masks; they come before the sequence's own. A role
    may name an object after a colon (``mask:hero``): the same file, read for that object.
    """

    shot: tuple[int, ...]
    frames: tuple[int, ...]
    sequences: dict[str, Sequence]
    view: str = ""
    layer: str = ""
    stand_ins: Mapping[tuple[str, int], Path] = field(default_factory=dict)

    def path(self, role: str, frame: int) -> Path | None:
        """The file of one role and frame, whether or not it exists; None where the job has no such role."""
        role = role.partition(":")[0]
        if (made := self.stand_ins.get((role, frame))) is not None:
            return made
        sequence = self.sequences.get(role)
        return None if sequence is None else Path(sequence.path(frame, view=self.view))

    def has(self, role: str) -> bool:
        """Whether the job has any picture of this role."""
        return role in self.sequences or any(made == role for made, _ in self.stand_ins)

    def is_made(self, role: str, frame: int) -> bool:
        """Whether the picture was made by the job itself, and so is written as the job writes masks."""
        return (role.partition(":")[0], frame) in self.stand_ins

    def index(self, frame: int) -> int:
        """A frame's place in the shot."""
        return self._places[frame]

    @property
    def results(self) -> tuple[str, ...]:
        """Roles of what is written for every frame; the alpha is the first."""
        return tuple(role for role in RESULT_ROLES if role in self.sequences)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {frame: index for index, frame in enumerate(self.shot)}

    @cached_property
    def still_roles(self) -> frozenset[str]:
        """Roles given as one picture for every frame."""
        return frozenset(role for role, sequence in self.sequences.items() if not sequence.has_frame)


def resolve_inputs(request: JobRequest, shot: str = "", *, elsewhere: bool = False) -> ShotInputs:
    """Sequences and ranges of a request; ``shot`` (from a frozen plan) overrides the request's.

    ``elsewhere``: another machine will read and write them, maybe one of another platform. Raises `UsageError` for
    ranges and patterns that make no sense, `MissingFrames` when the plate has no frames.
    """
    given = {role: getattr(request, field) for role, field in (UPLOAD_ROLES | RESULT_ROLES).items()}
    sequences = {role: Sequence.parse(text) for role, text in given.items() if text}
    if "plate" not in sequences:
        raise UsageError("no plate was given", remedy="Name it: --plate PATH.")
    if request.kind == "matte" and "alpha" not in sequences:
        raise UsageError("no output was given", remedy="Name it: --out PATH.")
    for role, text in given.items():
        if text and not elsewhere and not Path(text).is_absolute():
            raise UsageError(f"the {role} has no absolute path: {text}", file=text, remedy="Name it from the root on.")
    frames = FrameSet.parse(request.frames) if request.frames else _found(sequences["plate"], request.view)
    whole = FrameSet.parse(shot or request.shot) if (shot or request.shot) else frames
    outside = [frame for frame in frames if frame not in whole]
    if outside:
        raise UsageError(
            f"frames {FrameSet(outside)} are not part of the shot {whole}",
            remedy="Widen --shot so that it covers --frames.",
        )
    inputs = ShotInputs(tuple(whole), tuple(frames), sequences, request.view, request.plate_layer)
    check_prompts(request.prompts, inputs.shot)
    check_names(inputs)
    return inputs


def check_prompts(prompts: Sequence_[PromptInfo], shot: tuple[int, ...]) -> None:
    """Raises `UsageError` for a prompt that says nothing, or nothing about this shot."""
    frames = set(shot)
    objects: dict[str, str] = {}
    for prompt in prompts:
        numbers = (*prompt.points, *prompt.box)
        where = f"the prompt for {prompt.layer!r} on frame {prompt.frame}"
        if prompt.frame not in frames:
            raise UsageError(f"{where} is outside the shot {FrameSet(shot)}", remedy="Prompt on frames of the shot.")
        if not _LAYER.fullmatch(prompt.layer):
            raise UsageError(
                f"{prompt.layer!r} cannot name an object",
                remedy="Use letters, digits and underscores, at most 100, and begin with a letter.",
            )
        other = objects.setdefault(prompt.layer.removeprefix("matte_"), prompt.layer)
        if other != prompt.layer and "A" not in (other, prompt.layer):
            raise UsageError(
                f"the objects {other!r} and {prompt.layer!r} would be written to one channel",
                remedy="Name them otherwise: what is matted as `hero` is written to `matte_hero.A`.",
            )
        if not numbers or len(prompt.points) % 3 or len(prompt.box) not in (0, 4):
            raise UsageError(
                f"{where} has {len(prompt.points)} numbers for points and {len(prompt.box)} for a box",
                remedy="A point is x, y and 1 or 0; a box is x0, y0, x1, y1.",
            )
        if not all(-_BEYOND <= number <= 1 + _BEYOND for number in numbers):  # NaN too
            raise UsageError(
                f"{where} lies outside the picture",
                remedy="Coordinates are fractions of the display window, 0 to 1, y down; not pixels.",
            )
        if prompt.box and (prompt.box[0] == prompt.box[2] or prompt.box[1] == prompt.box[3]):
            raise UsageError(f"{where} has a box without an area", remedy="Give two opposite corners.")


def require_files(inputs: ShotInputs, role: str, frames: tuple[int, ...]) -> None:
    """Raises `MissingFrames` naming every frame of ``frames`` that ``role`` does not have on disk."""
    missing = missing_frames(inputs, role, frames)
    if missing:
        sequence = inputs.sequences.get(role)
        pattern = sequence.pattern if sequence else ""
        raise MissingFrames(
            f"the {role} has no file for frames {FrameSet(missing)}: {pattern}",
            file=pattern,
            frame=missing[0],
            remedy=sequence.remedy(inputs.view) if sequence and len(missing) == len(frames) else "",
        )


def missing_frames(inputs: ShotInputs, role: str, frames: tuple[int, ...]) -> list[int]:
    """The frames of ``frames`` for which ``role`` has no file."""
    if not inputs.has(role):
        return []
    return [frame for frame in frames if not exists(inputs.path(role, frame))]


def exists(path: Path | None, least_bytes: int = 0) -> TypeGuard[Path]:
    """Whether there is a file as far as can be seen. Where a folder may not be searched the answer is yes: whoever
    opens the file then says why it cannot be read. A name that no disk can have is none.
    """
    try:
        return path is not None and path.stat().st_size >= least_bytes
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _found(plate: Sequence, view: str) -> FrameSet:
    if not plate.has_frame:
        return FrameSet([plate.still_frame])
    frames = plate.existing(view=view)
    if not frames:
        raise MissingFrames(
            f"no frame of the plate exists: {plate.pattern}", file=plate.pattern, remedy=plate.remedy(view)
        )
    return FrameSet(frames)


def holes(inputs: ShotInputs) -> tuple[int, ...]:
    """Frames that the shot passes over between its first and last; none where most are, as on every second frame."""
    first, last, count = inputs.shot[0], inputs.shot[-1], len(inputs.shot)
    if 2 * (last - first + 1 - count) >= count:
        return ()
    return tuple(sorted(set(range(first, last + 1)) - set(inputs.shot)))


def check_names(inputs: ShotInputs) -> None:
    """Every written frame needs a name of its own, which is no name that is read, however its folder is spelled."""
    read = _real_names(inputs, tuple(UPLOAD_ROLES), inputs.shot)
    written: dict[str, str] = {}
    for role in inputs.results:
        sequence = inputs.sequences[role]
        if not sequence.name.lower().endswith((".exr", PLANES_SUFFIX)):
            raise UsageError(
                f"results are EXR, and the {role} is to be {sequence.name}", remedy="End its name with .exr."
            )
        if len(inputs.frames) > 1 and not sequence.has_frame:
            raise UsageError(
                f"{len(inputs.frames)} frames cannot be written to one file: {sequence.pattern}",
                remedy="Put a frame number into the name, for example matte.####.exr.",
            )
        targets = _real_names(inputs, (role,), inputs.frames)
        for target in targets:
            if (other := read.get(target) or written.get(target)) is not None:
                raise InputError(
                    f"the {role} would be written over the {other}: {target}",
                    file=target,
                    remedy="Write to another folder or name.",
                )
        written |= targets
    if ("comp" in inputs.sequences) != ("background" in inputs.sequences):
        raise UsageError(
            "a comp needs a background and a place to write it to, and only one was named",
            remedy="Name both: --comp-over BACKGROUND --comp OUT.",
        )


def _real_names(inputs: ShotInputs, roles: tuple[str, ...], frames: tuple[int, ...]) -> dict[str, str]:
    """Each file, its folder's links followed, and its role. A result replaces a link; a plate is what a link names."""
    real: dict[str, str] = {}
    names: dict[str, str] = {}
    for role in roles:
        folders: dict[str, set[str]] = {}
        for frame in frames if role in inputs.sequences else ():
            folder, name = os.path.split(str(inputs.path(role, frame)))
            folders.setdefault(folder, set()).add(name)
        for folder, found in folders.items():
            if folder not in real:
                real[folder] = os.path.realpath(folder)
            for name in found:
                names.setdefault(os.path.join(real[folder], name), role)
            for name in _links(folder, found) if role in UPLOAD_ROLES else ():
                names.setdefault(os.path.realpath(os.path.join(folder, name)), role)
    return names


def _links(folder: str, names: set[str]) -> list[str]:
    """Which of ``names`` are links; many by one listing, because a slow disk takes its time for every question."""
    if len(names) > _ASKED_ONE_BY_ONE:
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.name in names and entry.is_symlink()]
        except (OSError, ValueError):
            pass  # a folder that may be searched and not listed
    return [name for name in names if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114 - Path raises
