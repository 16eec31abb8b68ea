"""Which model a job runs with: as asked, chosen for `auto`, or a lighter one where the job allows it, with a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mattebridge.errors import LicenceRefused, ModelNotInstalled, OutOfMemory
from mattebridge.messages import JobRequest

from ..models.auto import FALLBACK, Host, choose
from ..models.base import ModelCard
from ..pipeline.glance import glance_at_masks
from ..site import Site
from .shelf import Shelf

AUTO = "auto"


@dataclass(frozen=True)
class Chosen:
    """The request with its model settled, and the reason where it was not simply asked for."""

    request: JobRequest
    why: str = ""


def settle_model(request: JobRequest, shelf: Shelf, site: Site, frozen: bool) -> Chosen:
    """Resolve `auto`, apply the site's licence policy, and see that the model fits.

    Raises `LicenceRefused`, `ModelUnknown`, `ModelNotInstalled`, `OutOfMemory`. Under a frozen plan nothing is changed.
    """
    if request.model == AUTO:
        chosen = _automatic(request, shelf, site)
        return replace_model(chosen, shelf)
    card = shelf.registry.get(request.model).card
    check_licence(card, site)
    try:
        if not shelf.is_installed(card):
            raise ModelNotInstalled(
                f"{card.title} is not installed on the server",
                remedy=f"Run `mattebridge models pull {card.name}` there.",
            )
        shelf.need_fits(request.model, request.precision, request.preset)
    except (OutOfMemory, ModelNotInstalled) as error:
        if frozen or not request.fallback or request.model == FALLBACK:
            raise
        return Chosen(_lighter(request, shelf.registry.get(FALLBACK).card), f"{FALLBACK} instead: {error.message}")
    return Chosen(request)


def smaller_canvas(request: JobRequest, shelf: Shelf) -> JobRequest | None:
    """The same job at the next smaller preset; None where there is none."""
    presets = sorted(shelf.registry.get(request.model).card.presets, key=lambda preset: preset.canvas_pixels)
    names = [preset.name for preset in presets]
    if not names:
        return None
    place = names.index(request.preset) if request.preset in names else len(names) - 1
    return replace(request, preset=names[place - 1], overwrite=True) if place else None


def check_licence(card: ModelCard, site: Site) -> None:
    """Raises `LicenceRefused` where the site has a policy that does not name the model's licence."""
    if not site.licence_allowed(card.licence):
        raise LicenceRefused(
            f"{card.title} is under {card.licence}, which this site does not allow",
            details={"allowed": ", ".join(site.licences.allow or ())},
        )


def replace_model(chosen: Chosen, shelf: Shelf) -> Chosen:
    """Drop parameters that the chosen model does not have: `auto` cannot know them beforehand."""
    card = shelf.registry.get(chosen.request.model).card
    known = {param.name for param in card.params} | {"linear_light", "roi"}
    kept = {name: value for name, value in chosen.request.params.items() if name in known}
    return Chosen(replace(chosen.request, params=kept), chosen.why)


def _automatic(request: JobRequest, shelf: Shelf, site: Site) -> Chosen:
    cards = {name: cls.card for name, cls in shelf.registry.classes.items()}
    installed = tuple(name for name, card in cards.items() if shelf.is_installed(card))
    device = shelf.device
    host = Host(
        memory_bytes=shelf.budget_bytes if device.kind == "cuda" else 0,
        installed=installed,
        accepted=installed,
        allowed_licences=site.licences.allow,
    )
    choice = choose(cards, host, glance_at_masks(request).feature_px)
    return Chosen(replace(request, model=choice.model, preset=request.preset or choice.preset), choice.reason)


def _lighter(request: JobRequest, card: ModelCard) -> JobRequest:
    return replace(request, model=card.name, params={}, preset="", precision="")
