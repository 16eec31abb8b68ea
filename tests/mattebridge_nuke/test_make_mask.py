"""Points and a box in the viewer become prompts in the server's coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot

from mattebridge.errors import UsageError
from mattebridge_nuke.object_prompts import layer_name, prompt

SIZE = (200, 100)


def test_pixels_with_y_up_become_fractions_with_y_down() -> None:
    made = prompt(1003, "hero", [((50, 25), "subject"), ((150, 100), "background"), ((9, 9), "off")], (), SIZE)
    assert (made.frame, made.layer) == (1003, "matte_hero")
    assert made.points == (0.25, 0.75, 1.0, 0.75, 0.0, 0.0)


def test_a_box_is_left_top_right_bottom() -> None:
    assert prompt(1, "", [], (20, 10, 120, 60), SIZE).box == (0.1, 0.4, 0.6, 0.9)


@pytest.mark.parametrize(
    ("points", "box", "why"),
    [
        ([], (), "nothing marks the subject"),
        ([((5, 5), "background")], (), "nothing marks the subject"),
        ([((500, 5), "subject")], (), "outside the 200x100 picture"),
        ([], (50, 50, 50, 60), "the box is empty"),
    ],
)
def test_what_marks_nothing_is_refused(points: Any, box: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        prompt(1, "hero", points, box, SIZE)


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("", "A"),
        ("hero", "matte_hero"),
        ("matte_hero", "matte_hero"),
        ("2", "matte_2"),
        ("left hand", "matte_left_hand"),
    ],
)
def test_layers_are_never_named_by_a_number(text: str, layer: str) -> None:
    assert layer_name(text) == layer


def test_make_mask_asks_for_a_track_without_needing_a_mask(
    fake: FakeNuke, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke.bridge import Bridge, CheckResult

    artist = Artist(fake, Shot(tmp_path, 1001, 1004).script(fake))
    artist.node.setInput(1, None)
    artist.set(mask_frame=1002, point1=[32, 12], kind1="subject", look="srgb")
    requests: list[Any] = []
    check = Bridge.check

    def remember(self: Bridge, asked: Any) -> CheckResult:
        requests.extend(asked := list(asked))
        return check(self, asked)

    monkeypatch.setattr(Bridge, "check", remember)
    artist.press("make_mask")
    (request,) = requests[:1]
    assert request["model"] == "sam2"
    assert "mask" not in request
    assert request["prompts"][0].points == (0.5, 0.75, 1.0)
    assert "/MatteBridge1/mask/v001/" in request["out"]


def test_points_on_a_frame_outside_the_shot_are_refused(fake: FakeNuke, tmp_path: Path) -> None:
    artist = Artist(fake, Shot(tmp_path, 1001, 1004).script(fake))
    artist.set(mask_frame=900, point1=[32, 12], kind1="subject")
    assert artist.begin("make_mask") is None
    assert "outside the shot" in artist.value("status")


def test_this_frame_takes_the_current_frame(fake: FakeNuke, tmp_path: Path) -> None:
    artist = Artist(fake, Shot(tmp_path, 1001, 1004).script(fake))
    fake.module.frame(1003)
    fake.press(artist.node, "mask_frame_now")
    assert artist.value("mask_frame") == 1003


def test_points_are_pixels_of_the_full_format_in_proxy_mode_too(fake: FakeNuke, tmp_path: Path) -> None:
    from mattebridge_nuke import host

    artist = Artist(fake, Shot(tmp_path, 1001, 1002).script(fake))
    fake.module.root().setProxy(True)
    assert host.format_of(artist.node.input(0)) == (64, 48)


def test_a_made_mask_becomes_the_mask_and_is_matted(
    fake: FakeNuke, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = Shot(tmp_path, 1001, 1004)
    artist = Artist(fake, shot.script(fake, object_name="hero", mask_frame=1002, point1=[32, 12], kind1="subject"))
    artist.node.setInput(1, None)
    import mattebridge_nuke.run

    monkeypatch.setattr(mattebridge_nuke.run, "TRACKER", "pointed")
    steps = artist.undo_names()
    run = artist.press("make_mask")
    assert run.error is None, run.error
    assert artist.undo_names() == [*steps, "MatteBridge1 mask v001"]
    assert (artist.value("mask_from"), artist.value("has_matte")) == ("made mask", False)
    made = alpha_of(artist.value("mask_path"), 1003)
    assert (made[36, 32], made[12, 32]) == (1, 0), "the point is 12 pixels above the lower edge"
    assert (alpha_of(artist.value("mask_path"), 1001) != made).any(), "the disc moves"
    artist.set(rgb_from="made mask")
    shot.store(artist.node)
    artist.set(result_last=1002)
    green = fake.session.picture_of(artist.node, 1003).plane("rgba.green")
    np.testing.assert_array_equal(green, made, "over its own range, whatever that of the matte is")
    artist.set(model="identity")
    assert artist.press("matte_range").error is None
    for frame in (1001, 1003):
        expected = alpha_of(artist.value("mask_path"), frame)
        np.testing.assert_array_equal(alpha_of(artist.value("alpha_path"), frame), expected)
