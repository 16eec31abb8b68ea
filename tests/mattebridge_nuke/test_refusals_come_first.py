"""What is wrong is said before a frame is rendered: cause and remedy, in the status and in one dialog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1003)


def refused(artist: Artist, *words: str) -> None:
    """One dialog, the same in the status, nothing rendered."""
    (message,) = artist.fake.session.messages
    status = artist.value("status")
    assert status in message
    for word in words:
        assert word in status
    assert artist.fake.session.executed == []


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"range": "custom", "frames": "1100-1001"}, ("runs backwards",)),
        ({"range": "custom", "frames": "soon"}, ("not a frame range", "Write it as")),
        ({"mask_from": "made mask"}, ("no mask was made yet", "Press Make mask first")),
    ],
)
def test_settings_that_cannot_work_need_no_server(
    fake: FakeNuke, shot: Shot, knobs: dict[str, Any], words: tuple[str, ...]
) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, **knobs))
    assert artist.begin("matte_range") is None
    refused(artist, *words)


@pytest.mark.parametrize(("index", "name"), [(0, "plate"), (1, "mask")])
def test_an_input_that_is_not_connected(fake: FakeNuke, shot: Shot, index: int, name: str) -> None:
    artist = Artist(fake, shot.script(fake))
    artist.node.setInput(index, None)
    assert artist.begin("matte_range") is None
    refused(artist, f"the {name} input is not connected", "Connect a")


def test_an_unsaved_script_has_no_place_for_results(fake: FakeNuke, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake, saved=False))
    assert artist.begin("matte_range") is None
    refused(artist, "never saved", "set a result folder")


def test_a_result_folder_with_an_expression_serves_an_unsaved_script(
    fake: FakeNuke, shot: Shot, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOW_ROOT", shot.folder.as_posix())
    artist = Artist(fake, shot.script(fake, saved=False, model="identity", folder="[getenv SHOW_ROOT]/my mattes"))
    assert artist.press("matte_range").error is None
    assert (shot.folder / "my mattes" / "MatteBridge1" / "v001" / "MatteBridge1.1001.exr").exists()
    assert "[" not in artist.value("alpha_path"), "stored paths are plain"


def test_a_model_that_is_not_installed(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, model="videomama"))
    assert artist.press("matte_range").error is not None
    refused(artist, "videomama")
    assert not (shot.folder / "mattebridge" / "MatteBridge1" / "v001").exists()


def test_a_model_that_the_server_does_not_know(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, model_name="studio-net"))
    assert artist.press("matte_range").error.code == "MODEL_UNKNOWN"
    refused(artist, "studio-net", "Refresh models")


def test_a_missing_plate_frame_is_named(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    shot.path("plate", 1002).unlink()
    artist = Artist(fake, shot.script(fake, model="identity"))
    assert artist.press("matte_range").error is not None
    refused(artist, "1002")


def test_a_colour_config_that_is_not_there(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, model="identity"))
    root = fake.session.root
    root._knobs["colorManagement"].setValue("OCIO")  # type: ignore[attr-defined]
    root._knobs["OCIO_config"].setValue("custom")  # type: ignore[attr-defined]
    root._knobs["customOCIOConfigPath"].setValue("/nowhere/config.ocio")  # type: ignore[attr-defined]
    assert artist.press("matte_range").error is not None
    refused(artist, "/nowhere/config.ocio")


def test_a_plate_of_no_known_space_is_answered_with_knobs(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake, model="identity"))
    root = fake.session.root
    root._knobs["colorManagement"].setValue("OCIO")  # type: ignore[attr-defined]
    root._knobs["OCIO_config"].setValue("aces_1.2")  # type: ignore[attr-defined]
    assert artist.press("matte_range").error.code == "COLOUR_SPACE_UNKNOWN"
    refused(artist, "the colourspace knob of its Read")
    assert "cannot be read" in artist.value("working_space")


def test_several_problems_are_one_dialog(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated", gain=7.0)
    shot.path("plate", 1002).unlink()
    assert artist.press("matte_range").error is not None
    refused(artist, "no file for frames 1002", "gain lies between 0.0 and 1.0")


def test_what_is_still_to_be_rendered_is_no_problem(fake: FakeNuke, shot: Shot, server: LocalServer) -> None:
    artist = Artist(fake, shot.script(fake, always_render=True, model="identity"))
    assert artist.press("matte_range").error is None
    assert fake.session.messages == []
    assert sorted({name for name, _, _ in fake.session.executed}) == ["Write1"]
