"""On the farm: nothing starts inference, a missing matte is one ERROR: line, the jobs of a script are listed."""

from __future__ import annotations

import json
import re
import runpy
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


@pytest.mark.parametrize("button", ["matte_range", "matte_frame", "make_mask"])
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
        with pytest.raises(Exception, match=words) as caught:
            farm.module.execute(write, frame, frame)
        assert not FATAL.match(f"{type(caught.value).__name__}: {caught.value}"), "its traceback adds no second line"
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
        assert jobs[0].command()[:4] == ["mattebridge", "matte", "--plate", shot.pattern("plate")]
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


def test_the_same_command_works_in_a_shell(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    import mattebridge_nuke
    from mattebridge.cli import main

    shot.script(fake, model="identity")
    (job,) = mattebridge_nuke.jobs_of()
    assert main([*job.command()[1:], "--json"]) == 0
    assert Path(str(job.request["out"]).replace("%04d", "1004")).exists()


def test_farm_jobs_of_a_node_render_what_they_need_and_end_with_the_comp(
    server: LocalServer, shot: Shot, terminal: FakeNuke
) -> None:
    node = shot.script(terminal, model_name="identity", always_render=True, make_fgr=True)
    nuke: Any = terminal.module
    nuke.scriptSaveAs(f"{shot.folder.as_posix()}/shot.nk")
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


def test_inputs_of_a_job_can_be_rendered_in_a_terminal(server: LocalServer, shot: Shot, terminal: FakeNuke) -> None:
    node = shot.script(terminal, model_name="identity", always_render=True)
    import mattebridge_nuke
    from mattebridge_nuke import farm

    (job,) = mattebridge_nuke.jobs_of()
    assert farm.render_inputs(node.name()) == 8
    assert farm.render_inputs(node.name()) == 0
    with Client.connect() as client:
        client.matte(**job.request).wait()
    assert Path(str(job.request["out"]).replace("%04d", "1002")).exists()
    with pytest.raises(InputError, match="no MatteBridge node Nobody"):
        farm.render_inputs("Nobody")


def test_a_node_inside_a_group_is_listed_and_rendered_there(shot: Shot, terminal: FakeNuke) -> None:
    nuke: Any = terminal.module
    shot.script(terminal)
    with nuke.nodes.Group(name="Shot_tools"):
        reads = [shot.read(nuke, name) for name in ("plate", "mask")]
        nuke.nodes.MatteBridge(inputs=reads, always_render=True)
    import mattebridge_nuke
    from mattebridge_nuke import farm

    assert [job.node for job in mattebridge_nuke.jobs_of()] == ["MatteBridge1", "Shot_tools.MatteBridge1"]
    assert farm.render_inputs("Shot_tools.MatteBridge1") == 8
    assert (shot.folder / "mattebridge" / "Shot_tools_MatteBridge1" / "inputs" / "plate.1001.exr").exists()
