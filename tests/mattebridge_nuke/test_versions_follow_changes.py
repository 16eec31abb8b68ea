"""What changes makes the next version, what stays is carried over, and nothing is ever mixed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of, frames_in
from fakenuke.graph import label_of
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1012)


@pytest.fixture
def artist(fake: FakeNuke, server: LocalServer, shot: Shot) -> Artist:
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated")
    return artist


def folder(shot: Shot, name: str) -> Path:
    return shot.folder / "mattebridge" / "MatteBridge1" / name


def contents(where: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(where.glob("*.exr"))}


def inode(shot: Shot, version: str, frame: int) -> int:
    return (folder(shot, version) / f"MatteBridge1.{frame}.exr").stat().st_ino


def test_a_changed_mask_frame_makes_a_version_that_recomputes_only_its_surroundings(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    first = contents(folder(shot, "v001"))
    shot.write_mask(1006, value=0.5)
    artist.fake.press(artist.node, "reload")
    assert artist.value("node_label") == "v001  12 frames, 1 stale"
    assert "(1006)" in artist.value("status")
    run = artist.press("matte_range")
    assert run.version.name == "v002"
    assert artist.value("status").startswith("v002: 5 frames made, 7 kept"), "two neighbours either way see 1006"
    assert contents(folder(shot, "v001")) == first
    carried = [frame for frame in range(1001, 1013) if inode(shot, "v001", frame) == inode(shot, "v002", frame)]
    assert carried == [1001, 1002, 1003, 1009, 1010, 1011, 1012]
    artist.fake.press(artist.node, "reload")
    assert artist.value("node_label") == "v002  12 frames"


def test_models_that_are_refreshed_make_no_version(fake: FakeNuke, server: LocalServer, tmp_path: Path) -> None:
    """Parameters that stand at their defaults say what no parameters say."""
    artist = Artist(fake, Shot(tmp_path, 1001, 1002).script(fake))
    artist.press("matte_range", timeout_s=120)
    artist.fake.press(artist.node, "refresh")
    artist.until(lambda: artist.node.knob("p_edge__reach") is not None)
    artist.press("matte_range", timeout_s=120)
    assert artist.value("version_name") == "v001"
    artist.set(p_edge__reach=artist.value("p_edge__reach") / 2)
    artist.press("matte_range", timeout_s=120)
    assert artist.value("version_name") == "v002"


def test_a_changed_parameter_makes_the_next_version(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    artist.press("matte_range")
    assert artist.value("version_name") == "v002"
    np.testing.assert_allclose(
        alpha_of(artist.value("alpha_path"), 1005),
        alpha_of(artist.value("alpha_path").replace("/v002/", "/v001/"), 1005) / 2,
        atol=1e-3,
    )


def test_going_back_to_old_settings_finds_the_old_version_finished(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    artist.press("matte_range")
    artist.set(p_gated__gain=1.0)
    run = artist.press("matte_range")
    assert (run.version.name, artist.value("version_name")) == ("v001", "v001")
    assert "12 kept" in artist.value("status")


def test_a_changed_node_above_a_rendered_input_makes_its_frames_stale(artist: Artist, shot: Shot) -> None:
    nuke = artist.fake.module
    grade = nuke.nodes.Grade(inputs=[artist.node.input(1)], multiply=1.0)
    artist.node.setInput(1, grade)
    artist.press("matte_range")
    rendered = len(artist.fake.session.executed)
    assert frames_in(folder(shot, "inputs")) == list(range(1001, 1013))
    artist.press("matte_range")
    assert len(artist.fake.session.executed) == rendered, "nothing changed, nothing rendered"
    grade["multiply"].setValue(0.5)
    artist.fake.press(artist.node, "reload")
    assert artist.value("node_label") == "v001  12 frames, 12 stale"
    artist.press("matte_range")
    assert artist.value("version_name") == "v002"


def test_one_changed_file_above_a_rendered_input_renders_one_frame(artist: Artist, shot: Shot) -> None:
    nuke = artist.fake.module
    artist.node.setInput(1, nuke.nodes.Grade(inputs=[artist.node.input(1)], multiply=1.0))
    artist.press("matte_range")
    shot.write_mask(1002, value=0.25)
    artist.fake.session.executed.clear()
    artist.press("matte_range")
    assert [(first, last) for _, first, last in artist.fake.session.executed] == [(1002, 1002)]
    assert artist.value("version_name") == "v002"


def test_an_incomplete_version_is_not_shown_and_the_old_one_stays(artist: Artist, shot: Shot, gate: Path) -> None:
    artist.press("matte_range")
    (gate / "1001").touch()
    artist.set(p_gated__gain=0.5, p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    run.cancel()
    artist.until(run.finished.is_set)
    assert artist.value("version_name") == "v001"
    assert frames_in(folder(shot, "v002")) == [1001], "frames of v001 that were carried over and not confirmed are gone"
    assert "/v001/" in artist.value("alpha_path")


def test_preview_partial_switches_while_the_rest_is_made(artist: Artist, gate: Path) -> None:
    artist.press("matte_range")
    artist.set(preview_partial=True, p_gated__gain=0.5, p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    steps = artist.undo_names()
    (gate / "1001").touch()
    artist.until(lambda: artist.value("version_name") == "v002")
    (gate / "1002").touch()
    artist.until(lambda: artist.value("node_label") == "v002  2 of 12")
    assert not run.finished.is_set()
    run.cancel()
    artist.until(run.finished.is_set)
    assert artist.value("version_name") == "v002"
    assert artist.value("node_label") == "v002  2 of 12"
    assert artist.undo_names() == [*steps, "MatteBridge1 v002"], "one step, however often it is looked at"


def test_an_artist_who_leaves_the_preview_is_not_dragged_back(artist: Artist, gate: Path) -> None:
    artist.press("matte_range")
    artist.set(preview_partial=True, p_gated__gain=0.5, p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    (gate / "1001").touch()
    artist.until(lambda: artist.value("version_name") == "v002")
    artist.set(version="v001")
    steps = artist.undo_names()
    looked = run._previewed
    (gate / "1002").touch()
    artist.until(lambda: run._previewed > looked)
    run.cancel()
    artist.until(run.finished.is_set)
    assert artist.value("version_name") == "v001"
    assert artist.undo_names() == steps
    (gate / "open").touch()
    artist.press("matte_range")
    assert artist.value("version_name") == "v002", "a complete version is shown"


def test_one_frame_of_a_new_version_is_announced_and_not_shown(artist: Artist) -> None:
    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    artist.fake.module.frame(1003)
    artist.press("matte_frame")
    assert artist.value("version_name") == "v001"
    assert artist.value("status").startswith("v002 lacks 11 frames")


def test_the_version_menu_goes_back_and_forth_as_one_undo_step(artist: Artist) -> None:
    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    artist.press("matte_range")
    assert artist.node["version"].values() == ["v001", "v002"]
    artist.set(version="v001")
    assert "/v001/" in artist.value("alpha_path")
    assert "comp v012" not in artist.value("alpha_path"), "the studio's own version folders are none of ours"
    artist.fake.session.undo.undo()
    assert "/v002/" in artist.value("alpha_path")


def test_a_chosen_version_brings_its_range_and_its_files(artist: Artist, shot: Shot) -> None:
    artist.set(range="custom", frames="1001-1004")
    artist.press("matte_range")
    artist.set(range="input", make_fgr=True)
    artist.press("matte_range")
    assert (artist.value("result_last"), artist.value("has_fgr")) == (1012, True)
    artist.set(version="v001")
    assert (artist.value("result_last"), artist.value("has_fgr"), artist.value("fgr_path")) == (1004, False, "")
    artist.set(version="v002")
    assert (artist.value("result_last"), artist.value("has_fgr")) == (1012, True)


def test_a_script_that_is_opened_again_says_which_version_it_shows(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    artist.fake.module.scriptSaveAs(f"{shot.folder.as_posix()}/later.nk")
    with FakeNuke(gui=True, plugin_folders=artist.fake.session.plugin_folders) as later:
        later.module.scriptOpen(f"{shot.folder.as_posix()}/later.nk")
        node = later.module.toNode("MatteBridge1")
        assert node["status"].value() == "v001 as saved with the script; Reload looks for stale frames"
        assert label_of(node) == ["MatteBridge1", "v001"]
        steps = list(later.session.undo.steps)
        later.press(node, "reload")
        assert label_of(node) == ["MatteBridge1", "v001  12 frames"]
        assert later.session.undo.steps == steps, "nothing to take back"


def test_compare_shows_another_version_against_this_one(artist: Artist) -> None:
    artist.press("matte_range")
    artist.fake.press(artist.node, "compare")
    assert "no other version" in artist.fake.session.messages[-1]
    artist.set(p_gated__gain=0.5)
    artist.press("matte_range")
    artist.fake.session.choices.append(0)
    artist.fake.press(artist.node, "compare")
    picture = artist.fake.session.picture_of(artist.node, 1004)
    red, green = picture.plane("rgba.red"), picture.plane("rgba.green")
    np.testing.assert_allclose(green, red * 2, atol=2e-3)


def test_frames_missing_on_disk_are_made_again_and_nothing_else(artist: Artist, shot: Shot) -> None:
    artist.press("matte_range")
    (folder(shot, "v001") / "MatteBridge1.1007.exr").unlink()
    run = artist.press("matte_range")
    assert run.version.name == "v001"
    assert artist.value("status").startswith("v001: 1 frame made, 11 kept")


def test_undo_takes_menu_and_label_back_too(artist: Artist) -> None:
    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    artist.press("matte_range")
    artist.fake.session.undo.undo()
    assert artist.value("version_name") == artist.value("version") == "v001"
    assert label_of(artist.node) == ["MatteBridge1", "v001"]
    artist.set(version="v002")
    assert label_of(artist.node) == ["MatteBridge1", "v002"]


def test_frames_that_nobody_confirmed_are_not_there(artist: Artist, shot: Shot, tmp_path: Path, gate: Path) -> None:
    """A Nuke that died in a job leaves frames of the version before under the new version's name."""
    import mattebridge_nuke
    from mattebridge_nuke import farm, render_check

    artist.press("matte_range")
    artist.set(p_gated__gain=0.5, p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: any(path.name == "MatteBridge1.1012.exr" for path in folder(shot, "v002").glob("*.exr")))
    shutil.copytree(folder(shot, "v002"), tmp_path / "died")
    run.cancel()
    artist.until(run.finished.is_set)
    shutil.rmtree(folder(shot, "v002"))
    (tmp_path / "died").rename(folder(shot, "v002"))
    artist.fake.press(artist.node, "reload")
    assert artist.node["version"].values() == ["v001"]
    (job,) = mattebridge_nuke.jobs_of()
    assert (job.version, str(job.missing)) == ("v003", "1001-1012")
    assert farm.take_results() == []
    artist.set(version_name="v002", alpha_path=artist.value("alpha_path").replace("/v001/", "/v002/"))
    assert "is not sure yet" in str(render_check.missing_reason(artist.node, 1005)), "a render has no use for them"
    (gate / "open").touch()
    run = artist.press("matte_range")
    assert (run.version.name, artist.value("version_name")) == ("v002", "v002")
    assert artist.value("status").startswith("v002: 12 frames made")


def test_a_version_is_unsure_before_its_first_carried_frame(
    artist: Artist, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke import versions

    artist.press("matte_range")
    artist.set(p_gated__gain=0.5)
    carry_over, unsure = versions.carry_over, []

    def seen(*arguments: Any) -> Any:
        unsure.append([one.unsure for one in versions.on_disk(str(folder(shot, "v002").parent))])
        return carry_over(*arguments)

    monkeypatch.setattr(versions, "carry_over", seen)
    artist.press("matte_range")
    assert unsure == [[False, True]], "a Nuke that dies now leaves nothing that counts as made"
    assert not any(one.unsure for one in versions.on_disk(str(folder(shot, "v002").parent)))


def test_a_copied_node_keeps_its_matte_until_its_own_is_complete(artist: Artist, shot: Shot, gate: Path) -> None:
    artist.press("matte_range")
    fake, old = artist.fake, artist.value("alpha_path")
    copy = Artist(fake, fake.module.nodes.MatteBridge(inputs=[artist.node.input(0), artist.node.input(1)]))
    copy.set(**{name: artist.value(name) for name in ("alpha_path", "has_matte", "result_last", "version_name")})
    (gate / "1001").touch()
    copy.choose_model("gated", gain=0.5, gate=gate.as_posix())
    fake.press(copy.node, "reload")
    assert copy.value("status").startswith(f"v001 is shown from {old}, which is not this node's folder")
    run = copy.begin("matte_range")
    copy.until(lambda: len(run._confirmed) == 1)
    run.cancel()
    copy.until(run.finished.is_set)
    assert copy.value("alpha_path") == old
    (gate / "open").touch()
    copy.press("matte_range")
    assert "/MatteBridge2/v001/" in copy.value("alpha_path")


def test_an_input_that_changes_while_it_is_matted_is_stale_at_the_end(artist: Artist, shot: Shot, gate: Path) -> None:
    (gate / "1001").touch()
    artist.set(p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    shot.write_mask(1002, value=0.5)
    (gate / "open").touch()
    artist.until(run.finished.is_set)
    assert artist.value("node_label") == "v001  12 frames, 1 stale"
    assert "press again to make 1002 anew" in artist.value("status")
    artist.press("matte_range")
    assert artist.value("node_label") == "v002  12 frames"


def test_inputs_that_another_nuke_renders_over_are_no_matte(artist: Artist, shot: Shot, gate: Path) -> None:
    """Two scripts of one folder, each with a node of the default name."""
    (gate / "1001").touch()
    artist.set(always_render=True, p_gated__gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    theirs = folder(shot, "inputs") / "mask.1012.exr"
    theirs.unlink()
    shutil.copy(shot.path("mask", 1003), theirs)
    (gate / "open").touch()
    artist.until(run.finished.is_set)
    assert "another Nuke rendered the inputs again" in str(run.error)
    assert not artist.value("has_matte")
    (folder(shot, "inputs") / "inputs.json").unlink()
    run = artist.press("matte_range")
    assert (run.error, run.version.name, artist.value("version_name")) == (None, "v001", "v001")
    ours, copied = (alpha_of(artist.value("alpha_path"), frame)[24].argmax() for frame in (1012, 1003))
    assert ours < copied, "the disc of 1012 is where it belongs"
