"""What a farm job is made of: a plan, the request it was made for, and where its folders lie on the machine at hand.

Paths travel as folders. A farm maps folders between platforms and copies folders to workers that share no disk; the
names within them stay as they are. So every sequence of a request is a folder (a parameter of the job) and a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from mattebridge.config_digest import is_config_path
from mattebridge.errors import PlanError, UsageError
from mattebridge.frames import FrameSet
from mattebridge.messages import JobRequest
from mattebridge.requests import PATH_FIELDS, WRITE_FIELDS, make_request
from mattebridge.sequence import Sequence

from ..paths import PathMap, map_path
from ..pipeline.plan import ShotPlan, parse_plan


@dataclass(frozen=True)
class FarmShot:
    """A shot to be matted in chunks. ``text`` is the plan's file: the plan, with the request in it."""

    plan: ShotPlan
    request: JobRequest
    text: bytes

    @property
    def frames(self) -> FrameSet:
        """The frames to write."""
        return FrameSet.parse(self.request.frames or self.plan.frames)

    @property
    def total(self) -> int:
        """Frames of the whole shot."""
        return len(FrameSet.parse(self.plan.frames))

    def folders(self) -> dict[str, str]:
        """The folder of every path of the request, by field; of the OCIO config too where that is a file."""
        found = {name: split_folder(getattr(self.request, name))[0] for name in PATH_FIELDS}
        if is_config_path(self.plan.config):
            found["config"] = split_folder(self.plan.config)[0]
        return {name: folder for name, folder in found.items() if folder}


def read_shot(text: bytes, file: str = "") -> FarmShot:
    """The shot of a plan's file. Raises `PlanError` for what is no plan, or holds no request."""
    plan = _plan(text, file)
    content: dict[str, Any] = json.loads(text)
    if "request" not in content:
        raise PlanError(
            "the plan does not say which plates and masks it was made for",
            file=file,
            remedy="Make it with `mattebridge plan`, or name them: --plate P --mask M.",
        )
    try:
        request = msgspec.convert({"plate": "", **content["request"]}, JobRequest)
    except msgspec.ValidationError as error:
        raise PlanError(f"the plan's request cannot be read: {error}", file=file) from None
    return FarmShot(plan, replace(request, model=plan.model), text)


def with_paths(text: bytes, fields: Mapping[str, Any], version: int = 0, file: str = "") -> FarmShot:
    """The shot of a plan's file with ``fields`` (of a request, as a caller writes them) put over what it remembers.

    ``{version}`` in a path becomes one number for the whole job: ``version``, or the next that is not on disk. Raises
    `UsageError` where there is no plate or no output, and what `read_shot` raises.
    """
    content: dict[str, Any] = json.loads(text) if _plan(text, file) else {}
    remembered = dict(content.get("request", {}))
    if not (fields.get("out") or remembered.get("out")):
        raise UsageError("where the alpha goes was not said", remedy="Name it: --alpha alpha.####.exr.")
    given = {name: value for name, value in fields.items() if value}
    remembered.pop("config_digest", None)
    if is_config_path(remembered.get("config", "")):
        remembered["config"] = ""  # under a plan the plan's own config counts
    prompts = remembered.pop("prompts", [])
    request = make_request(**{**remembered, "priority": "batch", **given, "kind": "matte"})
    request = replace(request, delivery="files", prompts=msgspec.convert(prompts, type(request.prompts)))
    request = _settled(request, version)
    blank = msgspec.to_builtins(JobRequest(plate=""))
    kept = {name: value for name, value in msgspec.to_builtins(request).items() if value != blank[name]}
    return read_shot(msgspec.json.format(json.dumps({**content, "request": kept}).encode(), indent=2))


def relocated(shot: FarmShot, folders: Mapping[str, str]) -> FarmShot:
    """The shot with its folders where this machine has them, by field as in `FarmShot.folders`. Raises `UsageError`."""
    unknown = set(folders) - {"config", *PATH_FIELDS}
    if unknown:
        raise UsageError(
            f"no path of a shot is called {', '.join(sorted(unknown))}",
            remedy=f"Write --folder ROLE=DIR, ROLE one of {', '.join(PATH_FIELDS)} and config.",
        )
    changes: dict[str, Any] = {
        name: join_folder(folder, split_folder(getattr(shot.request, name))[1])
        for name, folder in folders.items()
        if name != "config" and getattr(shot.request, name)
    }
    moved = replace(shot, request=replace(shot.request, **changes))
    if "config" not in folders or not is_config_path(shot.plan.config):
        return moved
    config = join_folder(folders["config"], split_folder(shot.plan.config)[1])
    if config == shot.plan.config:
        return moved
    text = json.dumps({**json.loads(shot.text), "config": config}).encode()
    return replace(moved, plan=parse_plan(text), text=text)


def mapped(shot: FarmShot, maps: Iterable[PathMap]) -> FarmShot:
    """The shot with its folders as the site's path maps name them on this machine; no maps: as it is.

    Raises `PathRefused` for a Windows path that no map knows.
    """
    known = tuple(maps)
    return (
        relocated(shot, {name: map_path(folder, known) for name, folder in shot.folders().items()}) if known else shot
    )


def _plan(text: bytes, file: str) -> ShotPlan:
    try:
        return parse_plan(text)
    except PlanError as error:
        error.file = error.file or file
        raise


def split_folder(pattern: str) -> tuple[str, str]:
    """A path as folder and name, whichever platform wrote it; a drive's root keeps its slash."""
    cut = max(pattern.rfind("/"), pattern.rfind("\\")) + 1
    folder, name = pattern[:cut], pattern[cut:]
    bare = folder.rstrip("/\\")
    return (folder if not bare or bare.endswith(":") else bare), name


def join_folder(folder: str, name: str) -> str:
    """The reverse of `split_folder`."""
    if not folder or folder.endswith(("/", "\\")):
        return folder + name
    return folder + ("\\" if "\\" in folder and "/" not in folder else "/") + name


def _settled(request: JobRequest, version: int) -> JobRequest:
    """View and version as they are for the whole job: chunks that choose for themselves would not choose alike."""
    texts = {name: getattr(request, name) for name in PATH_FIELDS if getattr(request, name)}
    if request.view:
        texts = {k: t.replace("%V", request.view).replace("%v", request.view[0]) for k, t in texts.items()}
    written = {name: Sequence.parse(texts[name]) for name in WRITE_FIELDS if name in texts}
    if any(sequence.has_version for sequence in written.values()):
        number = version or max(sequence.next_version() for sequence in written.values())
        texts |= {name: str(sequence.with_version(number)) for name, sequence in written.items()}
    return replace(request, **texts)
