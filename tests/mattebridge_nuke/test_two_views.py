"""Stereo: one plan for both eyes, each eye its own files, and no mask of one eye for the other without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    shot = Shot(tmp_path, 1001, 1004, views=("left", "right"))
    for frame in range(1001, 1005):
        shot.write_mask(frame, "right", value=0.5)
    return shot


def test_all_views_are_matted_into_one_version(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, which_views="all views"))
    artist.choose_model("gated")
    run = artist.press("matte_range")
    assert run.error is None, run.error
    pattern = artist.value("alpha_path")
    assert "%V" in pattern
    left, right = alpha_of(pattern, 1002, "left"), alpha_of(pattern, 1002, "right")
    np.testing.assert_allclose(right, left / 2, atol=1e-3)
    assert artist.value("status").startswith("v001: 8 frames made")
    picture = fake.session.picture_of(artist.node, 1002, "right")
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), right)


def test_what_one_view_lacks_is_said_before_the_other_is_made(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    shot.path("plate", 1003, "right").unlink()
    artist = Artist(fake, shot.script(fake, model="identity", which_views="all views"))
    assert artist.press("matte_range").error is not None
    assert "1003" in artist.value("status")
    assert not (shot.folder / "mattebridge").exists(), "nothing was made of the left view"


def test_both_views_go_through_the_connection_too(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, which_views="all views", delivery="exr"))
    artist.choose_model("gated")
    run = artist.press("matte_range")
    assert run.error is None, run.error
    pattern = artist.value("alpha_path")
    np.testing.assert_allclose(alpha_of(pattern, 1002, "right"), alpha_of(pattern, 1002, "left") / 2, atol=1e-3)


def test_a_path_with_a_view_serves_a_script_with_one(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    fake.session.root._knobs["views"].setValue("left")  # type: ignore[attr-defined]
    run = artist.press("matte_range")
    assert run.error is None, run.error
    assert "%V" not in artist.value("alpha_path")


def test_both_views_are_made_under_one_plan(
    fake: FakeNuke, server: LocalServer, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke.bridge import Bridge, Job

    plans: list[object] = []
    submit = Bridge.submit

    def remember(self: Bridge, request: Any, plan: Any = None) -> Job:
        plans.append(plan)
        return submit(self, request, plan)

    monkeypatch.setattr(Bridge, "submit", remember)
    artist = Artist(fake, shot.script(fake, model="identity", which_views="all views"))
    assert artist.press("matte_range").error is None
    assert len(plans) == 2
    assert plans[0] is plans[1]
    assert isinstance(plans[0], dict)


def test_cancel_reaches_a_plan_that_waits_for_another_job(
    fake: FakeNuke, server: LocalServer, shot: Shot, gate: Path
) -> None:
    other = Artist(fake, shot.script(fake))
    other.choose_model("gated", gate=gate.as_posix())
    busy = other.begin("matte_range")
    other.until(lambda: "of 4" in other.value("status"))
    artist = Artist(fake, fake.module.nodes.MatteBridge(inputs=[other.node.input(0), other.node.input(1)]))
    artist.set(model="identity", which_views="all views")
    run = artist.begin("matte_range")
    artist.until(lambda: "ahead" in artist.value("status"))
    fake.press(artist.node, "cancel")
    artist.until(run.finished.is_set, 10)
    assert run.error.code == "CANCELLED"
    assert not busy.finished.is_set()
    busy.cancel()
    other.until(busy.finished.is_set)


def test_the_current_view_alone_leaves_the_other_untouched(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    fake.session.context = fake.session.context.at(view="right")
    assert artist.press("matte_range").error is None
    pattern = artist.value("alpha_path")
    assert Path(pattern.replace("%V", "right").replace("%04d", "1001")).exists()
    assert not Path(pattern.replace("%V", "left").replace("%04d", "1001")).exists()


def test_one_mask_file_for_both_views_is_refused_unless_it_is_meant(
    fake: FakeNuke, server: LocalServer, shot: Shot
) -> None:
    artist = Artist(fake, shot.script(fake, model="identity", which_views="all views"))
    artist.node.input(1)["file"].setValue(shot.pattern("mask").replace("%V", "left"))
    assert artist.begin("matte_range") is None
    assert "the same file for the views left and right" in artist.value("status")
    artist.set(one_mask=True)
    run = artist.press("matte_range")
    assert run.error is None, run.error
    pattern = artist.value("alpha_path")
    np.testing.assert_array_equal(alpha_of(pattern, 1001, "left"), alpha_of(pattern, 1001, "right"))


def test_rendered_inputs_are_rendered_in_every_view(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, model="identity", which_views="all views", always_render=True))
    assert artist.press("matte_range").error is None
    inputs = shot.folder / "mattebridge" / "MatteBridge1" / "inputs"
    names = {path.name for path in inputs.glob("mask.*.exr")}
    assert names == {f"mask.{view}.{frame}.exr" for view in ("left", "right") for frame in range(1001, 1005)}
    pattern = artist.value("alpha_path")
    np.testing.assert_allclose(alpha_of(pattern, 1003, "right"), alpha_of(pattern, 1003, "left") / 2, atol=1e-3)


def test_a_rendered_mask_that_is_the_same_in_both_views_is_refused(
    fake: FakeNuke, server: LocalServer, shot: Shot
) -> None:
    artist = Artist(fake, shot.script(fake, model="identity", which_views="all views"))
    artist.node.input(1)["file"].setValue(shot.pattern("mask").replace("%V", "left"))
    artist.node.setInput(1, fake.module.nodes.Grade(inputs=[artist.node.input(1)]))
    run = artist.press("matte_range")
    assert run.error is not None
    assert "the same in the views left and right" in artist.value("status")
    artist.set(one_mask=True)
    assert artist.press("matte_range").error is None
