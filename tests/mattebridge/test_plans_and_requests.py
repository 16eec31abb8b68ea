"""A request's paths, and what it states beside a frozen plan: that has to be what the plan has settled."""

import json

import pytest

from mattebridge.errors import PlanError, UsageError
from mattebridge.plan_file import agreed_plan, with_request
from mattebridge.requests import make_request

PLAN = {
    "frames": "1001-1010",
    "look": "filmic",
    "plate_space": "ACEScg",
    "mask_channel": "A",
    "mask_invert": False,
    "mask_fit": "",
    "params": {"detail": 0.5, "steps": 4},
}


def request(**fields):
    return make_request(plate="/plate.####.exr", mask="/mask.####.exr", out="/alpha.####.exr", **fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"mask_invert": True}, "mask invert"),
        ({"mask_fit": "crop"}, "mask fit"),
        ({"look": "srgb"}, "look"),
        ({"params": {"detail": 0.7}}, "parameter detail"),
        ({"shot": "1001-1005"}, "shot"),
    ],
)
def test_what_differs_from_the_plan_is_refused_and_named(fields, named):
    with pytest.raises(PlanError, match=named) as refused:
        agreed_plan(request(**fields), PLAN)
    assert "Leave it out" in refused.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"frames": "1003"},
        {"shot": "1001-1005, 1006-1010", "look": "filmic", "params": {"detail": 0.5}},
        {"params": {"of_another_model": 1}},
    ],
)
def test_what_agrees_or_is_left_out_goes_with_the_plan(fields):
    assert json.loads(agreed_plan(request(**fields), PLAN)) == PLAN


def test_a_plan_without_a_look_takes_any():
    agreed_plan(request(look="srgb"), {**PLAN, "look": ""})


def test_a_plan_that_knows_its_request_takes_the_same_spelling_again_and_no_other():
    plan = with_request(json.dumps(PLAN).encode(), request(plate_space="acescg", mask_channel="alpha"))
    agreed_plan(request(plate_space="acescg", mask_channel="alpha"), plan)
    agreed_plan(request(plate_space="ACEScg"), plan)
    with pytest.raises(PlanError, match="plate space is sRGB"):
        agreed_plan(request(plate_space="sRGB"), plan)


@pytest.mark.parametrize("plan", [b"", b"[1]", b"no plan"])
def test_what_is_no_plan_is_left_for_the_engine_to_name(plan):
    assert agreed_plan(request(), plan) == plan


@pytest.mark.parametrize("word", ["off", "no", "False", 0, False])
def test_a_switch_may_be_written_in_every_way_that_a_job_takes(word):
    plan = {**PLAN, "params": {"linear_light": False}}
    agreed_plan(request(params={"linear_light": word}), plan)
    with pytest.raises(PlanError, match="linear light"):
        agreed_plan(request(params={"linear_light": "on"}), plan)


@pytest.mark.parametrize("out", ["plate.%04d.exr", "plate.@@@@.exr", "plate.%d.exr", "plate.1002.exr"])
@pytest.mark.parametrize("frames", ["1001-1002", ""])
def test_what_is_sent_is_not_written_over_however_it_is_spelled(tmp_path, out, frames):
    for frame in (1001, 1002):
        (tmp_path / f"plate.{frame}.exr").touch()
    for fields in ({"out": out}, {"out": "alpha.####.exr", "fgr": out}):
        paths = {name: tmp_path / text for name, text in {"plate": "plate.####.exr", **fields}.items()}
        with pytest.raises(UsageError, match="over the plate"):
            make_request(**paths, frames=frames, delivery="exr", overwrite=True)


def test_two_results_need_two_names(tmp_path):
    paths = dict.fromkeys(("out", "fgr"), tmp_path / "a.####.exr")
    with pytest.raises(UsageError, match="fgr would be written over the out"):
        make_request(plate=tmp_path / "plate.####.exr", **paths, frames="1", delivery="exr")


def test_a_path_that_climbs_leads_where_the_disk_leads_it(tmp_path, monkeypatch):
    for folder in ("shot/work", "elsewhere/plates"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shot/linked").symlink_to(tmp_path / "elsewhere/plates", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "shot/work")
    made = make_request(plate="../linked/../p.####.exr", mask="../linked/m.####.exr", out="../out/new/../a.####.exr")
    here = tmp_path.resolve()
    assert made.plate == str(here / "elsewhere/p.####.exr"), "links are followed, as an open would"
    assert made.mask == str(here / "shot/linked/m.####.exr"), "a link that is not climbed out of keeps its name"
    assert made.out == str(here / "shot/out/a.####.exr")


@pytest.mark.parametrize("name", ["plate", "cleanplate", "label"])
def test_what_is_longer_than_a_server_takes_is_told_here(name):
    fields = {"plate": "/p.####.exr", "out": "/o.####.exr", "delivery": "files"}
    make_request(**fields, **{name: "x" * 100} if name == "label" else {})
    with pytest.raises(UsageError, match=f"{name} is longer than 4096 characters"):
        make_request(**{**fields, name: f"/{'folder/' * 700}p.####.exr"})


def test_a_path_may_be_bytes(tmp_path):
    plate = tmp_path / "plate.####.exr"
    assert make_request(plate=bytes(plate), out="/alpha.####.exr").plate == str(plate)
