"""A job's request as the engine will see it: the site's preset and path maps applied, or its paths in the spool.

String work only; nothing here touches a disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from mattebridge.config_digest import ARCHIVE_NAME, CONFIG_NAME, is_config_path
from mattebridge.errors import (
    LicenceRefused,
    MatteBridgeError,
    ModelNotInstalled,
    ModelUnknown,
    OutOfMemory,
    UsageError,
)
from mattebridge.messages import RESULT_ROLES, UPLOAD_ROLES, ErrorInfo, JobRequest, ModelInfo
from mattebridge.requests import PATH_FIELDS

from ..model_names import AUTO, FALLBACK, FILLER, helpers
from ..paths import map_path
from ..site import Site

_VARYING = re.compile(r"%[Vv]|\{version\}")


def through_socket(request: JobRequest) -> bool:
    """Whether the pictures travel through the socket, so that the job has a spool folder."""
    return request.delivery != "files"


def for_server(request: JobRequest, site: Site) -> JobRequest:
    """The request with the preset filled in and every path in the server's form. Raises `PathRefused`."""
    request = site.apply_preset(request)
    if through_socket(request):
        return request
    names = [*PATH_FIELDS, *(["config"] if is_config_path(request.config) else [])]
    theirs = {name: path for name in names if (path := getattr(request, name))}
    ours: dict[str, Any] = {name: map_path(path, site.path_map) for name, path in theirs.items()}
    return replace(request, **ours) if ours != theirs else request


def path_problem(request: JobRequest, site: Site) -> MatteBridgeError | None:
    """Why the site has no translation for one of the job's paths; None where it has."""
    try:
        for_server(request, site)
    except MatteBridgeError as error:
        return error
    return None


def in_spool(request: JobRequest, spool: str, uploaded_config: bool) -> JobRequest:
    """The request with every path in the job's spool folder, ``spool/role/name``; names are kept."""
    paths: dict[str, Any] = {
        field: f"{spool}/{role}/{base_name(path)}"
        for role, field in (UPLOAD_ROLES | RESULT_ROLES).items()
        if (path := getattr(request, field))
    }
    if uploaded_config and is_config_path(request.config):
        archive = request.config.lower().endswith(".ocioz")
        paths["config"] = f"{spool}/config/{ARCHIVE_NAME if archive else CONFIG_NAME}"
    return replace(request, **paths)


def base_name(path: str) -> str:
    """The last component in any platform's form."""
    return re.split(r"[/\\]", path)[-1]


@dataclass(frozen=True)
class PathBack:
    """Turns the server's paths into the client's: each sequence's folder as the client named it, in its own form."""

    folders: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, original: JobRequest, sent: JobRequest) -> PathBack:
        """From what the client asked for and what the engine is told."""
        names = [*PATH_FIELDS, "config"]
        pairs = {_folders(getattr(sent, name), getattr(original, name)) for name in names}
        return cls(tuple(sorted((pair for pair in pairs if pair[0] and pair[0] != pair[1]), reverse=True)))

    def __call__(self, text: str) -> str:
        """A path, or a text that names some."""
        for ours, theirs in self.folders:
            text = text.replace(ours, theirs)
        return text

    def error(self, info: ErrorInfo) -> ErrorInfo:
        """The same error, with file and message in the client's form."""
        return replace(info, message=self(info.message), file=self(info.file))


def _folders(ours: str, theirs: str) -> tuple[str, str]:
    """What stands before the last components that are the same on both sides: the name, and a view or version on."""
    parts = re.split(r"[/\\]", ours)
    varying = next((index for index, part in enumerate(parts) if _VARYING.search(part)), len(parts) - 1)
    last = len(parts) - min(varying, len(parts) - 1)
    return _before(ours, last), _before(theirs, last)


def _before(path: str, last: int) -> str:
    """``path`` without its ``last`` components; the separator stays."""
    ends = [separator.end() for separator in re.finditer(r"[/\\]", path)]
    return path[: ends[-last]] if last <= len(ends) else ""


def model_problem(
    request: JobRequest, models: dict[str, ModelInfo], site: Site, budget_bytes: int
) -> MatteBridgeError | None:
    """Why the job's model, or a helper of it, cannot run here; None where it can, or no engine has told its models."""
    if not request.model:
        return UsageError("the job names no model", remedy="Name one, or 'auto'.")
    if not models:
        return None
    model = models.get(FALLBACK if request.model == AUTO else request.model)
    if request.model != AUTO:
        if model is None:
            return ModelUnknown(f"no model is called '{request.model}'", details={"models": ", ".join(sorted(models))})
        problem = _licence_problem(model, site)
        if problem is None and not request.fallback:  # else the engine finds what will do instead, and says so
            problem = _installed_problem(model) or _memory_problem(model, request.preset, budget_bytes)
        if problem is not None:
            return problem
    beside = [models[name] for name in helpers(request, model) if name in models] if model is not None else []
    missing = [_installed_problem(one) for one in beside if one.name == FILLER and request.kind != "plan"]
    return next(filter(None, [_licence_problem(one, site) for one in beside] + missing), None)


def _licence_problem(model: ModelInfo, site: Site) -> MatteBridgeError | None:
    if site.licences.allows(model.licence):
        return None
    return LicenceRefused(
        f"the licence of '{model.name}' ({model.licence}) is not one that this site allows",
        remedy="Choose a model with an allowed licence, or have the site file changed.",
        details={"licence": model.licence, "allowed": ", ".join(site.licences.allow or ())},
    )


def _installed_problem(model: ModelInfo) -> MatteBridgeError | None:
    if model.installed:
        return None
    return ModelNotInstalled(
        f"the model '{model.name}' is known but not installed on the server",
        remedy=f"Run `mattebridge models pull {model.name}` there; `mattebridge models path {model.name}` says "
        "which files it needs, from where, for copying them by hand.",
    )


def _memory_problem(model: ModelInfo, preset_name: str, budget_bytes: int) -> MatteBridgeError | None:
    preset = next((one for one in model.presets if one.name == preset_name), None)
    if preset is None or not 0 < budget_bytes < preset.peak_bytes:
        return None
    fitting = [one.name for one in model.presets if one.peak_bytes <= budget_bytes]
    return OutOfMemory(
        f"preset '{preset.name}' of '{model.name}' needs {preset.peak_bytes / 2**30:.1f} GiB, the device has "
        f"{budget_bytes / 2**30:.1f} GiB",
        remedy=f"Use the preset {' or '.join(fitting)}." if fitting else "Use a lighter model or a larger host.",
        details={"need_bytes": preset.peak_bytes, "budget_bytes": budget_bytes},
    )
