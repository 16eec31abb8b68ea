"""`auto` takes the best model that this machine may and can run, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mattebridge_server.models.auto import Choice, Host, choose
from mattebridge_server.models.base import ModelCard, Preset
from mattebridge_server.site import LicencePolicy

GIB = 2**30
CARDS = {
    name: ModelCard(
        name=name,
        title=name,
        summary="",
        licence=licence,
        temporal="window",
        plate_state="display",
        version="1",
        presets=tuple(Preset(preset, pixels, gib * GIB) for preset, pixels, gib in presets),
    )
    for name, licence, presets in (
        ("videomama", "Stability", (("small", 600, 8), ("medium", 1200, 12), ("large", 1900, 18))),
        ("sam2-matte", "Apache-2.0", (("full", 1000, 4),)),
        ("edge", "Apache-2.0", ()),
    )
}
FULL = Host(24 * GIB, ("videomama", "sam2-matte"), ("videomama", "sam2-matte"))


def test_the_best_model_and_its_largest_preset_that_fits() -> None:
    choice = choose(CARDS, FULL)
    assert (choice.model, choice.preset) == ("videomama", "large")
    assert choose(CARDS, replace(FULL, memory_bytes=13 * GIB)).preset == "medium"


@pytest.mark.parametrize(
    ("host", "model", "why"),
    [
        (replace(FULL, memory_bytes=5 * GIB), "sam2-matte", "needs 8.0 GiB of device memory, this one has 5.0"),
        (replace(FULL, memory_bytes=2 * GIB), "edge", "sam2-matte needs 4.0 GiB"),
        (replace(FULL, memory_bytes=0), "edge", "videomama needs a GPU"),
        (replace(FULL, installed=("sam2-matte",)), "sam2-matte", "videomama is not installed"),
        (replace(FULL, accepted=("sam2-matte",)), "sam2-matte", "waits for its licence to be accepted"),
        (replace(FULL, policy=LicencePolicy(("Apache-2.0",))), "sam2-matte", "licence that the site does not allow"),
        (replace(FULL, policy=LicencePolicy(())), "edge", "sam2-matte is under a licence"),
    ],
)
def test_each_obstacle_leads_on_and_is_named(host: Host, model: str, why: str) -> None:
    choice = choose(CARDS, host)
    assert choice.model == model and why in choice.reason


def test_where_the_site_has_a_policy_nobody_is_asked() -> None:
    host = replace(FULL, accepted=(), policy=LicencePolicy(("Stability",)))
    assert choose(CARDS, host).model == "videomama"


def test_features_under_25_pixels_go_to_edge_whatever_the_machine() -> None:
    assert choose(CARDS, FULL, feature_px=24.9).model == "edge"
    assert "25 px" in choose(CARDS, FULL, feature_px=12).reason
    assert choose(CARDS, FULL, feature_px=25).model == "videomama"


def test_a_server_without_network_models_still_has_edge() -> None:
    assert choose({"edge": CARDS["edge"]}, FULL) == Choice(
        "edge",
        "",
        "edge needs no device and no weights; videomama is not on this server; sam2-matte is not on this server",
    )
