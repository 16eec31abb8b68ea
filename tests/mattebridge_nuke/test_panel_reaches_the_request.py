"""Every knob of the panel does what its label says: it reaches the request, the files or the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakenuke import FakeNuke
from fakenuke.panel import tabs_of
from fakenuke.shots import Shot

TO_REQUEST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model": ({"model": "identity"}, {"model": "identity"}),
    "preset": ({"preset_name": "large"}, {"preset": "large"}),
    "range": ({"range": "project"}, {"shot": "1-100", "frames": "1-100"}),
    "frames": ({"range": "custom", "frames": "1002-1003"}, {"shot": "1002-1003"}),
    "make_fgr": ({"make_fgr": True}, {"fgr": "{folder}/v001/fgr/MatteBridge1_fgr.%04d.exr"}),
    "make_cleanplate": (
        {"make_cleanplate": True},
        {"cleanplate": "{folder}/v001/cleanplate/MatteBridge1_cleanplate.%04d.exr"},
    ),
    "folder": ({"folder": "/elsewhere"}, {"out": "/elsewhere/MatteBridge1/v001/MatteBridge1.%04d.exr"}),
    "look": ({"look": "view"}, {"look": "view"}),
    "always_render": ({"always_render": True}, {"mask": "{folder}/inputs/mask.%04d.exr"}),
    "mask_from": ({"mask_from": "made mask", "mask_path": "/made/m.%04d.exr"}, {"mask": "/made/m.%04d.exr"}),
    "mask_channel": ({"mask_channel": "green"}, {"mask_channel": "G"}),
    "mask_invert": ({"mask_invert": True}, {"mask_invert": True}),
    "mask_fit": ({"mask_fit": "stretch"}, {"mask_fit": "stretch"}),
    "delivery": ({"delivery": "exr"}, {"delivery": "exr"}),
    "priority": ({"priority": "batch"}, {"priority": "batch"}),
}
"""Knob: what is set, and what the request then holds."""

ELSEWHERE = {
    "test_node_graph": {"rgb_from", "premultiply", "alpha_to", "named_layers", "on_missing", "alpha_path", "fgr_path"},
    "test_node_graph and test_make_mask": {"cleanplate_path", "compare_path", "mask_path"},
    "test_versions_follow_changes": {"version", "preview_partial"},
    "test_two_views": {"which_views", "one_mask"},
    "test_make_mask": {
        "object_name",
        "mask_frame",
        "use_box",
        "box",
        *(f"{k}{i}" for k in ("point", "kind") for i in range(1, 7)),
    },
    "test_ways_to_the_server": {"server"},
    "test_send_to_farm": {"comp_write"},
    "shown only": {"status", "working_space", "gizmo_version"},
}


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


def request_of(node: Any) -> dict[str, Any]:
    from mattebridge_nuke import job_request, script_facts, versions

    facts = script_facts.gather(node)
    roles = job_request.output_roles(facts)
    patterns = versions.role_patterns(facts.folder, facts.settings.name, 1, roles, facts.several_views)
    return job_request.request(job_request.plan(facts), facts.views[0], patterns, facts.settings.delivery)


def test_an_untouched_panel_asks_for_the_plain_thing(fake: FakeNuke, shot: Shot) -> None:
    assert request_of(shot.script(fake)) == {
        "plate": shot.pattern("plate"),
        "mask": shot.pattern("mask"),
        "out": f"{shot.folder.as_posix()}/mattebridge/MatteBridge1/v001/MatteBridge1.%04d.exr",
        "frames": "1001-1004",
        "shot": "1001-1004",
        "model": "edge",
        "config": "nuke-default",
        "look": "filmic",
        "delivery": "files",
        "priority": "interactive",
        "label": "comp v012.nk MatteBridge1",
    }


@pytest.mark.parametrize("knob", TO_REQUEST)
def test_a_knob_reaches_the_request(fake: FakeNuke, shot: Shot, knob: str) -> None:
    node, (knobs, wanted) = shot.script(fake), TO_REQUEST[knob]
    before = request_of(node)
    for name, value in knobs.items():
        node._knobs[name].setValue(value)
    asked = request_of(node)
    folder = f"{shot.folder.as_posix()}/mattebridge/MatteBridge1"
    expected = {
        name: value.replace("{folder}", folder) if isinstance(value, str) else value for name, value in wanted.items()
    }
    assert {name: asked.get(name) for name in expected} == expected
    assert asked != before


def test_core_and_garbage_go_by_path_or_are_rendered_like_the_mask(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake, mask_channel="red")
    node.setInput(2, node.input(1))
    node.setInput(3, fake.module.nodes.Grade(inputs=[node.input(1)]))
    asked = request_of(node)
    assert asked["core"] == shot.pattern("mask")
    assert asked["garbage"].endswith("/inputs/garbage.%04d.exr")
    from mattebridge_nuke import job_request, script_facts

    (spec,) = job_request.plan(script_facts.gather(node)).renders
    assert (spec.role, spec.channels) == ("garbage", "rgba.red")


def test_no_knob_is_left_out_here(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    shown = {
        knob.name()
        for tab in tabs_of(node)
        for line in tab.lines
        for knob in line
        if knob.Class() != "PyScript_Knob" and not knob.name().startswith("mb_divide")
    }
    assert shown == set(TO_REQUEST).union(*ELSEWHERE.values())
