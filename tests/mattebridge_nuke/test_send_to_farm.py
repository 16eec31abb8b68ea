"""The button Send to farm: inputs, plan, bundle, hand-over; the node waits, and Reload shows what the farm made."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of
from fakenuke.shots import Shot, mask

from mattebridge.cli import main


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No server of this user, no farm's command; gives a folder on PATH."""
    for name in ("RUNTIME", "CONFIG", "STATE"):
        monkeypatch.setenv(f"MATTEBRIDGE_{name}", str(tmp_path / name.lower()))
    monkeypatch.delenv("OCIO", raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin:/bin")
    return programs


def put_deadline(programs: Path, body: str) -> Path:
    """Another program: the farm's command, which writes down what it is asked; where it writes."""
    program, asked = programs / "deadline", programs / "asked"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{asked}"\n{body}\n')
    program.chmod(0o755)
    return asked


def folder_of(shot: Shot) -> Path:
    return shot.folder / "mattebridge" / "MatteBridge1"


def run_on_the_farm(bundle: Path, *words: str) -> None:
    """What the workers do."""
    assert main(["farm", "task", "--bundle", str(bundle), *words]) == 0


def test_a_press_renders_the_inputs_and_writes_the_job(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model_name="identity", always_render=True, make_fgr=True))
    steps = artist.undo_names()
    run = artist.press("send_to_farm", 60)
    assert run.error is None, run.error
    bundle = folder_of(shot) / "farm" / "MatteBridge1_v001_main"
    assert run.bundles == [bundle.as_posix()]
    assert sorted(path.name for path in bundle.iterdir()) == [
        "parameter_values.json",
        "parameters.json",
        "plan.json",
        "template.json",
    ]
    values = json.loads((bundle / "parameters.json").read_text())
    assert values["Frames"] == "1001-1004"
    assert (values["PlateFolder"], values["AlphaFolder"]) == (f"{folder_of(shot)}/inputs", f"{folder_of(shot)}/v001")
    assert values["ForegroundFolder"] == f"{folder_of(shot)}/v001/fgr"
    steps_of_job = [step["name"] for step in json.loads((bundle / "template.json").read_text())["steps"]]
    assert steps_of_job == ["Matte", "Verify"]
    assert len(list((folder_of(shot) / "inputs").glob("*.exr"))) == 8
    assert not list((folder_of(shot) / "v001").glob("*.exr")), "nothing is matted here"
    first, command = artist.value("status").splitlines()
    assert first.startswith("v001 is ready for the farm; hand it over in a shell")
    assert shlex.split(command) == ["mattebridge", "farm", "submit", bundle.as_posix()]
    assert artist.value("node_label") == "v001 waits for the farm"
    assert artist.undo_names() == steps, "status lines are no undo steps"
    assert fake.session.messages == []
    (bar,) = fake.session.tasks
    assert [text for text in bar._log if isinstance(text, str)] == ["rendering the inputs", "planning the shot"]


def test_a_farm_that_is_installed_gets_the_job(fake: FakeNuke, shot: Shot, alone: Path) -> None:
    asked = put_deadline(alone, "echo Submission complete\necho job-0123")
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    assert artist.press("send_to_farm", 60).error is None, fake.session.messages
    bundle = folder_of(shot) / "farm" / "MatteBridge1_v001_main"
    assert asked.read_text() == f"bundle submit {bundle} --yes\n"
    assert artist.value("status").splitlines() == [
        "v001 is on the farm; Reload shows it when all its frames are there",
        "job-0123",
    ]
    assert artist.value("node_label") == "v001 waits for the farm"


def test_a_farm_that_refuses_is_quoted_and_nothing_waits(fake: FakeNuke, shot: Shot, alone: Path) -> None:
    put_deadline(alone, "echo no credentials >&2\nexit 1")
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    run = artist.press("send_to_farm", 60)
    assert run.error.code == "SERVER_LOST"
    (message,) = fake.session.messages
    assert "the farm did not take the job" in message and "no credentials" in message
    assert f"mattebridge farm submit {shlex.quote(run.bundles[0])}" in message
    assert artist.value("status") in message
    assert artist.value("farm_version") == artist.value("node_label") == ""


def test_the_comp_of_the_saved_script_follows(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    fake.module.nodes.Write(inputs=[artist.node], file="comp.%04d.exr")
    artist.set(comp_write="Write1")
    assert artist.begin("send_to_farm") is None
    assert "Save the script" in artist.value("status")
    fake.module.scriptSaveAs(f"{shot.folder.as_posix()}/comp v012.nk")
    run = artist.press("send_to_farm", 60)
    assert run.error is None, run.error
    values = json.loads((Path(run.bundles[0]) / "parameters.json").read_text())
    assert values["NukeWrite"] == "Write1"
    assert values["NukeScript"] == f"{shot.folder.as_posix()}/comp v012.nk"


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"delivery": "exr"}, ("transfer is exr", "Set transfer to automatic")),
        ({"comp_write": "Write9"}, ("no Write named Write9", "Name the Write")),
        ({"range": "custom", "frames": "soon"}, ("not a frame range", "Write it as")),
        ({"mask_from": "made mask"}, ("no mask was made yet",)),
    ],
)
def test_what_cannot_work_is_refused_in_one_dialog(
    fake: FakeNuke, shot: Shot, knobs: dict[str, Any], words: tuple[str, ...]
) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, **knobs))
    assert artist.begin("send_to_farm") is None
    refused(artist, *words)


def refused(artist: Artist, *words: str) -> None:
    (message,) = artist.fake.session.messages
    assert artist.value("status") in message
    for word in words:
        assert word in message
    assert artist.fake.session.executed == []
    assert artist.value("farm_version") == ""


def test_an_unsaved_script_has_no_place_for_a_job(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, saved=False, always_render=True))
    assert artist.begin("send_to_farm") is None
    refused(artist, "never saved", "Save the script")


def test_what_the_plan_finds_is_said_with_cause_and_frame(fake: FakeNuke, shot: Shot) -> None:
    shot.path("plate", 1003).unlink()
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    assert artist.press("send_to_farm", 60).error is not None
    refused(artist, "1003")
    assert not list((folder_of(shot) / "farm").glob("*/template.json"))


@pytest.mark.parametrize("moment", ["while inputs are rendered", "while the shot is planned"])
def test_cancel_ends_it_and_nothing_is_handed_over(
    fake: FakeNuke, shot: Shot, alone: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = put_deadline(alone, "")
    slow = alone / "python"
    slow.write_text("#!/bin/sh\necho $$ > started\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.chdir(alone)
    monkeypatch.setenv("MATTEBRIDGE_SERVER_PYTHON", str(slow))
    artist = Artist(fake, shot.script(fake, model_name="identity", always_render=True))
    if moment == "while inputs are rendered":
        fake.session.cancel_next_execute = True
        run = artist.press("send_to_farm")
    else:
        run = artist.begin("send_to_farm")
        artist.until((alone / "started").exists)
        fake.press(artist.node, "cancel")
        artist.until(run.finished.is_set, 10)
    assert run.error.code == "CANCELLED"
    assert (alone / "started").exists() == (moment != "while inputs are rendered")
    assert fake.session.messages == [], "a cancel needs no dialog"
    assert not asked.exists()
    assert artist.value("farm_version") == ""
    assert artist.begin("cancel") is None and artist.value("status") == "nothing is running on this node"


def test_reload_shows_the_version_when_the_farm_has_made_all_of_it(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    bundle = Path(artist.press("send_to_farm", 60).bundles[0])
    fake.press(artist.node, "reload")
    assert artist.value("status").startswith("v001 waits for the farm: 0 of 4 frames are there")
    assert not artist.value("has_matte")
    run_on_the_farm(bundle)
    steps = artist.undo_names()
    fake.press(artist.node, "reload")
    assert artist.value("version_name") == artist.value("version") == "v001"
    assert artist.value("status") == artist.value("node_label") == "v001  4 frames"
    assert artist.undo_names() == [*steps, "MatteBridge1 v001"]
    expected = mask(1003).plane("rgba.alpha").astype(np.float16)
    np.testing.assert_array_equal(alpha_of(artist.value("alpha_path"), 1003), expected)
    assert artist.value("farm_version") == "", "it waits no longer"
    assert artist.press("send_to_farm").error is not None, "there is nothing left to make"
    assert "every frame of v001 is there" in fake.session.messages[0]


def test_a_node_that_shows_a_version_keeps_it_until_the_farm_s_is_whole(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    run_on_the_farm(Path(artist.press("send_to_farm", 60).bundles[0]))
    fake.press(artist.node, "reload")
    shot.write_mask(1002, value=0.5)
    bundle = Path(artist.press("send_to_farm", 60).bundles[0])
    assert artist.value("node_label") == "v001, v002 waits for the farm"
    run_on_the_farm(bundle, "--frames", "1001-1002")
    fake.press(artist.node, "reload")
    assert artist.value("version_name") == "v001"
    assert artist.value("node_label") == "v001  4 frames, 1 stale, v002 waits for the farm"
    assert artist.value("status").splitlines() == [
        "v001  4 frames, 1 stale (1002)",
        "v002 waits for the farm: 2 of 4 frames are there; Reload looks again",
    ]
    fake.module.scriptSaveAs(f"{shot.folder.as_posix()}/later.nk")
    fake.module.scriptOpen(f"{shot.folder.as_posix()}/later.nk")
    artist.node = fake.module.toNode("MatteBridge1")
    assert artist.value("node_label") == "v001, v002 waits for the farm", "tomorrow it still waits"
    run_on_the_farm(bundle)
    fake.press(artist.node, "reload")
    assert (artist.value("version_name"), artist.value("node_label")) == ("v002", "v002  4 frames")
    artist.set(version="v001")
    fake.press(artist.node, "reload")
    assert artist.value("version_name") == "v001", "what the artist chose afterwards stays"


def test_cancel_ends_the_waiting(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    bundle = Path(artist.press("send_to_farm", 60).bundles[0])
    fake.press(artist.node, "cancel")
    assert artist.value("status").startswith("v001 is waited for no longer")
    assert artist.value("farm_version") == artist.value("node_label") == ""
    run_on_the_farm(bundle)
    fake.press(artist.node, "reload")
    assert (artist.value("has_matte"), artist.node["version"].values()) == (False, ["none", "v001"])


def test_each_view_is_a_job_and_all_obey_one_plan(
    fake: FakeNuke, tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = alone / "python"
    python.write_text(f'#!/bin/sh\necho "$3" >> "{alone}/commands"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("MATTEBRIDGE_SERVER_PYTHON", str(python))
    shot = Shot(tmp_path, 1001, 1002, views=("left", "right"))
    artist = Artist(fake, shot.script(fake, model_name="identity", which_views="all views"))
    run = artist.press("send_to_farm", 60)
    assert run.error is None, run.error
    assert [Path(bundle).name for bundle in run.bundles] == ["MatteBridge1_v001_left", "MatteBridge1_v001_right"]
    assert (alone / "commands").read_text().split() == ["plan", "farm", "farm"], (
        "a network's plan is made from one view"
    )
    plans = [json.loads((Path(bundle) / "plan.json").read_text()) for bundle in run.bundles]
    requests = [plan.pop("request") for plan in plans]
    assert plans[0] == plans[1]
    assert [request["view"] for request in requests] == ["left", "right"]
    run_on_the_farm(Path(run.bundles[0]))
    fake.press(artist.node, "reload")
    assert artist.value("farm_version") == "v001", "the other eye is missing"
    run_on_the_farm(Path(run.bundles[1]))
    fake.press(artist.node, "reload")
    assert (artist.value("version_name"), artist.value("farm_version")) == ("v001", "")
    np.testing.assert_array_equal(
        alpha_of(artist.value("alpha_path"), 1002, "right"), mask(1002).plane("rgba.alpha").astype(np.float16)
    )


def test_inputs_that_the_farm_still_reads_are_not_rendered_over(fake: FakeNuke, shot: Shot) -> None:
    """The farm would make a version whose record speaks of other inputs, and Reload would call it fresh."""
    artist = Artist(fake, shot.script(fake, model_name="identity"))
    grade = fake.module.nodes.Grade(inputs=[artist.node.input(1)], multiply=1.0)
    artist.node.setInput(1, grade)
    bundle = Path(artist.press("send_to_farm", 60).bundles[0])
    assert artist.press("send_to_farm", 60).error is None, "nothing changed, nothing is rendered over"
    grade["multiply"].setValue(0.5)
    refused = artist.press("send_to_farm", 60)
    assert "the farm still makes v001 from the rendered inputs" in str(refused.error)
    run_on_the_farm(bundle)
    matte = (folder_of(shot) / "v001" / "MatteBridge1.%04d.exr").as_posix()
    np.testing.assert_array_equal(alpha_of(matte, 1002), mask(1002).plane("rgba.alpha").astype(np.float16))
    assert artist.press("send_to_farm", 60).error is None, "v001 is made, and its inputs are free"
