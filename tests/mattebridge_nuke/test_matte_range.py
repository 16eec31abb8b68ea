"""From the press of a button to a finished version: fake Nuke, real client, real server, real EXR."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of, frames_in
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot, disc, mask


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1008)


@pytest.fixture
def artist(fake: FakeNuke, server: LocalServer, shot: Shot) -> Artist:
    return Artist(fake, shot.script(fake, model="identity"))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def versions(shot: Shot) -> Path:
    return shot.folder / "mattebridge" / "MatteBridge1"


def test_matte_range_fills_a_version_beside_the_script_and_shows_it(artist: Artist, shot: Shot) -> None:
    before = artist.undo_names()
    run = artist.press("matte_range")
    assert run.error is None, run.error
    assert frames_in(versions(shot) / "v001") == list(range(1001, 1009))
    picture = artist.fake.session.picture_of(artist.node, 1004)
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), mask(1004).plane("rgba.alpha").astype(np.float16))
    assert artist.value("status").startswith("v001: 8 frames made")
    assert artist.value("node_label") == "v001  8 frames"
    assert artist.undo_names() == [*before, "MatteBridge1 v001"], "one named step for the result, none for status"
    assert artist.fake.session.messages == []
    assert artist.fake.session.executed == [], "plain Reads go by path"


def test_the_artist_sees_stages_and_frames_in_the_bar(artist: Artist) -> None:
    artist.press("matte_range")
    (bar,) = artist.fake.session.tasks
    texts = [text for text in bar._log if isinstance(text, str)]
    assert texts[:2] == ["checking with the server", "rendering the inputs"]
    assert any("of 8 frames" in text for text in texts)


def test_pressing_again_keeps_every_frame_and_the_version(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    files = {path: path.stat().st_mtime_ns for path in (versions(shot) / "v001").glob("*.exr")}
    steps = artist.undo_names()
    run = artist.press("matte_range")
    assert run.version.name == "v001"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert "8 kept" in artist.value("status")
    assert artist.undo_names() == steps


def test_this_frame_equals_the_same_frame_of_the_range(artist: Artist, shot: Shot) -> None:
    artist.choose_model("gated")
    artist.fake.module.frame(1004)
    run = artist.press("matte_frame")
    assert run.error is None, run.error
    alone = alpha_of(artist.value("alpha_path"), 1004)
    assert frames_in(versions(shot) / "v001") == [1004]
    artist.set(p_gated__sure=True)
    artist.press("matte_range")
    assert artist.value("version_name") == "v002"
    np.testing.assert_array_equal(alpha_of(artist.value("alpha_path"), 1004), alone)
    assert (alone != mask(1004).plane("rgba.alpha").astype(np.float16)).any(), "the model looks at its neighbours"


def test_a_frame_outside_the_shot_is_refused(artist: Artist) -> None:
    artist.fake.module.frame(999)
    assert artist.begin("matte_frame") is None
    assert "outside the shot" in artist.fake.session.messages[0]
    assert "outside the shot" in artist.value("status")


def test_cancel_returns_at_once_and_keeps_what_is_finished(artist: Artist, shot: Shot, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    for frame in (1001, 1002, 1003):
        (gate / str(frame)).touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 3)
    pressed = time.monotonic()
    artist.fake.press(artist.node, "cancel")
    assert time.monotonic() - pressed < 1.0
    artist.until(run.finished.is_set, 10)
    assert run.error.code == "CANCELLED"
    assert frames_in(versions(shot) / "v001") == [1001, 1002, 1003]
    assert artist.fake.session.messages == [], "a cancel needs no dialog"


def test_the_bar_s_own_cancel_works_too(artist: Artist, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    (gate / "1001").touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    artist.fake.session.tasks[-1]._cancelled = True
    artist.until(run.finished.is_set, 10)
    assert run.error.code == "CANCELLED"


def test_the_bar_s_cancel_does_not_wait_for_inputs_that_are_rendered(artist: Artist, fake: FakeNuke) -> None:
    """The main thread renders meanwhile, and only the watcher sees the bar."""
    artist.set(always_render=True)

    def artist_has_enough() -> None:
        fake.session.tasks[-1]._cancelled = True
        watched = fake.session.watch(lambda: artist.running().is_cancelled)
        assert watched, "the watcher looks at the bar while Nuke renders"

    fake.session.callbacks["BeforeFrameRender"] = [(artist_has_enough, (), "Write")]
    run = artist.press("matte_range")
    assert run.error.code == "CANCELLED"
    assert fake.session.files_written == 1
    assert artist.value("status") == "cancelled before the job was sent.\nPress again to go on."


def test_a_cancelled_range_goes_on_where_it_stopped(artist: Artist, shot: Shot, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    for frame in (1001, 1002):
        (gate / str(frame)).touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 2)
    run.cancel()
    artist.until(run.finished.is_set)
    kept = {frame: (versions(shot) / "v001" / f"MatteBridge1.{frame}.exr").stat().st_mtime_ns for frame in (1001, 1002)}
    (gate / "open").touch()
    run = artist.press("matte_range")
    assert run.version.name == "v001"
    assert artist.value("status").startswith("v001: 6 frames made, 2 kept")
    for frame, moment in kept.items():
        assert (versions(shot) / "v001" / f"MatteBridge1.{frame}.exr").stat().st_mtime_ns == moment


def test_a_second_press_on_a_working_node_is_refused(artist: Artist, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.fake.press(artist.node, "matte_range")
    assert "at work already" in artist.fake.session.messages[0]
    assert artist.running() is run
    run.cancel()
    artist.until(run.finished.is_set)


def test_two_nodes_work_at_once_and_the_queue_says_whose_job_runs(
    artist: Artist, fake: FakeNuke, shot: Shot, gate: Path
) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    second = Artist(fake, fake.module.nodes.MatteBridge(inputs=[artist.node.input(0), artist.node.input(1)]))
    second.set(model="identity")
    first_run = artist.begin("matte_range")
    artist.until(lambda: "of 8" in artist.value("status"))
    second_run = second.begin("matte_range")
    second.until(lambda: "ahead" in second.value("status"))
    assert "MatteBridge1" in second.value("status")
    (gate / "open").touch()
    artist.until(lambda: first_run.finished.is_set() and second_run.finished.is_set())
    assert (first_run.error, second_run.error) == (None, None)
    assert frames_in(shot.folder / "mattebridge" / "MatteBridge2" / "v001") == list(range(1001, 1009))


def test_a_node_deleted_while_it_runs_cancels_its_job_quietly(artist: Artist, shot: Shot, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    (gate / "1001").touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    artist.fake.module.delete(artist.node)
    artist.until(run.finished.is_set)
    assert run.error.code == "CANCELLED"
    assert artist.fake.session.messages == []
    assert artist.fake.session.script_errors == []
    assert frames_in(versions(shot) / "v001") == [1001]


def test_a_script_that_takes_the_place_of_the_one_that_runs_ends_its_job(
    artist: Artist, fake: FakeNuke, shot: Shot, gate: Path
) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    (gate / "1001").touch()
    script = f"{shot.folder.as_posix()}/comp v012.nk"
    fake.module.scriptSaveAs(script)
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    fake.module.scriptOpen(script)
    artist.until(run.finished.is_set)
    assert (run.error.code, fake.session.messages) == ("CANCELLED", [])
    (gate / "open").touch()
    again = Artist(fake, fake.module.toNode("MatteBridge1"))
    assert again.press("matte_range").error is None
    assert again.value("status").startswith("v001: 7 frames made, 1 kept")


def test_the_default_model_mattes_rendered_inputs_with_a_foreground(
    fake: FakeNuke, server: LocalServer, shot: Shot
) -> None:
    artist = Artist(fake, shot.script(fake, make_fgr=True, range="custom", frames="1001-1004"))
    nuke = fake.module
    artist.node.setInput(1, nuke.nodes.Grade(inputs=[artist.node.input(1)], multiply=1.0))
    run = artist.press("matte_range", 110)
    assert run.error is None, run.error
    assert artist.value("has_fgr")
    assert frames_in(versions(shot) / "v001" / "fgr") == list(range(1001, 1005))
    picture = fake.session.picture_of(artist.node, 1003)
    error = np.abs(picture.plane("rgba.alpha") - disc(1003)).mean()
    rough = np.abs(mask(1003).plane("rgba.alpha") - disc(1003)).mean()
    assert error < rough, "better than the mask that went in"
    artist.set(rgb_from="straight foreground")
    front = fake.session.picture_of(artist.node, 1003).plane("rgba.red")
    assert abs(float(front[disc(1003) == 1].mean()) - 0.9) < 0.02


def test_a_node_renamed_while_it_runs_is_still_at_work(artist: Artist, fake: FakeNuke, gate: Path) -> None:
    artist.choose_model("gated", gate=gate.as_posix())
    (gate / "1001").touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    artist.node._name = "Hero"
    fake.press(artist.node, "matte_range")
    assert "Hero is at work already" in fake.session.messages[-1]
    other = fake.module.nodes.MatteBridge(inputs=[artist.node.input(0), artist.node.input(1)])
    assert other.name() == "MatteBridge1"
    fake.press(other, "matte_range")
    assert "MatteBridge1 is at work in the same folder" in fake.session.messages[-1]
    fake.press(other, "cancel")
    assert other["status"].value() == "nothing is running on this node"
    assert not run.is_cancelled
    fake.press(artist.node, "cancel")
    artist.until(run.finished.is_set)
    assert run.error.code == "CANCELLED"
    fake.press(artist.node, "cancel")
    run.cancel()
    assert artist.value("status") == "nothing is running on this node", "a late cancel is no error"
