"""Inputs that Nuke renders: full resolution, data window kept, a Write that always goes, nothing left changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke, Picture, read_exr, write_exr
from fakenuke.artist import Artist
from fakenuke.local_server import LocalServer
from fakenuke.shots import RGB, Shot


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


@pytest.fixture
def artist(fake: FakeNuke, shot: Shot) -> Artist:
    artist = Artist(fake, shot.script(fake, always_render=True, model="identity"))
    artist.fake.module.frame(1003)
    return artist


def render(artist: Artist) -> Path:
    """Render what is stale, as a run does; gives the folder."""
    from mattebridge_nuke import job_request, rendered_inputs, script_facts

    facts = script_facts.gather(artist.node)
    job = job_request.plan(facts)
    rendered_inputs.render_stale(artist.node, job, rendered_inputs.keys_now(artist.node, facts))
    return Path(facts.folder) / "inputs"


def classes(fake: FakeNuke) -> set[str]:
    return {node._class for node in fake.session.root._walk()}


def test_plate_and_mask_are_written_at_the_same_frames_and_nothing_stays_behind(artist: Artist) -> None:
    steps = artist.undo_names()
    folder = render(artist)
    names = sorted(path.name for path in folder.glob("*.exr"))
    assert names == sorted(f"{role}.{frame}.exr" for role in ("plate", "mask") for frame in range(1001, 1005))
    assert "Write" not in classes(artist.fake)
    assert artist.undo_names() == steps
    assert artist.fake.session.context.frame == 1003, "the artist's frame is put back"


def test_what_is_written_is_what_the_node_shows_in_scene_linear_half(artist: Artist, shot: Shot) -> None:
    folder = render(artist)
    source = read_exr(shot.path("plate", 1002))
    result = read_exr(folder / "plate.1002.exr")
    assert set(result.planes) == set(RGB)
    np.testing.assert_array_equal(result.plane("rgba.red"), source.plane("rgba.red"))
    assert set(read_exr(folder / "mask.1002.exr").planes) == {"rgba.alpha"}


def test_overscan_and_pixel_aspect_survive(fake: FakeNuke, shot: Shot) -> None:
    display, data = (0, 0, 64, 48), (-8, -4, 72, 52)
    plane = np.random.default_rng(0).random((56, 80)).astype(np.float32)
    for frame in range(1001, 1005):
        write_exr(shot.path("plate", frame), Picture(dict.fromkeys(RGB, plane), data, display, 2.0), RGB)
    artist = Artist(fake, shot.script(fake, always_render=True))
    result = read_exr(render(artist) / "plate.1001.exr")
    assert (result.data, result.display, result.pixel_aspect) == (data, display, 2.0)


def test_proxy_mode_is_off_while_rendering_and_put_back(artist: Artist) -> None:
    artist.fake.module.root().setProxy(True)
    folder = render(artist)
    assert read_exr(folder / "plate.1001.exr").plane("rgba.red").shape == (48, 64)
    assert artist.fake.module.root().proxy() is True


@pytest.mark.parametrize(("cause", "code"), [("cancel", "CANCELLED"), ("missing", "BAD_INPUT"), ("busy", "BAD_INPUT")])
def test_a_render_that_fails_leaves_the_script_as_it_was(artist: Artist, shot: Shot, cause: str, code: str) -> None:
    from mattebridge.errors import MatteBridgeError

    session = artist.fake.session
    session.root._knobs["proxy"].setValue(True)  # type: ignore[attr-defined]
    if cause == "cancel":
        session.cancel_next_execute = True
    elif cause == "missing":
        shot.path("plate", 1003).unlink()
    else:
        session.executing = True
    with pytest.raises(MatteBridgeError) as caught:
        render(artist)
    session.executing = False
    assert caught.value.code == code
    assert "Write" not in classes(artist.fake)
    assert session.root._value("proxy") is True
    assert session.context.frame == 1003
    if cause == "missing":
        assert "plate.1003.exr" in str(caught.value)
        shot.write_plate(1003)
        render(artist)
        assert (Path(shot.folder) / "mattebridge" / "MatteBridge1" / "inputs" / "plate.1003.exr").exists()


@pytest.mark.parametrize("several", [False, True], ids=["one view", "two views"])
def test_a_cancel_ends_the_render_after_the_frame_and_what_is_finished_is_kept(
    fake: FakeNuke, tmp_path: Path, several: bool
) -> None:
    """A thousand frames may be an hour: the artist who has enough neither waits for the rest nor renders them twice."""
    from mattebridge.errors import Cancelled
    from mattebridge_nuke import job_request, rendered_inputs, script_facts

    views = ("left", "right") if several else ()
    artist = Artist(fake, Shot(tmp_path, 1001, 1004, views).script(fake, always_render=True, which_views="all views"))
    left = [5]

    def stop() -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise Cancelled("enough")

    facts = script_facts.gather(artist.node)
    job, keys = job_request.plan(facts), rendered_inputs.keys_now(artist.node, facts)
    with pytest.raises(Cancelled, match="enough"):
        rendered_inputs.render_stale(artist.node, job, keys, stop)
    assert fake.session.files_written == 5
    assert "Write" not in classes(fake)
    render(artist)
    assert fake.session.files_written == (16 if several else 8)
    fake.session.executed.clear()
    render(artist)
    assert fake.session.executed == []


def test_what_was_rendered_before_a_failure_is_not_rendered_again(artist: Artist, shot: Shot) -> None:
    from mattebridge.errors import InputError

    shot.path("plate", 1003).unlink()
    with pytest.raises(InputError, match=r"plate\.1003\.exr"):
        render(artist)
    shot.write_plate(1003)
    artist.fake.session.executed.clear()
    render(artist)
    spans = [(first, last) for _, first, last in artist.fake.session.executed]
    assert spans == [(1003, 1004), (1001, 1004)], "the rest of the plate, then the mask"


def test_a_full_disk_is_told_from_a_bad_node(artist: Artist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nuke names its own temporary Write, which is gone by then."""
    import fakenuke.session

    from mattebridge.errors import OutputFailed

    def full(path: Path, *rest: object) -> None:
        raise OSError(f"{path.as_posix()}.tmp: No space left on device")

    monkeypatch.setattr(fakenuke.session, "write_exr", full)
    with pytest.raises(OutputFailed, match=r"the plate cannot be written: .*No space left") as caught:
        render(artist)
    assert "Free space" in caught.value.remedy


def test_a_path_with_cancelled_in_it_is_no_cancel(fake: FakeNuke, tmp_path: Path) -> None:
    from mattebridge.errors import InputError

    shot = Shot(tmp_path / "cancelled", 1001, 1002)
    artist = Artist(fake, shot.script(fake, always_render=True))
    shot.path("plate", 1002).unlink()
    with pytest.raises(InputError, match="could not render the plate"):
        render(artist)


def test_an_input_made_with_a_node_that_has_no_matte_names_that_node(artist: Artist) -> None:
    from mattebridge.errors import InputError

    nuke: Any = artist.fake.module
    below = Artist(artist.fake, nuke.nodes.MatteBridge(inputs=[artist.node.input(0), artist.node]))
    with pytest.raises(InputError, match="the mask is made with MatteBridge1: no matte was made") as caught:
        render(below)
    assert caught.value.remedy == "Matte the range on MatteBridge1 first."
    assert not any("mask" in path.name for path in Path(render(artist)).parents[1].rglob("MatteBridge2/inputs/*.exr"))


def test_a_frame_that_was_deleted_is_rendered_again_alone(artist: Artist) -> None:
    folder = render(artist)
    (folder / "mask.1002.exr").unlink()
    artist.fake.session.executed.clear()
    render(artist)
    assert [(first, last) for _, first, last in artist.fake.session.executed] == [(1002, 1002)]


def test_another_mask_channel_is_rendered_again(artist: Artist, shot: Shot) -> None:
    artist.node.input(1)["file"].setValue(shot.pattern("plate"))
    artist.set(mask_channel="red")
    folder = render(artist)
    assert set(read_exr(folder / "mask.1002.exr").planes) == {"rgba.red"}
    for channel in ("green", "alpha", "red"):
        artist.set(mask_channel=channel)
        artist.fake.session.executed.clear()
        render(artist)
        assert set(read_exr(folder / "mask.1002.exr").planes) == {f"rgba.{channel}"}
        assert len(artist.fake.session.executed) == 1, "the plate stays"


def test_a_view_is_not_fresh_because_another_was_rendered(fake: FakeNuke, tmp_path: Path) -> None:
    """Without a word about views above, Nuke's hash of the tree is the same for both."""
    artist = Artist(fake, Shot(tmp_path, 1001, 1002, views=("left", "right")).script(fake))
    mask = fake.module.nodes.Constant(color=1.0)
    artist.node.setInput(1, mask)
    for color in (1.0, 0.5):
        mask["color"].setValue(color)
        for view in ("left", "right"):
            fake.session.context = fake.session.context.at(view=view)
            folder = render(artist)
            assert read_exr(folder / f"mask.{view}.1001.exr").plane("rgba.alpha").max() == color
    fake.session.executed.clear()
    fake.session.context = fake.session.context.at(view="left")
    render(artist)
    assert fake.session.executed == [], "the left view is as fresh as it was"


def test_paths_with_expressions_are_rendered_as_they_stand(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    artist.node.input(0)["file"].setValue("[file dirname [value root.name]]/plate.%04d.exr")
    artist.node.input(1)["file"].setValue("[file dirname [value root.name]]/mask.%04d.exr")
    assert artist.press("matte_range").error is None
    assert {(first, last) for _, first, last in fake.session.executed} == {(1001, 1004)}
    picture = fake.session.picture_of(artist.node, 1003)
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), read_exr(shot.path("mask", 1003)).plane("rgba.alpha"))


def test_a_retimed_plate_is_matted_as_it_is_seen(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity", range="custom", frames="1001-1003"))
    nuke: Any = fake.module
    for index in (0, 1):
        artist.node.setInput(index, nuke.nodes.TimeOffset(inputs=[artist.node.input(index)], time_offset=-1))
    assert artist.press("matte_range").error is None
    picture = fake.session.picture_of(artist.node, 1001)
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), read_exr(shot.path("mask", 1002)).plane("rgba.alpha"))


def stale_after(artist: Artist, change: Callable[[], None]) -> list[int]:
    """Frames whose key is another one after ``change``."""
    from mattebridge_nuke import frame_keys, rendered_inputs, script_facts

    facts = script_facts.gather(artist.node)
    before = frame_keys.joined(rendered_inputs.keys_now(artist.node, facts), facts.shot)
    change()
    return list(frame_keys.changed(before, frame_keys.joined(rendered_inputs.keys_now(artist.node, facts), facts.shot)))


def test_a_file_that_is_shown_at_another_frame_makes_that_frame_stale(artist: Artist, shot: Shot) -> None:
    """Which frames look at it is not known: all of them may."""
    nuke: Any = artist.fake.module
    artist.set(range="custom", frames="1001-1004")
    mask = artist.node.input(1)
    assert stale_after(artist, lambda: shot.write_mask(1002, value=0.5)) == [1002]
    artist.node.setInput(1, nuke.nodes.TimeOffset(inputs=[mask], time_offset=2))
    assert 1004 in stale_after(artist, lambda: shot.write_mask(1002, value=0.25))
    artist.node.setInput(1, mask)
    mask["frame_mode"].setValue("offset")
    mask["frame"].setValue("-1")
    assert 1003 in stale_after(artist, lambda: shot.write_mask(1002, value=0.5))
    mask["frame"].setValue("")
    artist.set(frames="1001-1006")
    assert 1006 in stale_after(artist, lambda: shot.write_mask(1004, value=0.5)), "the last frame is held"


def test_files_are_looked_at_through_the_group_around_the_node(fake: FakeNuke, shot: Shot) -> None:
    nuke: Any = fake.module
    reads = [shot.read(nuke, name) for name in ("plate", "mask")]
    with nuke.nodes.Group(inputs=reads):
        node = nuke.nodes.MatteBridge(inputs=[nuke.nodes.Input(number=index) for index in range(2)])
    artist = Artist(fake, node)
    artist.set(folder=shot.folder.as_posix(), range="custom", frames="1001-1004")
    assert stale_after(artist, lambda: shot.write_mask(1002, value=0.5)) == [1002]


def test_a_file_of_the_other_view_makes_its_frame_stale(fake: FakeNuke, tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1001, 1004, views=("left", "right"))
    artist = Artist(fake, shot.script(fake, which_views="all views", always_render=True))
    assert stale_after(artist, lambda: shot.write_mask(1002, "right", value=0.5)) == [1002]


def test_an_input_that_was_disconnected_meanwhile_is_named(artist: Artist) -> None:
    from mattebridge.errors import InputError
    from mattebridge_nuke import rendered_inputs, script_facts

    render(artist)
    facts = script_facts.gather(artist.node)
    artist.node.setInput(1, None)
    with pytest.raises(InputError, match="the mask input was disconnected"):
        rendered_inputs.keys_now(artist.node, facts)


def test_a_node_that_was_deleted_meanwhile_is_gone(artist: Artist) -> None:
    """A run takes that for a cancel; anything else would be a dialog about a node that nobody has."""
    from mattebridge_nuke import host, rendered_inputs, script_facts

    facts = script_facts.gather(artist.node)
    artist.fake.module.delete(artist.node)
    with pytest.raises(host.NodeGone):
        rendered_inputs.keys_now(artist.node, facts)
