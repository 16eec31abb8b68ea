"""The default model, from the panel to the files: what the guide promises, with no model made for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakenuke import FakeNuke, Picture, read_exr, write_exr
from fakenuke.artist import Artist, alpha_of
from fakenuke.local_server import LocalServer
from fakenuke.shots import RGB, Shot, disc, mask, plate

FRAMES = range(1001, 1013)


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, FRAMES[0], FRAMES[-1])


@pytest.fixture
def artist(fake: FakeNuke, server: LocalServer, shot: Shot) -> Artist:
    return Artist(fake, shot.script(fake))


def another(artist: Artist) -> Artist:
    """A second node on the same inputs."""
    inputs = [artist.node.input(0), artist.node.input(1)]
    return Artist(artist.fake, artist.fake.module.nodes.MatteBridge(inputs=inputs))


def test_one_frame_and_the_connection_equal_the_range(artist: Artist) -> None:
    assert artist.press("matte_range").error is None
    whole = {frame: alpha_of(artist.value("alpha_path"), frame) for frame in FRAMES}
    error = np.mean([np.abs(whole[frame] - disc(frame)).mean() for frame in FRAMES])
    rough = np.mean([np.abs(mask(frame).plane("rgba.alpha") - disc(frame)).mean() for frame in FRAMES])
    assert error < rough, "better than the mask that went in"
    alone = another(artist)
    artist.fake.module.frame(1006)
    assert alone.press("matte_frame").error is None
    np.testing.assert_array_equal(alpha_of(alone.value("alpha_path"), 1006), whole[1006])
    sent = another(artist)
    sent.set(delivery="exr")
    assert sent.press("matte_range").error is None
    for frame in FRAMES:
        np.testing.assert_array_equal(alpha_of(sent.value("alpha_path"), frame), whole[frame])


def test_a_changed_mask_frame_leaves_far_frames_and_equals_a_fresh_run(artist: Artist, shot: Shot) -> None:
    assert artist.press("matte_range").error is None
    first = artist.value("alpha_path")
    shot.write_mask(1003, value=0.6)
    assert artist.press("matte_range").error is None
    second = artist.value("alpha_path")
    assert artist.value("version_name") == "v002"
    kept = {frame for frame in FRAMES if inode(first, frame) == inode(second, frame)}
    assert 1003 not in kept
    assert 1012 in kept
    fresh = another(artist)
    assert fresh.press("matte_range").error is None
    for frame in FRAMES:
        np.testing.assert_array_equal(alpha_of(fresh.value("alpha_path"), frame), alpha_of(second, frame))


def inode(pattern: str, frame: int) -> int:
    return Path(pattern.replace("%04d", str(frame))).stat().st_ino


def test_overscan_and_pixel_aspect_of_the_plate_are_those_of_the_matte(
    fake: FakeNuke, server: LocalServer, shot: Shot
) -> None:
    data, display = (-4, -2, 60, 46), (0, 0, 56, 44)
    for frame in FRAMES:
        for name, picture, channels in (("plate", plate(frame), RGB), ("mask", mask(frame), ["rgba.alpha"])):
            write_exr(shot.path(name, frame), Picture(picture.planes, data, display, 2.0), channels)
    artist = Artist(fake, shot.script(fake, range="custom", frames="1001-1003"))
    assert artist.press("matte_range").error is None
    result = read_exr(Path(artist.value("alpha_path").replace("%04d", "1002")))
    assert (result.data, result.display, result.pixel_aspect) == (data, display, 2.0)
    shown = fake.session.picture_of(artist.node, 1002)
    assert (shown.data, shown.pixel_aspect) == (data, 2.0)


def test_both_views_are_matted_each_from_its_own_pictures(fake: FakeNuke, server: LocalServer, tmp_path: Path) -> None:
    shot = Shot(tmp_path / "stereo", 1001, 1003, views=("left", "right"))
    artist = Artist(fake, shot.script(fake, which_views="all views", one_mask=True))
    assert artist.press("matte_range").error is None
    assert artist.value("status").startswith("v001: 6 frames made")
    pattern = artist.value("alpha_path")
    rough = np.abs(mask(1002).plane("rgba.alpha") - disc(1002)).mean()
    for view in shot.views:
        assert np.abs(alpha_of(pattern, 1002, view) - disc(1002)).mean() < rough
    assert (alpha_of(pattern, 1002, "left") != alpha_of(pattern, 1002, "right")).any(), "their grain differs"
