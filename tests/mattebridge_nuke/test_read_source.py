"""A Read goes by path only where the file on disk is what the node shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakenuke import FakeNuke
from fakenuke.shots import Shot

from mattebridge.frames import FrameSet
from mattebridge_nuke.read_source import ByPath, Channel, ReadFacts, ToRender, resolve, space_of

FRAMES = FrameSet.parse("1001-1004")
PLAIN = ReadFacts("/show/plate.%04d.exr", 1001, 1004, raw=True)


def reason(facts: ReadFacts, ocio: bool = True, channel: Channel = "rgb") -> str:
    found = resolve(facts, FRAMES, ocio, channel)
    return found.reason if isinstance(found, ToRender) else ""


def test_a_plain_raw_exr_goes_by_path() -> None:
    assert resolve(PLAIN, FRAMES, True, "rgb") == ByPath("/show/plate.%04d.exr", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"file": "/show/plate.%04d.dpx"}, "not EXR"),
        ({"file": "/show/still.exr"}, "one still"),
        ({"file": "[value root.folder]/plate.%04d.exr"}, "expression"),
        ({"file": ""}, "no file"),
        ({"disabled": True}, "disabled"),
        ({"animated": True}, "expression"),
        ({"frame": "frame*2"}, "retimed"),
        ({"frame_mode": "offset", "frame": "5"}, "retimed or offset"),
        ({"frame_mode": "start at", "frame": "1"}, "retimed or offset"),
        ({"first": 1002}, "held or black"),
        ({"last": 1003}, "held or black"),
    ],
)
def test_anything_else_is_rendered_and_says_why(change: dict[str, Any], why: str) -> None:
    assert why in reason(replace(PLAIN, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"frame": "frame"},
        {"frame_mode": "offset", "frame": "0"},
        {"frame_mode": "start at", "frame": "1001"},
        {"first": 990, "last": 1100},
        {"file": "/show a/plate.####.EXR"},
        {"file": "/show/%V/plate.%04d.exr"},
    ],
)
def test_a_mapping_that_changes_nothing_stays_a_path(change: dict[str, Any]) -> None:
    assert reason(replace(PLAIN, **change)) == ""


@pytest.mark.parametrize("on_error", ["black", "checkerboard", "nearest frame"])
def test_missing_frames_are_rendered_only_where_nuke_would_replace_them(tmp_path: Path, on_error: str) -> None:
    for frame in (1001, 1002, 1004):
        (tmp_path / f"plate.{frame}.exr").touch()
    facts = replace(PLAIN, file=f"{tmp_path.as_posix()}/plate.%04d.exr")
    assert reason(facts) == "", "CHECK names the missing frame"
    assert "missing frames are replaced" in reason(replace(facts, on_error=on_error))
    (tmp_path / "plate.1003.exr").touch()
    assert reason(replace(facts, on_error=on_error)) == ""


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("ACES - ACEScg", "ACES - ACEScg"),
        ("default (ACES - ACES2065-1)", "ACES - ACES2065-1"),
        ("scene_linear (ACES - ACEScg)", "ACES - ACEScg"),
        ("compositing_log (Input - ARRI - LogC)", "Input - ARRI - LogC"),
        ("default", ""),
        ("", ""),
        ("linear", "linear"),
    ],
)
def test_the_space_is_the_name_in_brackets(text: str, space: str) -> None:
    assert space_of(text) == space


def test_the_space_travels_with_the_path() -> None:
    facts = replace(PLAIN, raw=False, colorspace="default (ACES - ACEScg)")
    assert resolve(facts, FRAMES, True, "rgb") == ByPath(facts.file, "ACES - ACEScg")


def test_a_space_that_nobody_names_is_rendered() -> None:
    assert "does not say" in reason(replace(PLAIN, raw=False, colorspace="default"))


def test_without_ocio_only_linear_can_be_repeated_by_the_server() -> None:
    facts = replace(PLAIN, raw=False, colorspace="sRGB")
    assert "only Nuke can decode" in reason(facts, ocio=False)
    assert reason(replace(facts, colorspace="default (linear)"), ocio=False) == ""


def test_alpha_is_data_whatever_the_space() -> None:
    assert reason(replace(PLAIN, raw=False, colorspace="sRGB"), ocio=False, channel="alpha") == ""


@pytest.mark.parametrize(
    ("colorspace", "ocio", "by_path"),
    [
        ("scene_linear (ACES - ACEScg)", True, True),
        ("default (ACES - ACEScg)", True, False),
        ("Output - sRGB", True, False),
        ("linear", False, True),
        ("sRGB", False, False),
    ],
)
def test_a_mask_in_a_colour_channel_goes_by_path_only_where_nuke_converts_nothing(
    colorspace: str, ocio: bool, by_path: bool
) -> None:
    said = reason(replace(PLAIN, raw=False, colorspace=colorspace), ocio, "colour")
    assert ("Nuke converts its colours" not in said) == by_path
    assert reason(PLAIN, ocio, "colour") == "", "raw is never converted"


def test_proxies_and_local_copies_resolve_to_the_original(fake: FakeNuke, tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1001, 1002)
    node = shot.script(fake)
    read = node.input(0)
    assert read is not None
    read["proxy"].setValue("/small/plate.%04d.exr")
    fake.module.root().setProxy(True)
    fake.session.local_copies[shot.path("plate", 1001).as_posix()] = "/local/plate.1001.exr"
    from mattebridge_nuke import script_facts

    assert fake.module.filename(read, fake.module.REPLACE) == "/local/plate.1001.exr"
    assert script_facts.gather(node).sources["plate"] == ByPath(shot.pattern("plate"))


def test_a_studio_s_file_name_filter_is_obeyed(fake: FakeNuke, tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1001, 1002)
    node = shot.script(fake)
    fake.session.filters.append(lambda path: path.replace("show a", "show b"))
    from mattebridge_nuke import script_facts

    source = script_facts.gather(node).sources["plate"]
    assert isinstance(source, ByPath)
    assert "/show b/" in source.pattern


def test_dots_are_looked_through_and_other_nodes_are_rendered(fake: FakeNuke, tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1001, 1002)
    node = shot.script(fake)
    nuke = fake.module
    node.setInput(0, nuke.nodes.Dot(inputs=[node.input(0)]))
    node.setInput(1, nuke.nodes.Grade(inputs=[node.input(1)]))
    from mattebridge_nuke import read_source, script_facts

    sources = script_facts.gather(node).sources
    assert isinstance(sources["plate"], read_source.ByPath)
    assert sources["mask"] == read_source.ToRender("it comes from a Grade")


def test_a_relative_path_is_one_of_the_project_directory(fake: FakeNuke, tmp_path: Path) -> None:
    shot = Shot(tmp_path, 1001, 1002)
    node = shot.script(fake)
    fake.module.root().knob("project_directory").setValue("[file dirname [value root.name]]")
    node.input(0)["file"].setValue("plate.%04d.exr")
    node["folder"].setValue("mattes")
    from mattebridge_nuke import host, script_facts

    facts = script_facts.gather(node)
    assert facts.sources["plate"] == ByPath(shot.pattern("plate"))
    assert facts.folder == f"{shot.folder.as_posix()}/mattes/MatteBridge1"
    for path in ("/a/b.exr", "P:/a/b.exr", "//filer/a/b.exr", "[getenv SHOW]/b.exr", ""):
        assert host.in_project(path) == path
