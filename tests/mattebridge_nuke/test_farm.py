"""On the farm: nothing starts inference, a missing matte is one ERROR: line, the jobs of a script are listed."""

from __future__ import annotations

import argparse
import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot

from mattebridge import Client
from mattebridge.errors import InputError, Refused

FATAL = re.compile(r".*ERROR:.*|.*Error:.*|.*Error :.*")
"""What makes a farm fail a task, line by line."""
PLUGIN = Path(__file__).resolve().parents[2] / "nuke_plugin"


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


@pytest.fixture
def farm(terminal: FakeNuke) -> FakeNuke:
    """`nuke -t` that has read our init.py."""
    runpy.run_path(str(PLUGIN / "init.py"))
    return terminal


def write_above(fake: FakeNuke, node: Any, shot: Shot) -> Any:
    nuke: Any = fake.module
    return nuke.nodes.Write(inputs=[node], file=f"{shot.folder.as_posix()}/out.%04d.exr", channels="rgba")


@pytest.mark.parametrize("button", ["matte_range", "matte_frame", "make_mask", "send_to_farm"])
def test_buttons_start_no_job_without_an_artist(farm: FakeNuke, shot: Shot, button: str) -> None:
    node = shot.script(farm)
    with pytest.raises(Refused, match="without an artist"):
        farm.press(node, button)


def test_rendering_with_all_mattes_prints_nothing_that_looks_like_a_failure(farm: FakeNuke, shot: Shot) -> None:
    node = shot.script(farm)
    shot.store(node)
    farm.module.execute(write_above(farm, node, shot), 1001, 1004)
    assert [line for line in farm.session.printed if FATAL.match(line)] == []


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("file gone", "the matte of frame 1002 is missing: .*mask.1002.exr"),
        ("outside", "frame 1005 is outside the matted range 1001-1004"),
        ("never", "no matte was made"),
    ],
)
def test_a_missing_matte_fails_the_task_with_one_line(farm: FakeNuke, shot: Shot, case: str, words: str) -> None:
    node = shot.script(farm)
    if case != "never":
        shot.store(node)
    shot.path("mask", 1002).unlink()
    write = write_above(farm, farm.module.nodes.Grade(inputs=[node]), shot)
    frame = 1005 if case == "outside" else 1002
    for _ in range(2):
        with pytest.raises(RuntimeError, match=words):
            farm.module.execute(write, frame, frame)
        printed = farm.session.script_errors.pop()
        assert not FATAL.match(f"{type(printed).__name__}: {printed}"), "its traceback adds no second line"
    lines = [line for line in farm.session.printed if FATAL.match(line)]
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: MatteBridge1: ")


def test_a_disabled_node_or_one_in_another_branch_is_not_asked(farm: FakeNuke, shot: Shot) -> None:
    node = shot.script(farm)
    plate = node.input(0)
    farm.module.execute(write_above(farm, plate, shot), 1001, 1001)
    node["disable"].setValue(True)
    farm.module.execute(write_above(farm, node, shot), 1001, 1001)
    assert farm.session.printed == []


def test_a_branch_that_the_picture_does_not_show_is_not_asked(farm: FakeNuke, shot: Shot) -> None:
    nuke: Any = farm.module
    node = shot.script(farm)
    plate = node.input(0)
    switch = nuke.nodes.Switch(inputs=[plate, node], which=0)
    merge = nuke.nodes.Merge2(inputs=[switch, node], disable=True)
    group = nuke.nodes.Group(inputs=[merge])
    with group:
        inside = nuke.nodes.Input()
        nuke.nodes.MatteBridge(inputs=[inside])
        nuke.nodes.Output(inputs=[inside])
    write = write_above(farm, group, shot)
    nuke.execute(write, 1001, 1001)
    assert farm.session.printed == []
    switch["which"].setValue(1)
    with pytest.raises(Exception, match="no matte was made"):
        nuke.execute(write, 1001, 1001)


def test_a_retimed_matte_is_asked_for_its_own_frames(farm: FakeNuke, shot: Shot) -> None:
    nuke: Any = farm.module
    node = shot.script(farm)
    write = write_above(farm, nuke.nodes.TimeOffset(inputs=[node], time_offset=-1000), shot)
    with pytest.raises(Exception, match="no matte was made"):
        nuke.execute(write, 1, 4)
    shot.store(node)
    nuke.execute(write, 1, 4)
    shot.path("mask", 1002).unlink()
    with pytest.raises(RuntimeError, match=r"mask\.1002\.exr"):
        nuke.execute(write, 2, 2)


@pytest.mark.parametrize("gui", [True, False])
def test_a_write_inside_a_group_is_stopped_too(farm: FakeNuke, shot: Shot, gui: bool) -> None:
    """Studios wrap their Write; at the desk the node's own graph would show black."""
    with FakeNuke(gui=gui, plugin_folders=farm.session.plugin_folders) as fake:
        runpy.run_path(str(PLUGIN / "init.py"))
        nuke: Any = fake.module
        node = shot.script(fake)
        shot.store(node)
        shot.path("mask", 1002).unlink()
        with nuke.nodes.Group(inputs=[nuke.nodes.Grade(inputs=[node])]):
            write = write_above(fake, nuke.nodes.Input(), shot)
        nuke.execute(write, 1001, 1001)
        with pytest.raises(Exception, match="the matte of frame 1002 is missing"):
            nuke.execute(write, 1002, 1002)


def test_our_init_says_in_one_line_what_is_missing_and_goes_on(
    terminal: FakeNuke, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mattebridge" else real(name))
    runpy.run_path(str(PLUGIN / "init.py"))
    assert len(terminal.session.printed) == 1
    assert not FATAL.match(terminal.session.printed[0])
    assert terminal.session.callbacks == {}


def test_jobs_of_a_script_are_listed_as_plans_and_can_be_run(
    server: LocalServer, shot: Shot, farm: FakeNuke, tmp_path: Path
) -> None:
    with FakeNuke(gui=True, plugin_folders=farm.session.plugin_folders) as desk:
        node = shot.script(desk, model="identity")
        nuke: Any = desk.module
        mask = nuke.nodes.Grade(inputs=[node.input(1)], name="Mask_grade")
        nuke.nodes.MatteBridge(inputs=[node.input(0), mask], model_name="identity")
        off = nuke.nodes.MatteBridge(inputs=[node.input(0), mask])
        off["disable"].setValue(True)
        nuke.scriptSaveAs(f"{shot.folder.as_posix()}/shot.nk")
    import mattebridge_nuke

    with FakeNuke(gui=False, plugin_folders=farm.session.plugin_folders) as render:
        jobs = mattebridge_nuke.jobs_of(f"{shot.folder.as_posix()}/shot.nk")
        assert [(job.node, job.version, str(job.missing)) for job in jobs] == [
            ("MatteBridge1", "v001", "1001-1004"),
            ("MatteBridge2", "v001", "1001-1004"),
        ]
        assert jobs[0].renders == ()
        assert [(spec.role, spec.spans) for spec in jobs[1].renders] == [("mask", ((1001, 1004),))]
        assert jobs[0].command()[:2] == ["mattebridge", "matte"]
        assert f"--plate={shot.pattern('plate')}" in jobs[0].command()
        assert render.session.executed == []
        with Client.connect() as client:
            assert client.check(**jobs[0].request).problems == ()
            client.matte(**jobs[0].request).wait()
        assert Path(str(jobs[0].request["out"]).replace("%04d", "1003")).exists()


def test_jobs_of_knows_a_version_that_an_artist_has_finished(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    artist.press("matte_range")
    import mattebridge_nuke

    (job,) = mattebridge_nuke.jobs_of()
    assert (job.version, job.complete) == ("v001", True)
    shot.write_mask(1003, value=0.5)
    (job,) = mattebridge_nuke.jobs_of()
    assert (job.version, str(job.missing)) == ("v002", "1001-1004")


def test_the_recipe_of_the_guide_makes_the_mattes_and_renders(
    server: LocalServer, shot: Shot, farm: FakeNuke, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/wrangler.md, From Nuke: its lines are run, and what they print is run in a shell's stead."""
    from mattebridge.cli import main

    with FakeNuke(gui=True, plugin_folders=farm.session.plugin_folders) as desk:
        node = shot.script(desk, model="identity")
        node.setInput(1, desk.module.nodes.Grade(inputs=[node.input(1)], multiply=0.5))
        write_above(desk, node, shot)
        desk.module.scriptSaveAs(f"{shot.folder.as_posix()}/shot.nk")
    monkeypatch.chdir(shot.folder)
    text = (PLUGIN.parent / "docs" / "wrangler.md").read_text("utf-8")
    _, recipe = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with FakeNuke(gui=False, plugin_folders=farm.session.plugin_folders) as render:
        runpy.run_path(str(PLUGIN / "init.py"))
        exec(compile(recipe, "wrangler.md", "exec"), {})
        (command,) = [line for line in capsys.readouterr().out.splitlines() if line]
        assert main([*shlex.split(command)[1:], "--json"]) == 0
        from mattebridge_nuke import farm as node_farm

        assert node_farm.take_results("shot.nk") == ["MatteBridge1"]
        render.module.execute(render.module.toNode("Write1"), 1001, 1004)
        assert [line for line in render.session.printed if FATAL.match(line)] == []


def test_a_command_says_everything_that_its_request_says(
    fake: FakeNuke, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mattebridge_nuke
    from mattebridge.cli import matte
    from mattebridge.requests import make_request

    shot = Shot(tmp_path, -3, -1, views=("left", "right"))
    knobs = {"make_fgr": True, "make_cleanplate": True, "mask_invert": True, "mask_channel": "red", "mask_fit": "crop"}
    node = shot.script(fake, **knobs, which_views="all views", look="srgb", priority="batch", delivery="exr")
    node.setInput(2, node.input(1))
    Artist(fake, node).choose_model("gated", gain=0.5, sure=True, gate="a folder")
    node["preset_name"].setValue("small")
    jobs = mattebridge_nuke.jobs_of()
    assert [(job.view, job.request["frames"]) for job in jobs] == [("left", "-3--1"), ("right", "-3--1")]
    parser = argparse.ArgumentParser()
    matte.add_parser(parser.add_subparsers())
    monkeypatch.setenv("OCIO", "/another/config/of/the/farm.ocio")
    for job in jobs:
        asked = matte.request_of(parser.parse_args(job.command()[1:]), "matte")
        assert asked == make_request(**job.request)
        assert (asked.params["gain"], asked.preset, asked.core) == (0.5, "small", asked.mask)


def test_farm_jobs_of_a_node_render_what_they_need_and_end_with_the_comp(
    server: LocalServer, shot: Shot, terminal: FakeNuke
) -> None:
    node = shot.script(terminal, model_name="identity", always_render=True, make_fgr=True)
    write_above(terminal, node, shot)
    terminal.module.scriptSaveAs(f"{shot.folder.as_posix()}/shot.nk")
    from mattebridge_nuke import farm

    folder = shot.folder / "jobs"
    (bundle,) = farm.make_bundles(node.name(), str(folder), write="Write1", chunk=2)
    assert len(terminal.session.executed) > 0, "the inputs were rendered"
    assert Path(bundle) == folder / "MatteBridge1_v001_main"
    values = json.loads((Path(bundle) / "parameters.json").read_text())
    assert (values["Frames"], values["ChunkSize"], values["NukeWrite"]) == ("1001-1004", "2", "Write1")
    assert values["NukeScript"] == f"{shot.folder.as_posix()}/shot.nk"
    request = json.loads((Path(bundle) / "plan.json").read_text())["request"]
    (job,) = farm.jobs_of()
    for role in ("plate", "mask", "out", "fgr"):
        assert request[role] == job.request[role], role
    assert not job.complete and not Path(str(request["out"]).replace("%04d", "1001")).exists(), "nothing was started"
    with pytest.raises(InputError, match="no MatteBridge node Nobody"):
        farm.make_bundles("Nobody", str(folder))


def test_what_a_farm_made_is_known_taken_and_rendered(server: LocalServer, shot: Shot, terminal: FakeNuke) -> None:
    node = shot.script(terminal, model_name="identity", always_render=True)
    import mattebridge_nuke
    from mattebridge_nuke import farm

    (job,) = mattebridge_nuke.jobs_of()
    assert farm.prepare(node.name()) == 8
    assert farm.prepare(node.name()) == 0
    (again,) = mattebridge_nuke.jobs_of()
    assert (again.request, str(again.missing)) == (job.request, "1001-1004")
    assert farm.take_results() == [], "nothing was made yet"
    with Client.connect() as client:
        client.matte(**job.request).wait()
    (made,) = mattebridge_nuke.jobs_of()
    assert (made.version, made.complete) == ("v001", True), "the same job, and it is done"
    assert farm.take_results() == ["MatteBridge1"]
    assert node["alpha_path"].value() == job.request["out"]
    terminal.module.execute(write_above(terminal, node, shot), 1001, 1004)


def test_an_artist_finds_what_the_farm_made(server: LocalServer, shot: Shot, fake: FakeNuke) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    import mattebridge_nuke
    from mattebridge_nuke import farm

    farm.prepare("MatteBridge1")
    (job,) = mattebridge_nuke.jobs_of()
    with Client.connect() as client:
        client.matte(**job.request).wait()
    fake.press(artist.node, "reload")
    assert artist.node["version"].values() == ["none", "v001"]
    assert not artist.value("has_matte"), "nothing is chosen for the artist"
    artist.set(version="v001")
    assert artist.value("alpha_path") == job.request["out"]
    artist.press("matte_range")
    assert artist.value("version_name") == "v001"
    assert artist.value("status").startswith("v001: 0 frames made, 4 kept")


def test_a_node_that_is_not_there_cannot_be_prepared(shot: Shot, terminal: FakeNuke) -> None:
    shot.script(terminal)
    from mattebridge_nuke import farm

    with pytest.raises(InputError, match="no MatteBridge node Nobody"):
        farm.prepare("Nobody")


@pytest.mark.parametrize("made", [(), ("fgr",), ("fgr", "cleanplate")])
def test_a_submitter_that_collects_every_file_knob_finds_files_and_nothing_else(
    terminal: FakeNuke, shot: Shot, made: tuple[str, ...]
) -> None:
    """As Deadline Cloud does: every non-empty file knob of every enabled node, inside groups too, is an input file."""
    node = shot.script(terminal, folder=shot.folder.as_posix())
    shot.store(node)
    for role in made:
        node[f"{role}_path"].setValue(shot.pattern("plate"))
        node[f"has_{role}"].setValue(True)
    paths = {
        knob.getEvaluatedValue()
        for one in terminal.module.allNodes(recurseGroups=True)
        if not ("disable" in one.knobs() and one["disable"].value())
        for knob in one.allKnobs()
        if knob.Class() == "File_Knob" and knob.value()
    }
    assert paths == {shot.path(name, 1001).as_posix() for name in ("plate", "mask")}


def test_a_node_inside_a_group_is_listed_and_rendered_there(shot: Shot, terminal: FakeNuke) -> None:
    nuke: Any = terminal.module
    shot.script(terminal)
    with nuke.nodes.Group(name="Shot_tools"):
        reads = [shot.read(nuke, name) for name in ("plate", "mask")]
        nuke.nodes.MatteBridge(inputs=reads, always_render=True)
    import mattebridge_nuke
    from mattebridge_nuke import farm

    assert [job.node for job in mattebridge_nuke.jobs_of()] == ["MatteBridge1", "Shot_tools.MatteBridge1"]
    assert farm.prepare("Shot_tools.MatteBridge1") == 8
    assert (shot.folder / "mattebridge" / "Shot_tools_MatteBridge1" / "inputs" / "plate.1001.exr").exists()
