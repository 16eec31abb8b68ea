"""The gizmo as plain nodes: what comes out for what is set, with stored paths and no Python of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke, Picture, write_exr
from fakenuke.picture import ReadFailed
from fakenuke.shots import RGB, Shot, disc, mask, plate


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


def test_before_a_matte_the_plate_passes_untouched(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake)
    picture = fake.session.picture_of(node, 1002)
    assert set(picture.planes) == set(RGB)
    for name in RGB:
        np.testing.assert_array_equal(picture.plane(name), plate(1002).plane(name).astype(np.float16))


def test_the_matte_comes_in_alpha_and_rgb_stays_untouched(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake)
    shot.store(node)
    picture = fake.session.picture_of(node, 1003)
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), mask(1003).plane("rgba.alpha").astype(np.float16))
    np.testing.assert_array_equal(picture.plane("rgba.red"), plate(1003).plane("rgba.red").astype(np.float16))


def test_premultiply_and_another_channel_work_together(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake, premultiply=True, alpha_to="mask.a")
    shot.store(node)
    picture = fake.session.picture_of(node, 1003)
    matte = mask(1003).plane("rgba.alpha").astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(picture.plane("mask.a"), matte)
    assert "rgba.alpha" not in picture.planes
    np.testing.assert_array_equal(picture.plane("rgba.blue"), plate(1003).plane("rgba.blue").astype(np.float16) * matte)


def test_over_background_composites_the_straight_foreground(fake: FakeNuke, shot: Shot) -> None:
    window = (0, 0, 64, 48)
    for frame in range(1001, 1005):
        colour = Picture({name: np.full((48, 64), 0.8, np.float32) for name in RGB}, window, window)
        write_exr(shot.path("fgr", frame), colour, RGB)
    node = shot.script(fake, rgb_from="over background", fgr_path=shot.pattern("fgr"), has_fgr=True)
    shot.store(node)
    node.setInput(4, fake.module.nodes.Constant(color=0.25))
    picture = fake.session.picture_of(node, 1002)
    matte = mask(1002).plane("rgba.alpha").astype(np.float16).astype(np.float32)
    expected = np.float32(np.float16(0.8)) * matte + 0.25 * (1 - matte)
    np.testing.assert_allclose(picture.plane("rgba.green"), expected, atol=1e-6)


def test_compare_shows_agreement_grey_and_differences_coloured(fake: FakeNuke, shot: Shot) -> None:
    window = (0, 0, 64, 48)
    for frame in range(1001, 1005):
        other = Picture({"rgba.alpha": disc(frame, 8.0)}, window, window)
        write_exr(shot.path("other", frame), other, ["rgba.alpha"])
    node = shot.script(fake, rgb_from="compare versions", compare_path=shot.pattern("other"), has_compare=True)
    shot.store(node)
    picture = fake.session.picture_of(node, 1001)
    only_here = (mask(1001).plane("rgba.alpha") == 1) & (disc(1001, 8.0) == 0)
    assert only_here.any()
    rgb = np.stack([picture.plane(name) for name in RGB], axis=-1)
    assert (rgb[only_here] == (1, 0, 1)).all()
    assert (rgb[disc(1001, 8.0) == 1] == (1, 1, 1)).all()


def test_named_layers_come_along_when_asked_for(fake: FakeNuke, shot: Shot) -> None:
    window = (0, 0, 64, 48)
    for frame in range(1001, 1005):
        planes = {"rgba.alpha": disc(frame), "matte_hero.alpha": disc(frame, 5.0)}
        write_exr(shot.path("layers", frame), Picture(planes, window, window), list(planes))
    node = shot.script(fake)
    shot.store(node, "layers")
    assert "matte_hero.alpha" not in fake.session.picture_of(node, 1002).planes
    node._knobs["named_layers"].setValue(True)
    picture = fake.session.picture_of(node, 1002)
    np.testing.assert_array_equal(picture.plane("matte_hero.alpha"), disc(1002, 5.0).astype(np.float16))
    np.testing.assert_array_equal(picture.plane("rgba.alpha"), disc(1002).astype(np.float16))


def test_a_missing_frame_is_black_for_the_artist(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake)
    shot.store(node)
    shot.path("mask", 1002).unlink()
    assert fake.session.picture_of(node, 1002).plane("rgba.alpha").max() == 0
    node._knobs["on_missing"].setValue("nearest frame")
    assert fake.session.picture_of(node, 1002).plane("rgba.alpha").max() == 1
    node._knobs["on_missing"].setValue("error")
    with pytest.raises(ReadFailed):
        fake.session.picture_of(node, 1002)


@pytest.mark.parametrize("case", ["file gone", "outside the range", "never matted"])
def test_without_our_python_a_missing_matte_still_fails_a_farm_render(
    terminal: FakeNuke, shot: Shot, case: str, tmp_path: Path
) -> None:
    node = shot.script(terminal, on_missing="black")
    if case != "never matted":
        shot.store(node)
    if case == "file gone":
        shot.path("mask", 1002).unlink()
    frame = 1009 if case == "outside the range" else 1002
    nuke: Any = terminal.module
    write = nuke.nodes.Write(inputs=[node], file=f"{tmp_path.as_posix()}/out.%04d.exr", channels="rgba")
    with pytest.raises(RuntimeError, match="No such file"):
        nuke.execute(write, frame, frame)
    assert not (tmp_path / f"out.{frame}.exr").exists()


def test_without_our_python_stored_paths_render(terminal: FakeNuke, shot: Shot, tmp_path: Path) -> None:
    node = shot.script(terminal)
    shot.store(node)
    nuke: Any = terminal.module
    write = nuke.nodes.Write(inputs=[node], file=f"{tmp_path.as_posix()}/out.%04d.exr", channels="rgba")
    nuke.execute(write, 1001, 1004)
    assert (tmp_path / "out.1004.exr").exists()


def test_a_saved_script_holds_plain_paths_and_no_machine_s_choices(fake: FakeNuke, shot: Shot) -> None:
    node = shot.script(fake)
    shot.store(node)
    node._knobs["status"].setValue("whatever")
    target = shot.folder / "saved.nk"
    fake.module.scriptSaveAs(target.as_posix())
    text = target.read_text()
    assert shot.pattern("mask") in text
    assert "whatever" not in text
    assert "ReadAlpha" not in text
    with FakeNuke(gui=False, plugin_folders=fake.session.plugin_folders) as farm:
        farm.module.scriptOpen(target.as_posix())
        again = farm.module.toNode("MatteBridge1")
        picture = farm.session.picture_of(again, 1003)
        np.testing.assert_array_equal(picture.plane("rgba.alpha"), mask(1003).plane("rgba.alpha").astype(np.float16))
