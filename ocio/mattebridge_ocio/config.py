"""One OCIO config with one job's context: lookup of spaces, and conversions between them and linear Rec.709.

Three things leak into OCIO from the process that hosts it, and all are shut out here. A declared context variable takes
its value from the process environment unless the context says otherwise: contexts are built from the config's defaults
and the job's values alone. The environment may also choose the active displays, views and spaces, and with them the
default view: it is not asked. And OCIO's file cache never looks at a file again, and knows a file inside an archive by
its name alone, whichever archive it is in: it only ever holds the files of one config under one digest.

Spaces are never assumed by name. A conversion to linear Rec.709 goes from the config to a pinned built-in through the
interchange role, so that it works in a config that has no such space, or calls it something else.
"""

from __future__ import annotations

import copy
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import PyOpenColorIO as OCIO

from .bundle import search_folders
from .failure import ColourError
from .processors import Transform, forget_processors

BUILTIN_SCHEME = "ocio://"
NUKE_DEFAULT = "nuke-default"

_REFERENCE = "cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
_REFERENCE_LINEAR_REC709 = "lin_rec709"
# Nuke in its own mode converts curves only, so only the names whose gamut is Rec.709 mean the same thing here.
_NUKE_BASE = "studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
_NUKE_NAMES = {"Linear Rec.709 (sRGB)": "linear", "sRGB - Texture": "sRGB", "Camera Rec.709": "rec709"}
_NUKE_VIEW = "Un-tone-mapped"
"""What its viewer shows by default: the sRGB curve alone."""

_Build = Callable[[], OCIO.Processor]

_OVERRIDES = ("OCIO_ACTIVE_DISPLAYS", "OCIO_ACTIVE_VIEWS", "OCIO_INACTIVE_COLORSPACES")

_environment_lock = threading.Lock()
_files_lock = threading.Lock()
_files_of: tuple[str, str] = ("", "")
"""Name and digest of the config whose files OCIO may have in its cache."""


class ColourConfig:
    """A loaded config with its context. Immutable once made; safe to share between threads."""

    def __init__(self, name: str, config: OCIO.Config, context: Mapping[str, str], digest: str = "") -> None:
        self.name = name
        self.digest = digest
        self._config = config
        self._context = _context_of(config, context)

    @classmethod
    def load(cls, name: str, context: Mapping[str, str] | None = None, *, digest: str = "") -> ColourConfig:
        """Load ``name``: a pinned ``ocio://`` built-in, ``nuke-default``, a path, or a folder as in `bundle`.

        ``context`` holds the job's variables; those that the config does not declare are ignored. ``digest`` is what
        the caller has computed over the config's files: a change of it makes OCIO read look-up files again. Raises
        `ColourError` ("config_missing", "config_unpinned", "config_invalid").
        """
        with _without_overrides():
            return cls(name, _open(name), context or {}, digest)

    @property
    def ocio(self) -> OCIO.Config:
        """The OCIO object, for reading only."""
        return self._config

    @property
    def is_nuke_default(self) -> bool:
        """Whether this stands for Nuke in its own colour mode, where scene-linear is linear Rec.709."""
        return self.name == NUKE_DEFAULT

    @property
    def context(self) -> Mapping[str, str]:
        """The variables in force: the config's defaults overlaid with the job's values."""
        return MappingProxyType(dict(self._context.getStringVars()))

    @functools.cached_property
    def working_space(self) -> str:
        """The space of the ``scene_linear`` role. Raises `ColourError` ("config_invalid") where there is none."""
        space = self._config.getColorSpace(OCIO.ROLE_SCENE_LINEAR)
        if space is None:
            raise ColourError(
                "config_invalid",
                f"the OCIO config '{self.name}' has no scene_linear role",
                remedy="Add it to the config's roles: it names the working space.",
            )
        return str(space.getName())

    def find(self, name: str) -> tuple[str, ...]:
        """The config's spaces that ``name`` can mean: one for a name, alias or role; one or several for an interop id.

        An interop id that the config does not carry is looked for under the alias that the ACES configs give it.
        """
        space = self._config.getColorSpace(name) if name else None
        if space is not None:
            return (str(space.getName()),)
        wanted = name.lower()
        carriers = [space.getName() for space in self._spaces() if _interop_id(space).lower() == wanted]
        if carriers or not wanted.endswith("_scene"):
            return tuple(carriers)
        for alias in (_INTEROP_ALIASES.get(wanted, ""), wanted[: -len("_scene")]):
            space = self._config.getColorSpace(alias) if alias else None
            if space is not None:
                return (str(space.getName()),)
        return ()

    def unfit_reason(self, name: str) -> str:
        """Why no plate can be in the space ``name``; empty where one can."""
        space = self._config.getColorSpace(name)
        if space.isData():
            return "it is a data space, without colour"
        if space.getReferenceSpaceType() == OCIO.REFERENCE_SPACE_DISPLAY:
            return "it is a display's space; for a graphic or a video plate state the texture space"
        return ""

    def candidates(self) -> tuple[str, ...]:
        """Spaces that a plate can be in: working space first, then scene-linear, log, and the rest."""
        rank = {"scene-linear": 1, "log": 2}
        fit = [space for space in self._spaces() if not self.unfit_reason(space.getName())]
        role = self._config.getColorSpace(OCIO.ROLE_SCENE_LINEAR)
        first = role.getName() if role is not None else ""
        fit.sort(key=lambda space: 0 if space.getName() == first else rank.get(space.getEncoding(), 3))
        return tuple(space.getName() for space in fit)

    def convert(self, source: str, target: str) -> Transform:
        """From one of this config's spaces to another. Raises `ColourError` ("file_missing", "config_invalid")."""
        return self._transform(lambda: self._config.getProcessor(self._context, source, target))

    def to_linear_rec709(self, space: str) -> Transform:
        """From ``space`` to linear Rec.709 by interchange.

        Raises `ColourError` ("config_invalid" where the config has no ``aces_interchange`` role, "file_missing").
        """
        reference = _reference()
        return self._transform(
            lambda: OCIO.Config.GetProcessorFromConfigs(
                self._context,
                self._config,
                space,
                reference.getCurrentContext(),
                reference,
                _REFERENCE_LINEAR_REC709,
            )
        )

    def from_linear_rec709(self, space: str) -> Transform:
        """The inverse of `to_linear_rec709`."""
        reference = _reference()
        return self._transform(
            lambda: OCIO.Config.GetProcessorFromConfigs(
                reference.getCurrentContext(),
                reference,
                _REFERENCE_LINEAR_REC709,
                self._context,
                self._config,
                space,
            )
        )

    def display_view(self, display: str = "", view: str = "") -> Transform:
        """From linear Rec.709 to the codes of a display and view; empty names mean the config's defaults.

        Raises `ColourError` ("view_unknown", "config_invalid", "file_missing").
        """
        displays = tuple(self._config.getDisplays())
        display = display or self._config.getDefaultDisplay()
        if display not in displays:
            raise ColourError("view_unknown", f"the OCIO config has no display '{display}'", candidates=displays)
        views = tuple(self._config.getViews(display))
        view = view or self._config.getDefaultView(display)
        if view not in views:
            raise ColourError("view_unknown", f"display '{display}' has no view '{view}'", candidates=views)
        reference = _reference()
        return self._transform(
            lambda: OCIO.Config.GetProcessorFromConfigs(
                reference.getCurrentContext(),
                reference,
                _REFERENCE_LINEAR_REC709,
                self._context,
                self._config,
                display,
                view,
                OCIO.TRANSFORM_DIR_FORWARD,
            )
        )

    def _claim_file_cache(self) -> None:
        """Empty OCIO's caches where they may hold the files of another config; a built-in has none."""
        global _files_of
        mine = (self.name, self.digest)
        if not self.name.startswith(BUILTIN_SCHEME) and not self.is_nuke_default and _files_of != mine:
            forget_processors()
            _files_of = mine

    def _spaces(self) -> list[OCIO.ColorSpace]:
        return list(self._config.getColorSpaces(OCIO.SEARCH_REFERENCE_SPACE_ALL, OCIO.COLORSPACE_ACTIVE))

    def _transform(self, build: _Build) -> Transform:
        try:
            with _files_lock:
                self._claim_file_cache()
                return Transform.of(build())
        except OCIO.ExceptionMissingFile as error:
            raise ColourError(
                "file_missing",
                f"a look-up file of the OCIO config '{self.name}' is missing: {error}",
                remedy="Bring the file back, or send the context variables that its path needs.",
            ) from error
        except OCIO.Exception as error:
            if "aces_interchange" in str(error):
                raise ColourError(
                    "config_invalid",
                    f"the OCIO config '{self.name}' has no aces_interchange role, so its colours have no known meaning",
                    remedy="Add the role to the config: it names the space that is ACES2065-1.",
                ) from error
            raise ColourError("config_invalid", f"the OCIO config '{self.name}' cannot convert: {error}") from error


# The texture spaces were renamed between releases; the linear ones follow the rule "id without _scene".
_INTEROP_ALIASES = {
    "srgb_rec709_scene": "srgb_tx",
    "lin_ap0_scene": "aces_interchange",
    "ocio:acescc_ap1_scene": "acescc_ap1",
    "ocio:acescct_ap1_scene": "acescct_ap1",
}


def _interop_id(space: OCIO.ColorSpace) -> str:
    getter = getattr(space, "getInteropID", None)  # OCIO 2.5 and later
    return str(getter()) if getter is not None else ""


@contextmanager
def _without_overrides() -> Iterator[None]:
    """What stands in the environment in place of a config's own lists is out of sight while a config is loaded."""
    with _environment_lock:
        held = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
        try:
            yield
        finally:
            os.environ.update(held)


def _open(name: str) -> OCIO.Config:
    if name == NUKE_DEFAULT:
        return _nuke_default()
    if name.startswith(BUILTIN_SCHEME):
        return _open_builtin(name[len(BUILTIN_SCHEME) :])
    path = Path(name)
    try:
        if not path.is_dir():
            return OCIO.Config.CreateFromFile(str(path))
        archive, folders = search_folders(path)
        config = OCIO.Config.CreateFromFile(str(archive))
        if folders:
            config.clearSearchPaths()
            for folder in folders:
                config.addSearchPath(str(folder))
        return config
    except OCIO.ExceptionMissingFile as error:
        raise ColourError("config_missing", f"there is no OCIO config at '{name}'", file=name) from error
    except OCIO.Exception as error:
        raise ColourError("config_invalid", f"OCIO cannot read the config: {error}", file=name) from error


def _open_builtin(name: str) -> OCIO.Config:
    known = [entry[0] for entry in OCIO.BuiltinConfigRegistry().getBuiltinConfigs()]
    if name in known:
        return OCIO.Config.CreateFromBuiltinConfig(name)
    candidates = tuple(f"{BUILTIN_SCHEME}{entry}" for entry in known)
    if name == "default" or name.endswith("-latest"):
        pinned = OCIO.ResolveConfigPath(f"{BUILTIN_SCHEME}{name}")
        raise ColourError(
            "config_unpinned",
            f"the OCIO config '{BUILTIN_SCHEME}{name}' means another config in each release of OCIO",
            remedy=f"Name one with its version; here and now it means {pinned}.",
            candidates=candidates,
        )
    raise ColourError(
        "config_missing", f"OCIO {OCIO.__version__} has no built-in config '{name}'", candidates=candidates
    )


def _nuke_default() -> OCIO.Config:
    config = OCIO.Config.CreateFromBuiltinConfig(_NUKE_BASE)
    for name, alias in _NUKE_NAMES.items():
        space = config.getColorSpace(name)
        space.addAlias(alias)
        config.addColorSpace(space)
    config.setRole(OCIO.ROLE_SCENE_LINEAR, config.getColorSpace("lin_rec709").getName())
    config.setActiveViews(_NUKE_VIEW)
    return config


def _context_of(config: OCIO.Config, values: Mapping[str, str]) -> OCIO.Context:
    """A context of the config's defaults and the job's values, without the process environment.

    A config without an ``environment:`` block declares nothing; it gets the job's values as they are.
    """
    variables = {
        name: values.get(name, config.getEnvironmentVarDefault(name)) for name in config.getEnvironmentVarNames()
    }
    if config.getEnvironmentMode() != OCIO.ENV_ENVIRONMENT_LOAD_PREDEFINED:
        variables.update(values)
    # A copy, not a new one: an archive's context also carries the access to the files inside.
    context = copy.deepcopy(config.getCurrentContext())
    context.setEnvironmentMode(OCIO.ENV_ENVIRONMENT_LOAD_PREDEFINED)
    context.clearStringVars()
    for name, value in variables.items():
        context[name] = value
    return context


@functools.lru_cache(maxsize=1)
def _reference() -> OCIO.Config:
    return OCIO.Config.CreateFromBuiltinConfig(_REFERENCE)
