"""Which model a job runs with: as asked, chosen for `auto`, or a lighter one where the job allows it, with a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mattebridge.errors import InputError, ModelNotInstalled, OutOfMemory
from mattebridge.messages import JobRequest

from ..model_names import AUTO, FALLBACK, FILLER, helpers
from ..models.auto import Host, choose
from ..models.base import ModelCard
from ..models.licences import check_allowed
from ..pipeline.glance import glance_at_masks
from ..pipeline.params import card_params
from ..pipeline.plan import ShotPlan
from ..site import LicencePolicy, Site
from .shelf import Shelf


@dataclass(frozen=True)
class Chosen:
    """The request with its model settled, and the reason where it was not simply asked for."""

    request: JobRequest
    why: str = ""


def settle_model(request: JobRequest, shelf: Shelf, site: Site, plan: ShotPlan | None) -> Chosen:
    """Resolve `auto`, apply the site's licence policy, and see that the model is there and fits.

    Where it does not and the job allows a fallback: the largest smaller preset that fits, else `edge`. A frozen plan
    has settled `auto` and the precision, and under it nothing is changed. Raises `LicenceRefused`, `ModelUnknown`,
    `ModelNotInstalled`, `OutOfMemory`.
    """
    policy = site.licences
    if plan is not None:
        request = replace(request, precision=request.precision or plan.precision)
    if request.model == AUTO and plan is not None:
        request = replace(request, model=plan.model, preset=plan.preset)
    why = ""
    if request.model == AUTO:
        _usable_helpers(replace(request, model=FALLBACK), shelf, policy)  # before the masks are looked at
        chosen = _automatic(request, shelf, policy)
        request, why = chosen.request, chosen.why
    card = shelf.registry.get(request.model).card
    check_allowed(card, policy)
    beside = _usable_helpers(request, shelf, policy)
    may_change = request.fallback and plan is None and request.model != FALLBACK
    try:
        shelf.require_installed(card)
    except ModelNotInstalled as error:
        if not may_change:
            raise
        return _lighter(request, error.message, shelf, policy)
    try:
        shelf.need_fits(request.model, request.precision, request.preset, beside)
    except OutOfMemory as error:
        if not may_change:
            raise
        smaller = _largest_fitting(request, shelf)
        if smaller is None:
            return _lighter(request, error.message, shelf, policy)
        return Chosen(smaller, f"preset {smaller.preset} instead: {error.message}")
    return Chosen(request, why)


def smaller_canvas(request: JobRequest, shelf: Shelf) -> JobRequest | None:
    """The same job at the next smaller preset; None where there is none."""
    smaller = _smaller_presets(request, shelf)
    return replace(request, preset=smaller[0]) if smaller else None


def _largest_fitting(request: JobRequest, shelf: Shelf) -> JobRequest | None:
    beside = helpers(request, shelf.registry.get(request.model).card)
    for preset in _smaller_presets(request, shelf):
        if preset in shelf.fitting_presets(request.model, request.precision, beside):
            return replace(request, preset=preset)
    return None


def _smaller_presets(request: JobRequest, shelf: Shelf) -> list[str]:
    """Presets below the job's own, largest first. A job that names none runs at the card's first."""
    presets = shelf.registry.get(request.model).card.presets
    own = next((one for one in presets if one.name == request.preset), presets[0] if presets else None)
    smaller = [one for one in presets if own is not None and one.canvas_pixels < own.canvas_pixels]
    return [one.name for one in sorted(smaller, key=lambda one: -one.canvas_pixels)]


def _usable_helpers(request: JobRequest, shelf: Shelf, policy: LicencePolicy) -> tuple[str, ...]:
    """Raises `LicenceRefused`, and `ModelNotInstalled` for the filler: a frame's last step is too late to miss it."""
    beside = helpers(request, shelf.registry.get(request.model).card)
    for helper in beside:
        check_allowed(shelf.registry.get(helper).card, policy)
    if FILLER in beside and request.kind != "plan":
        shelf.require_installed(shelf.registry.get(FILLER).card)
    return beside


def _automatic(request: JobRequest, shelf: Shelf, policy: LicencePolicy) -> Chosen:
    """The choice for this device; parameters that the chosen model does not have are dropped."""
    cards = {name: _at_precision(cls.card, request.precision, shelf) for name, cls in shelf.registry.classes.items()}
    host = Host(
        memory_bytes=shelf.budget_bytes if shelf.device.kind == "cuda" else 0,
        installed=[name for name, card in cards.items() if shelf.is_installed(card)],
        accepted=[name for name, card in cards.items() if shelf.is_accepted(card)],
        policy=policy,
    )
    if request.preset and request.preset not in {one.name for card in cards.values() for one in card.presets}:
        raise InputError(
            f"neither a model nor the server's site file has a preset {request.preset!r}",
            remedy="Choose one that `mattebridge describe NAME` lists.",
        )
    choice = choose(cards, host, glance_at_masks(request).feature_px)
    known = {param.name for param in card_params(cards[choice.model])}
    params = {name: value for name, value in request.params.items() if name in known}
    preset, why = choice.preset, choice.reason
    if request.preset in {one.name for one in cards[choice.model].presets}:
        preset, why = request.preset, f"{why}; preset {request.preset} as asked for"
    return Chosen(replace(request, model=choice.model, preset=preset, params=params), why)


def _at_precision(card: ModelCard, precision: str, shelf: Shelf) -> ModelCard:
    """The card with its presets' peaks in the precision that the job will run in."""
    presets = (replace(p, peak_bytes=shelf.need(card.name, precision, p.name).peak_bytes) for p in card.presets)
    return replace(card, presets=tuple(presets))


def _lighter(request: JobRequest, why: str, shelf: Shelf, policy: LicencePolicy) -> Chosen:
    check_allowed(shelf.registry.get(FALLBACK).card, policy)
    lighter = replace(request, model=FALLBACK, params={}, preset="", precision="")
    _usable_helpers(lighter, shelf, policy)
    return Chosen(lighter, f"{FALLBACK} instead: {why}")
