"""Bake to Read: the same picture from plain nodes, no gizmo left, one undo step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist
from fakenuke.shots import Shot


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"premultiply": True},
        {"alpha_to": "mask.a"},
        {"rgb_from": "straight foreground"},
        {"rgb_from": "over background"},
        {"rgb_from": "clean plate", "premultiply": True, "named_layers": True},
    ],
)
def test_the_picture_stays_the_same_without_the_gizmo(fake: FakeNuke, shot: Shot, knobs: dict[str, Any]) -> None:
    artist = Artist(fake, shot.script(fake))
    shot.store(artist.node)
    artist.set(fgr_path=shot.pattern("plate"), has_fgr=True, cleanplate_path=shot.pattern("plate"), has_cleanplate=True)
    artist.set(**knobs)
    nuke: Any = fake.module
    artist.node.setInput(4, nuke.nodes.Constant(color=0.2))
    reader = nuke.nodes.Grade(inputs=[artist.node], multiply=1)
    before = fake.session.picture_of(reader, 1002)
    steps = artist.undo_names()
    artist.fake.press(artist.node, "bake")
    after = fake.session.picture_of(reader, 1002)
    assert set(after.planes) == set(before.planes)
    for name, plane in before.planes.items():
        np.testing.assert_array_equal(after.plane(name), plane)
    assert "MatteBridge" not in {node._class for node in fake.session.root._walk()}
    assert artist.undo_names() == [*steps, "bake MatteBridge1"]
    fake.session.undo.undo()
    assert nuke.toNode("MatteBridge1") is not None
    assert reader.input(0).Class() == "MatteBridge"


def test_a_baked_script_renders_where_nothing_of_ours_is_installed(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake))
    shot.store(artist.node)
    artist.fake.press(artist.node, "bake")
    fake.module.scriptSaveAs(f"{shot.folder.as_posix()}/baked.nk")
    with FakeNuke(gui=False) as bare:
        nuke: Any = bare.module
        nuke.scriptOpen(f"{shot.folder.as_posix()}/baked.nk")
        last = nuke.toNode("Copy1")
        write = nuke.nodes.Write(inputs=[last], file=f"{shot.folder.as_posix()}/out.%04d.exr", channels="rgba")
        nuke.execute(write, 1001, 1004)
        shot.path("mask", 1002).unlink()
        with pytest.raises(RuntimeError, match="No such file"):
            nuke.execute(write, 1002, 1002)


@pytest.mark.parametrize("knobs", [{}, {"has_matte": True, "rgb_from": "compare versions"}])
def test_what_cannot_be_baked_is_said(fake: FakeNuke, shot: Shot, knobs: dict[str, Any]) -> None:
    artist = Artist(fake, shot.script(fake, **knobs))
    artist.fake.press(artist.node, "bake")
    assert len(fake.session.messages) == 1
    assert artist.node.name() == "MatteBridge1"
