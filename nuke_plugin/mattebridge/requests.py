"""From what a caller says to a `JobRequest`: absolute paths, ranges as text, the config's digest, the plan's bytes.

Everything wrong that can be seen without a server is refused here, before anything is sent.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

from .config_digest import config_files, is_config_path
from .errors import PlanError, UsageError
from .frames import FrameSet
from .messages import RESULT_ROLES, UPLOAD_ROLES, JobRequest
from .sequence import WINDOWS_ROOT, Sequence

PlanSource = Union[str, bytes, Mapping[str, Any], "os.PathLike[str]", None]

READ_FIELDS = tuple(UPLOAD_ROLES.values())
WRITE_FIELDS = tuple(RESULT_ROLES.values())
PATH_FIELDS = (*READ_FIELDS, *WRITE_FIELDS)
CHOICES = {
    "delivery": ("files", "exr", "planes"),
    "priority": ("interactive", "batch"),
    "look": ("srgb", "filmic", "view"),
    "mask_fit": ("", "stretch", "crop"),
}
LONGEST_TEXT = 4096
"""Characters of a path or a label: as many as Linux takes bytes of a path."""
KEY_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KINDS: dict[str, Any] = {"str": str, "bool": bool, "float": (int, float)}
PLANES_NAMES = {"plate": "plate.####.planes", "mask": "mask.####.planes", "out": "alpha.####.planes"}


def make_request(**fields: Any) -> JobRequest:
    """A `JobRequest` from its fields as callers write them. Raises `UsageError` for an unknown or impossible one.

    Paths may be relative, path objects or bytes, ``frames`` and ``shot`` a `FrameSet`, text or one number; without
    ``frames`` the whole ``shot`` is meant. For a config given as a path the digest is computed here.
    """
    known = {item.name for item in dataclasses.fields(JobRequest)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise UsageError(f"unknown: {', '.join(unknown)}", remedy=f"A job has: {', '.join(sorted(known))}.")
    given = {name: value for name, value in fields.items() if value is not None}
    given.update({name: os.fsdecode(given[name]) for name in (*PATH_FIELDS, "config") if given.get(name)})
    if given.get("delivery") == "planes":
        given = {**PLANES_NAMES, **{name: value for name, value in given.items() if value != ""}}
    else:
        given.update({name: absolute(given[name]) for name in PATH_FIELDS if given.get(name)})
    if given.get("delivery") == "exr":
        given.update(_next_version(given))
        _keep_inputs(given)
    for name in ("frames", "shot"):
        if name in given:
            given[name] = _range_text(given[name])
    if given.get("shot") and not given.get("frames"):
        given["frames"] = given["shot"]
    given["context"] = {str(name): str(value) for name, value in dict(given.get("context") or {}).items()}
    given["params"] = dict(given.get("params") or {})
    given.setdefault("plate", "")
    request = JobRequest(**given)
    check_request(request)
    return with_config_digest(request)


def _next_version(given: Mapping[str, Any]) -> dict[str, str]:
    """The results' paths with ``{version}`` settled: the server does not see the disk that they will lie on."""
    view = str(given.get("view") or "")
    found = {name: Sequence.parse(given[name]) for name in WRITE_FIELDS if given.get(name)}
    found = {name: sequence for name, sequence in found.items() if sequence.has_version}
    version = max((sequence.next_version(view) for sequence in found.values()), default=0)
    return {name: str(sequence.with_version(version)) for name, sequence in found.items()}


def _keep_inputs(given: Mapping[str, Any]) -> None:
    """Raises `UsageError` for a result that would be written over what is sent, or over another result, however its
    name is spelled: the server cannot see that. Links of single files are not followed.
    """
    view, plate = str(given.get("view") or ""), given.get("plate")
    frames, shot = (_range_text(given.get(name)) for name in ("frames", "shot"))
    there = Sequence.parse(plate).existing(view) if plate and not (frames or shot) else FrameSet()
    read = FrameSet.parse(shot or frames) if shot or frames else there
    taken: dict[str, str] = {}
    for name in PATH_FIELDS:
        wanted = FrameSet.parse(frames) if frames and name in WRITE_FIELDS else read
        files = _real_files(Sequence.parse(given[name]), wanted, view) if given.get(name) else set()
        for file in files if name in WRITE_FIELDS else ():
            if file in taken:
                raise UsageError(
                    f"{name} would be written over the {taken[file]}",
                    file=file,
                    remedy="Write to another folder or name.",
                )
        taken.update(dict.fromkeys(files, name))


def _real_files(sequence: Sequence, frames: FrameSet, view: str) -> set[str]:
    """The files of a sequence, the links of its folder followed."""
    folder = os.path.realpath(os.path.split(sequence.path(0, view))[0])
    return {os.path.join(folder, os.path.split(sequence.path(frame, view))[1]) for frame in frames}


def check_request(request: JobRequest) -> None:
    """Raises `UsageError` for what no server would take."""
    for item in dataclasses.fields(request):
        _check_kind(item.name, str(item.type), getattr(request, item.name))
    if not request.plate:
        raise UsageError("no plate was given", remedy="Name it: plate='plate.####.exr' (--plate PATH).")
    if request.kind == "matte" and not request.out:
        raise UsageError("no output was given", remedy="Name it: out='alpha.####.exr' (--out PATH).")
    for name, allowed in CHOICES.items():
        if getattr(request, name) not in allowed:
            raise UsageError(f"{name} is {getattr(request, name)!r}", remedy=f"Choose one of {', '.join(allowed)}.")
    for item in dataclasses.fields(request):
        _check_text(item.name, getattr(request, item.name))
    for name in (*PATH_FIELDS, "label"):
        if len(getattr(request, name)) > LONGEST_TEXT:
            raise UsageError(f"{name} is longer than {LONGEST_TEXT} characters", remedy="Give a shorter one.")
    for name in ("queue_timeout_s", "run_timeout_s"):
        if not 0 <= getattr(request, name) < math.inf:
            raise UsageError(f"{name} is {getattr(request, name)!r}", remedy="Give seconds; 0 is no limit.")
    for name in ("frames", "shot"):
        if getattr(request, name):
            FrameSet.parse(getattr(request, name))
    for name, value in request.params.items():
        if not isinstance(value, (bool, int, float, str)):
            raise UsageError(f"the parameter {name} is {value!r}", remedy="Give a bool, a number or a text.")


def with_config_digest(request: JobRequest) -> JobRequest:
    """The request with the digest of its OCIO config, where that is a path and none was given."""
    config = request.config
    if not config or request.config_digest:
        return request
    if not is_config_path(config):
        config_files(config)  # refuses a name that means another config in each release
        return request
    path = absolute(config)
    return dataclasses.replace(request, config=path, config_digest=config_files(path, request.context).digest())


def check_key(key: str) -> str:
    """A job key as the server takes it. Raises `UsageError`."""
    if not KEY_PATTERN.fullmatch(key):
        raise UsageError(
            f"{key!r} cannot be a job key", remedy="Use 1 to 100 of A-Z a-z 0-9 . _ - and begin with a letter or digit."
        )
    return key


def plan_bytes(plan: PlanSource) -> bytes:
    """A frozen plan as it travels: from its bytes, JSON text, a dict, or the path of its file. Raises `PlanError`."""
    if not plan:
        return b""
    if isinstance(plan, bytes):
        return plan
    if isinstance(plan, Mapping):
        return json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()
    text = os.fspath(plan)
    if text.lstrip().startswith("{"):
        return text.encode()
    try:
        content = Path(text).read_bytes()
        json.loads(content)
    except OSError as error:
        raise PlanError(f"the plan cannot be read: {error.strerror or error}", file=text) from None
    except ValueError:
        raise PlanError("the plan is not JSON", file=text) from None
    return content


def absolute(path: str) -> str:
    """An absolute path for this machine; one of Windows or a UNC path stays as it is, wherever it is read.

    Each ``..``, which a server refuses, leads where this machine's disk leads it; other names stay as they were given.
    """
    if WINDOWS_ROOT.match(path) or "://" in path:
        return path
    whole = Path(path).absolute()
    found = Path(whole.anchor)
    for part in whole.parts[1:]:
        if part == "..":
            is_link = os.path.islink(found)  # noqa: PTH114  Path's raises where a folder may not be looked into
            found = Path(os.path.realpath(found) if is_link else found).parent
        else:
            found /= part
    return str(found)


def _check_kind(name: str, kind: str, value: Any) -> None:
    """A server cannot answer what it cannot decode: a value of another type is told here."""
    wanted = _KINDS.get(kind)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and kind != "bool")):
        raise UsageError(f"{name} is {value!r}", remedy=f"Give a {kind}.")


def _check_text(name: str, value: Any) -> None:
    """File names that are not UTF-8 reach Python as text that no message can carry."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{name} is not UTF-8: {value!a}",
            remedy="Use a UTF-8 locale (or set PYTHONUTF8=1), and rename files whose names are in another encoding.",
        ) from None


def _range_text(value: Optional[Union[str, int, FrameSet]]) -> str:
    if isinstance(value, int):
        return str(value)
    return str(value or "")
