"""`auto`: which matting model a job gets on this machine, and why, in one pure function."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mattebridge_server.model_names import FALLBACK
from mattebridge_server.models.base import ModelCard
from mattebridge_server.site import LicencePolicy

PREFERENCE = ("videomama", "sam2-matte")
SMALL_FEATURE_PX = 25.0
GIB = 2**30


@dataclass(frozen=True)
class Choice:
    """The model, its preset (empty where it has none), and the reason in a sentence for the job's log."""

    model: str
    preset: str
    reason: str


@dataclass(frozen=True)
class Host:
    """What decides: ``memory_bytes`` of the device (0 for a CPU), what is installed, and the site's licence policy.

    Where the site has no policy, ``accepted`` names the models whose licence a person has accepted.
    """

    memory_bytes: int
    installed: Collection[str]
    accepted: Collection[str] = ()
    policy: LicencePolicy = field(default_factory=LicencePolicy)


def choose(cards: Mapping[str, ModelCard], host: Host, feature_px: float = float("inf")) -> Choice:
    """The best model that this machine may and can run. ``feature_px`` comes from the mask preflight."""
    if feature_px < SMALL_FEATURE_PX:
        return Choice(
            FALLBACK,
            "",
            f"the masked shape is {feature_px:.0f} px wide; below {SMALL_FEATURE_PX:.0f} px edge is better",
        )
    passed: list[str] = []
    for name in PREFERENCE:
        card = cards.get(name)
        why_not = "is not on this server" if card is None else _obstacle(card, host)
        if card is None or why_not:
            passed.append(f"{name} {why_not}")
            continue
        preset = _largest_preset(card, host.memory_bytes)
        size = f" at preset {preset}" if preset else ""
        reason = f"{name}{size} fits {host.memory_bytes / GIB:.1f} GiB of device memory"
        return Choice(name, preset, "; ".join([reason, *passed]))
    return Choice(FALLBACK, "", "; ".join([f"{FALLBACK} needs no device and no weights", *passed]))


def _obstacle(card: ModelCard, host: Host) -> str:
    """Why the model cannot be used, or nothing."""
    if not host.policy.allows(card.licence):
        return f"is under a licence that the site does not allow ({card.licence})"
    if card.name not in host.installed:
        return "is not installed"
    if host.policy.allow is None and card.name not in host.accepted:
        return f"waits for its licence to be accepted (`mattebridge models pull {card.name}` asks)"
    if not host.memory_bytes:
        return "needs a GPU"
    least = min((preset.peak_bytes for preset in card.presets), default=0)
    if least > host.memory_bytes:
        return f"needs {least / GIB:.1f} GiB of device memory, this one has {host.memory_bytes / GIB:.1f}"
    return ""


def _largest_preset(card: ModelCard, memory_bytes: int) -> str:
    fitting = [preset for preset in card.presets if preset.peak_bytes <= memory_bytes]
    return max(fitting, key=lambda preset: preset.canvas_pixels).name if fitting else ""
