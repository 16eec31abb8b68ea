"""Which model a job gets: as asked where that is possible, else a refusal with numbers, or what the job allows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mattebridge.errors import InputError, LicenceRefused, ModelNotInstalled, OutOfMemory
from mattebridge.messages import JobRequest, PromptInfo
from mattebridge_server.engine.choice import settle_model, smaller_canvas
from mattebridge_server.engine.shelf import Shelf
from mattebridge_server.models import folders, licences
from mattebridge_server.models.base import Canvas, Device, LoadSpec
from mattebridge_server.models.identity import Identity
from mattebridge_server.models.lama import LaMa
from mattebridge_server.models.registry import Registry, load_registry
from mattebridge_server.models.videomama.card import CARD
from mattebridge_server.pipeline.plan import ShotPlan
from mattebridge_server.site import Site

GIB = 2**30
SMALL, MEDIUM, LARGE = (preset.peak_bytes for preset in CARD.presets)
GRID = (0, 0, 64, 48)
PLAN = ShotPlan(
    frames="1",
    model="videomama",
    model_digest="",
    temporal="window",
    length=16,
    stride=12,
    radius=0,
    preset="large",
    plate=GRID,
    display=GRID,
)
ShelfOf = Callable[..., Shelf]


@pytest.fixture
def shelf_of(tmp_path: Path) -> ShelfOf:
    """``shelf_of(budget)``: a GPU's shelf where VideoMaMa's files lie; nothing is loaded, so no GPU is needed."""

    def make(budget: int, installed: bool = True) -> Shelf:
        for weights in CARD.weights:
            path = tmp_path / weights.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        where = tmp_path if installed else tmp_path / "nothing"
        return Shelf(Device("cuda", 0, 2, 2 * budget), (where,), load_registry(), budget_bytes=budget)

    return make


def job(**fields: Any) -> JobRequest:
    return JobRequest(**{"plate": "/p.####.exr", "out": "/a.####.exr", "frames": "1", "model": "videomama", **fields})


def settle(request: JobRequest, shelf: Shelf, site: str = "", plan: ShotPlan | None = None) -> tuple[str, str, str]:
    chosen = settle_model(request, shelf, Site.parse(site), plan)
    return chosen.request.model, chosen.request.preset, chosen.why


def test_what_fits_runs_as_asked(shelf_of: ShelfOf) -> None:
    assert settle(job(preset="large"), shelf_of(LARGE)) == ("videomama", "large", "")


def test_a_refusal_has_the_numbers_and_offers_the_presets_that_fit(shelf_of: ShelfOf) -> None:
    with pytest.raises(OutOfMemory, match=rf"{LARGE / GIB:.1f} GiB .* budget is {MEDIUM / GIB:.1f} GiB") as caught:
        settle(job(preset="large"), shelf_of(MEDIUM))
    assert "small or medium" in caught.value.remedy
    with pytest.raises(OutOfMemory) as caught:
        settle(job(), shelf_of(2 * GIB))
    assert "lighter model" in caught.value.remedy


def test_a_fallback_is_the_largest_smaller_preset_that_fits_and_edge_where_none_does(shelf_of: ShelfOf) -> None:
    model, preset, why = settle(job(preset="large", fallback=True), shelf_of(MEDIUM))
    assert (model, preset) == ("videomama", "medium") and f"{LARGE / GIB:.1f} GiB" in why
    model, preset, why = settle(job(preset="large", fallback=True), shelf_of(2 * GIB))
    assert (model, preset) == ("edge", "") and "budget is 2.0 GiB" in why


def test_a_frozen_plan_is_never_changed(shelf_of: ShelfOf) -> None:
    with pytest.raises(OutOfMemory):
        settle(job(preset="large", fallback=True), shelf_of(MEDIUM), plan=PLAN)
    with pytest.raises(ModelNotInstalled):
        settle(job(fallback=True), shelf_of(LARGE, installed=False), plan=PLAN)


def test_under_a_plan_the_precision_is_the_plans(shelf_of: ShelfOf) -> None:
    plan = msgspec.structs.replace(PLAN, precision="fp16")
    assert settle_model(job(), shelf_of(LARGE), Site(), plan).request.precision == "fp16"
    assert settle_model(job(precision="bf16"), shelf_of(LARGE), Site(), plan).request.precision == "bf16"


def test_under_a_plan_auto_is_the_plans_model(shelf_of: ShelfOf) -> None:
    assert settle(job(model="auto"), shelf_of(LARGE), plan=PLAN) == ("videomama", "large", "")
    with pytest.raises(OutOfMemory):
        settle(job(model="auto", fallback=True), shelf_of(MEDIUM), plan=PLAN)


def test_a_canvas_is_made_smaller_step_by_step_and_never_larger(shelf_of: ShelfOf) -> None:
    shelf = shelf_of(LARGE)
    large = job(preset="large")
    medium = smaller_canvas(large, shelf)
    assert medium == replace(large, preset="medium")
    small = smaller_canvas(medium, shelf)
    assert small is not None and small.preset == "small"
    assert smaller_canvas(small, shelf) is None
    assert smaller_canvas(job(), shelf) is None, "a job that names no preset runs at the smallest already"
    assert smaller_canvas(job(model="edge"), shelf) is None


def test_a_missing_model_names_the_file_its_source_and_the_command(shelf_of: ShelfOf) -> None:
    with pytest.raises(ModelNotInstalled, match=r"VideoMaMa/unet/config\.json") as caught:
        settle(job(), shelf_of(LARGE, installed=False))
    assert "models pull videomama" in caught.value.remedy and "SammyLim/VideoMaMa" in caught.value.remedy
    model, _, why = settle(job(fallback=True), shelf_of(LARGE, installed=False))
    assert model == "edge" and "VideoMaMa/unet/config.json" in why


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "videomama"},
        {"model": "edge", "fill": "sam2-matte"},
        {"model": "edge", "prompts": (PromptInfo(1, points=(0.5, 0.5, 1.0)),)},
        {"model": "edge", "cleanplate": "/c.####.exr"},
        {"model": "auto", "cleanplate": "/c.####.exr"},
    ],
)
def test_the_sites_policy_holds_for_every_model_that_a_job_runs(shelf_of: ShelfOf, fields: dict[str, Any]) -> None:
    with pytest.raises(LicenceRefused, match="this site does not allow"):
        settle(job(**fields), shelf_of(LARGE), '[licences]\nallow = ["MIT"]')


def test_auto_takes_the_largest_preset_in_the_precision_that_is_asked_for(shelf_of: ShelfOf, tmp_path: Path) -> None:
    shelf = shelf_of(LARGE)
    licences.record(CARD, tmp_path, "asked", {})
    assert settle(job(model="auto"), shelf)[:2] == ("videomama", "large")
    assert settle(job(model="auto", precision="fp32"), shelf)[:2] == ("videomama", "small")


def test_auto_waits_for_a_licence_that_nobody_accepted_and_an_allowing_site_decides_alone(shelf_of: ShelfOf) -> None:
    assert folders.is_installed(CARD, shelf_of(LARGE)._folders)
    model, _, why = settle(job(model="auto"), shelf_of(LARGE))
    assert model == "edge" and "models pull videomama" in why
    assert settle(job(model="auto"), shelf_of(LARGE), f'[licences]\nallow = ["{CARD.licence}"]')[0] == "videomama"


def test_auto_drops_parameters_that_only_another_model_has(shelf_of: ShelfOf) -> None:
    chosen = settle_model(job(model="auto", params={"seed": 7, "detail": 0.5}), shelf_of(LARGE), Site(), None)
    assert chosen.request.params == {"detail": 0.5}


def test_a_model_is_told_what_the_others_leave_to_it(tmp_path: Path) -> None:
    """As a network asks before each window: what it declares may count on a part of it having left the device."""
    rooms: dict[str, Callable[[], int]] = {}

    class One(Identity):
        card = replace(Identity.card, name="one")

        def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
            return 5

        def load(self, spec: LoadSpec) -> None:
            assert spec.room is not None
            rooms[self.card.name] = spec.room

    class Other(One):
        card = replace(Identity.card, name="other")

    shelf = Shelf(Device("cuda", 0, 2, 40), (tmp_path,), Registry({"one": One, "other": Other}, {}), budget_bytes=12)
    shelf.get("one")
    assert rooms["one"]() == 12
    shelf.get("other")
    assert (rooms["one"](), rooms["other"]()) == (7, 7)
    shelf.unload()
    assert rooms["one"]() == 12


def test_a_model_may_ask_for_its_room_while_another_thread_loads(tmp_path: Path) -> None:
    """As a network does between windows while the first frame's clean plate is filled."""
    rooms: list[Callable[[], int]] = []

    class One(Identity):
        def load(self, spec: LoadSpec) -> None:
            assert spec.room is not None
            rooms.append(spec.room)

    names = [f"model{number}" for number in range(500)]
    classes = {name: type(name, (One,), {"card": replace(Identity.card, name=name)}) for name in names}
    shelf = Shelf(Device("cuda", 0, 2, 40), (tmp_path,), Registry(classes, {}), budget_bytes=12)
    shelf.get(names[0])
    others = threading.Thread(target=lambda: [shelf.get(name) for name in names[1:]])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        others.start()
        while others.is_alive():
            assert rooms[0]() == 12
    finally:
        sys.setswitchinterval(before)
        others.join()


def test_auto_and_fallback_keep_to_the_sites_policy(shelf_of: ShelfOf) -> None:
    with pytest.raises(LicenceRefused, match="edge is under Apache"):
        settle(job(model="auto"), shelf_of(LARGE), '[licences]\nallow = ["MIT"]')
    with pytest.raises(LicenceRefused, match="edge is under Apache"):
        settle(job(fallback=True), shelf_of(2 * GIB), f'[licences]\nallow = ["{CARD.licence}"]')


def test_auto_with_a_preset_takes_it_or_says_what_would_fit(shelf_of: ShelfOf) -> None:
    site = f'[licences]\nallow = ["{CARD.licence}", "Apache-2.0"]'
    model, preset, why = settle(job(model="auto", preset="small"), shelf_of(LARGE), site)
    assert (model, preset) == ("videomama", "small") and "small as asked" in why
    with pytest.raises(OutOfMemory) as caught:
        settle(job(model="auto", preset="large"), shelf_of(MEDIUM), site)
    assert "small or medium" in caught.value.remedy
    smaller = settle(job(model="auto", preset="large", fallback=True), shelf_of(MEDIUM), site)
    assert smaller[:2] == ("videomama", "medium")
    assert settle(job(model="auto", preset="large"), shelf_of(2 * GIB), site)[:2] == ("edge", "")
    with pytest.raises(InputError, match="preset 'larg'"):
        settle(job(model="auto", preset="larg"), shelf_of(LARGE), site)


def test_a_job_with_helpers_needs_room_for_the_larger_of_them_before_it_starts(
    shelf_of: ShelfOf, tmp_path: Path
) -> None:
    masks = {"prompts": (PromptInfo(frame=1, points=(0.5, 0.5, 1.0)),), "mask": ""}
    mission = job(preset="small", cleanplate="/out/c.####.exr", precision="bf16", **masks)
    eleven = int(0.92 * 11 * GIB)
    (lama,) = LaMa.card.weights
    (tmp_path / lama.path).parent.mkdir()
    (tmp_path / lama.path).touch()
    site = 'licences.allow = ["' + CARD.licence + '", "Apache-2.0"]'
    assert settle(mission, shelf_of(eleven), site)[:2] == ("videomama", "small")
    narrow = shelf_of(int(8.5 * GIB))  # the tracker is gone before the network runs
    assert settle(replace(mission, cleanplate=""), narrow, site)[:2] == ("videomama", "small")
    with pytest.raises(OutOfMemory, match="videomama with lama needs") as caught:
        settle(mission, narrow, site)
    assert "smaller preset" in caught.value.remedy


def test_a_helper_that_does_not_fit_beside_the_jobs_own_model_is_not_told_to_wait(tmp_path: Path) -> None:
    class Large(Identity):
        card = replace(Identity.card, name="large")

        def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
            return 7

    class Helper(Large):
        card = replace(Identity.card, name="helper")

    registry = Registry({"large": Large, "helper": Helper}, {})
    shelf = Shelf(Device("cuda", 0, 2, 40), (tmp_path,), registry, budget_bytes=12)
    shelf.get("large")
    with shelf.in_use("large"), pytest.raises(OutOfMemory) as caught:
        shelf.get("helper")
    assert "Wait" not in caught.value.remedy and "beside large" in caught.value.remedy


def test_a_model_that_does_a_helpers_work_itself_needs_no_helper(tmp_path: Path) -> None:
    class Tracker(Identity):
        card = replace(Identity.card, name="tracker", temporal="shot", outputs=("alpha", "clean_plate"))

        def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
            return 5

    classes = {**load_registry().classes, "tracker": Tracker}
    shelf = Shelf(Device("cuda", 0, 2, 40), (tmp_path,), Registry(classes, {}), budget_bytes=6)
    prompts = (PromptInfo(frame=1, points=(0.5, 0.5, 1.0)),)
    request = job(model="tracker", mask="", prompts=prompts, cleanplate="/out/c.####.exr")
    assert settle(request, shelf)[0] == "tracker"
