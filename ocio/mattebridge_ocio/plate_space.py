"""In which colour space is this plate? Asked in one fixed order, and refused rather than guessed.

    1. the request                     the user knows best, and may overrule a wrong header
    2. the EXR header                  colorInteropID, or the flag of an ACES container
    3. a file rule of the config       but never the default rule, nor one that calls every such file ACES2065-1:
                                       the built-in configs have it, and it says nothing about this plate; nor the
                                       search for names in a path that OCIO adds to a config of version 1
    4. the site's default for the show
    5. Nuke's own mode                 linear Rec.709, said aloud
    6. an error with the candidates

``chromaticities`` in a header only cross-check: many writers leave a wrong or stale one, so a contradiction is a
warning. So is a header that states another space than the request.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from .chromaticities import Chromaticities, contradiction
from .config import ColourConfig
from .failure import ColourError

Source = Literal["request", "header", "file rule", "site default", "nuke-default"]

_UNSTATED_IDS = frozenset({"", "unknown"})
_ACES_CONTAINER_ID = "lin_ap0_scene"
_NAMED_IN_MESSAGE = 12


@dataclass(frozen=True)
class PlateHints:
    """What the plate's files say about their colours.

    ``interop_id`` is EXR's colorInteropID, ``aces_container`` its acesImageContainerFlag, ``chromaticities`` the xy of
    red, green, blue and white; ``path`` is one frame's path, for file rules.
    """

    path: str = ""
    interop_id: str = ""
    aces_container: bool = False
    chromaticities: Chromaticities | None = None


@dataclass(frozen=True)
class Resolution:
    """The plate's space by its name in the config, what decided it, and what a user should be told."""

    space: str
    source: Source
    warnings: tuple[str, ...] = ()


def resolve_plate_space(
    config: ColourConfig, hints: PlateHints, *, request: str = "", site_default: str = ""
) -> Resolution:
    """Resolve the plate's space; ``request`` and ``site_default`` are a name, alias, role or interop id.

    Raises `ColourError` with candidates: "space_unstated", "space_unknown", "space_ambiguous", "space_unfit".
    """
    found = _statement(config, hints, request, site_default)
    if found is None:
        raise ColourError(
            "space_unstated",
            "nothing says which colour space the plate is in: not the job, its header, a file rule or the site's "
            "default for the show",
            remedy=f"State it, one of: {_listed(config.candidates())}.",
            candidates=config.candidates(),
            file=hints.path,
        )
    space, source = found
    warnings = []
    if source == "nuke-default":
        warnings.append("Nuke manages colour itself (no OCIO): the plate is taken as linear Rec.709")
    if source == "request":
        warnings.append(_overruled(config, hints, space))
    if hints.chromaticities is not None:
        warnings.append(contradiction(config, space, hints.chromaticities))
    return Resolution(space, source, tuple(filter(None, warnings)))


def _statement(config: ColourConfig, hints: PlateHints, request: str, site_default: str) -> tuple[str, Source] | None:
    if request:
        return _one_space(config, request, "the job", hints.path), "request"
    header = _header_id(hints)
    if header:
        return _one_space(config, header, "the plate's header", hints.path), "header"
    ruled = _by_file_rule(config, hints.path)
    if ruled:
        return _one_space(config, ruled, "a file rule of the config", hints.path), "file rule"
    if site_default:
        return _one_space(config, site_default, "the site's default for the show", hints.path), "site default"
    if config.is_nuke_default:
        return config.working_space, "nuke-default"
    return None


def _one_space(config: ColourConfig, stated: str, who: str, path: str) -> str:
    spaces = config.find(stated)
    if not spaces:
        near = difflib.get_close_matches(stated, config.candidates(), n=3, cutoff=0.5)
        candidates = tuple(dict.fromkeys([*near, *config.candidates()]))
        raise ColourError(
            "space_unknown",
            f"{who} states the colour space '{stated}', which the OCIO config does not have",
            remedy=f"State one that it has: {_listed(candidates)}.",
            candidates=candidates,
            file=path,
        )
    if len(spaces) > 1:
        raise ColourError(
            "space_ambiguous",
            f"{who} states '{stated}', and several spaces of the OCIO config carry that id",
            remedy=f"State one by name: {_listed(spaces)}.",
            candidates=spaces,
            file=path,
        )
    reason = config.unfit_reason(spaces[0])
    if reason:
        raise ColourError(
            "space_unfit",
            f"{who} states the colour space '{stated}', but no plate can be in it: {reason}",
            remedy=f"State the space it was rendered or scanned in: {_listed(config.candidates())}.",
            candidates=config.candidates(),
            file=path,
        )
    return spaces[0]


def _overruled(config: ColourConfig, hints: PlateHints, space: str) -> str:
    """A warning where the header states spaces of the config, and ``space``, the job's, is none of them; else ""."""
    stated = [name for name in (_stated_id(hints), _ACES_CONTAINER_ID if hints.aces_container else "") if name]
    meant = {found for name in stated for found in config.find(name)}
    if not meant or space in meant:
        return ""
    return f"the plate's header states '{stated[0]}' and the job '{space}': the plate is read as the job says"


def _stated_id(hints: PlateHints) -> str:
    return "" if hints.interop_id.lower() in _UNSTATED_IDS else hints.interop_id


def _header_id(hints: PlateHints) -> str:
    stated = _stated_id(hints)
    if hints.aces_container and stated and stated.lower() != _ACES_CONTAINER_ID:
        raise ColourError(
            "space_ambiguous",
            f"the plate's header contradicts itself: an ACES container ({_ACES_CONTAINER_ID}) with the id '{stated}'",
            remedy="State which one is right.",
            candidates=(stated, _ACES_CONTAINER_ID),
            file=hints.path,
        )
    return stated or (_ACES_CONTAINER_ID if hints.aces_container else "")


def _by_file_rule(config: ColourConfig, path: str) -> str:
    """The space that a telling file rule gives to ``path``; empty where only the default or a catch-all matches."""
    if not path or config.ocio.getMajorVersion() < 2:  # whose rules nobody wrote: "lin" would be found in "/berlin/"
        return ""
    rules = config.ocio.getFileRules()
    space, index = config.ocio.getColorSpaceFromFilepath(path)
    if index >= rules.getNumEntries() - 1:
        return ""
    if config.find(space) == config.find("aces_interchange") and _matches_any_name(config, path, index):
        return ""
    return str(space)


def _matches_any_name(config: ColourConfig, path: str, index: int) -> bool:
    """Whether rule ``index`` would also match a file of the same type whose name and folder say nothing."""
    suffix = path.rpartition(".")[2]
    _, matched = config.ocio.getColorSpaceFromFilepath(f"/q7/q7.{suffix}")
    return bool(matched == index)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMED_IN_MESSAGE
    return ", ".join(names[:_NAMED_IN_MESSAGE]) + (f" and {more} more" if more > 0 else "")
