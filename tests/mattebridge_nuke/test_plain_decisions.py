"""Decisions of the node that need neither Nuke nor a server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fakenuke import FakeNuke
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import FrameError, MatteBridgeError, UsageError
from mattebridge.frames import FrameSet
from mattebridge_nuke import frame_keys, node_settings, script_colour, status_text, versions
from mattebridge_nuke.node_settings import NodeSettings
from mattebridge_nuke.versions import Version

FRAMES = st.sets(st.integers(-50, 1200), min_size=1, max_size=60).map(FrameSet)


@given(FRAMES)
def test_spans_cover_the_frames_and_nothing_else(frames: FrameSet) -> None:
    spans = node_settings.spans(frames)
    assert FrameSet(frame for first, last in spans for frame in range(first, last + 1)) == frames
    assert all(later[0] > earlier[1] + 1 for earlier, later in zip(spans, spans[1:])), "no two spans touch"


@pytest.mark.parametrize(
    ("mode", "custom", "expected"),
    [("input", "", "1001-1010"), ("project", "", "1-100"), ("custom", "5,7-9", "5,7-9"), ("custom", "-3--1", "-3--1")],
)
def test_the_shot_is_what_the_menu_says(mode: str, custom: str, expected: str) -> None:
    settings = NodeSettings("N", range_mode=mode, custom_frames=custom)
    assert str(node_settings.shot_frames(settings, (1001, 1010), (1, 100))) == expected


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(UsageError, match="input range 10-5 is empty"):
        node_settings.shot_frames(NodeSettings("N"), (10, 5), (1, 100))


# -- colour ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "environment", "config", "text"),
    [
        ({"colorManagement": "Nuke"}, {}, "nuke-default", "linear Rec.709"),
        ({"colorManagement": "Nuke"}, {"OCIO": "/s/config.ocio"}, "/s/config.ocio", "$OCIO"),
        (
            {"colorManagement": "OCIO", "OCIO_config": "custom", "customOCIOConfigPath": "X:\\ocio\\c.ocio"},
            {},
            "X:/ocio/c.ocio",
            "custom config",
        ),
        (
            {"colorManagement": "OCIO", "OCIO_config": "aces_1.2", "OCIOConfigPath": "/nuke/aces/config.ocio"},
            {},
            "/nuke/aces/config.ocio",
            "aces_1.2",
        ),
        ({"colorManagement": "OCIO", "OCIO_config": "nuke-default"}, {}, "nuke-default", "linear Rec.709"),
        (
            {"colorManagement": "OCIO", "OCIO_config": "nuke-default", "OCIOConfigPath": "/nuke/default/config.ocio"},
            {},
            "nuke-default",
            "linear Rec.709",
        ),
        ({"colorManagement": "OCIO", "OCIO_config": "aces_1.2"}, {}, "", "cannot be read"),
    ],
)
def test_the_config_is_found_as_nuke_finds_it(
    root: dict[str, str], environment: dict[str, str], config: str, text: str
) -> None:
    colour = script_colour.script_colour(lambda name: root.get(name, ""), environment)
    assert colour.config == config
    assert text in colour.text
    assert colour.space == ("scene_linear" if config not in ("nuke-default", "") else "")


def test_a_new_node_says_its_working_space(fake: FakeNuke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCIO", raising=False)
    assert fake.module.nodes.MatteBridge()["working_space"].value().startswith("linear Rec.709 (Nuke's own")
    monkeypatch.setenv("OCIO", "/studio/config.ocio")
    assert fake.module.nodes.MatteBridge()["working_space"].value() == "scene_linear of config.ocio ($OCIO)"


def test_only_the_variables_of_the_config_travel(tmp_path: Path) -> None:
    declared = tmp_path / "declared.ocio"
    declared.write_text("ocio_profile_version: 2\nenvironment:\n  SHOT: none\n  GRADE: $SHOT\n")
    loose = tmp_path / "loose.ocio"
    loose.write_text("ocio_profile_version: 1\nsearch_path: luts/${SEQ}\n")
    environment = {"SHOT": "sh010", "SEQ": "moor", "HOME": "/home/a"}

    def context(path: Path) -> dict[str, str]:
        colour = script_colour.ScriptColour(str(path), "scene_linear", "")
        return dict(script_colour.with_context(colour, environment).context)

    assert context(declared) == {"SHOT": "sh010"}
    assert context(loose) == {"SEQ": "moor"}
    assert context(tmp_path / "none.ocio") == {}


# -- keys and versions -------------------------------------------------------------------------------------------------


def test_a_file_s_key_changes_with_its_content_and_its_absence(tmp_path: Path) -> None:
    pattern = f"{tmp_path.as_posix()}/a.%04d.exr"
    frames = FrameSet([1, 2])
    (tmp_path / "a.0001.exr").write_bytes(b"x")
    before = frame_keys.path_keys(pattern, frames, ["main"])
    (tmp_path / "a.0001.exr").write_bytes(b"xy")
    (tmp_path / "a.0002.exr").write_bytes(b"x")
    now = frame_keys.path_keys(pattern, frames, ["main"])
    assert frame_keys.changed(before, now) == frames
    assert frame_keys.changed(now, frame_keys.path_keys(pattern, frames, ["main"])) == FrameSet()


def version(folder: Path, number: int, shot: str = "1-4") -> Version:
    where = f"{folder.as_posix()}/v{number:03d}"
    return Version(
        number,
        where,
        f"d{number}",
        shot,
        roles=versions.role_patterns(folder.as_posix(), "N", number, ("alpha", "fgr"), False),
    )


def fill(one: Version, frames: str) -> None:
    for pattern in one.roles.values():
        for frame in FrameSet.parse(frames):
            path = Path(pattern.replace("%04d", f"{frame:04d}"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"frame %d" % frame)


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    one = Version(
        3, f"{tmp_path.as_posix()}/v003", "abc", "1-9x2", True, {-1: "k", 5: "l"}, {"alpha": "p"}, "edge/1", True
    )
    versions.save(one)
    assert versions.on_disk(tmp_path.as_posix()) == [one]
    (tmp_path / "v003" / "version.json").write_text("{broken")
    assert versions.on_disk(tmp_path.as_posix()) == [Version(3, one.folder)], "a broken record is an empty version"


def test_a_digest_finds_its_version_again_and_anything_else_is_next(tmp_path: Path) -> None:
    found = [version(tmp_path, 1), version(tmp_path, 4)]
    assert versions.matching(found, lambda model: "d1") == found[0]
    assert versions.matching(found, lambda model: "other") is None
    assert (versions.next_number(found), versions.next_number([])) == (5, 1)
    assert versions.before(found, 5) == found[1]
    assert versions.before(found, 1) is None


def test_carried_frames_are_links_and_unconfirmed_ones_go_again(tmp_path: Path) -> None:
    old, new = version(tmp_path, 1), version(tmp_path, 2, "3-6")
    fill(old, "1-4")
    carried = versions.carry_over(old, new, ("main",))
    assert sorted((item.frame, item.path.parent.name) for item in carried) == [
        (3, "fgr"),
        (3, "v002"),
        (4, "fgr"),
        (4, "v002"),
    ]
    assert carried[0].path.stat().st_nlink == 2
    assert versions.drop_unconfirmed(carried, {(3, "")}) == 2
    assert new.missing(("main",)) == FrameSet.parse("4-6")
    assert old.missing(("main",)) == FrameSet()


def test_carrying_over_never_replaces_a_frame(tmp_path: Path) -> None:
    old, new = version(tmp_path, 1), version(tmp_path, 2)
    fill(old, "1-4")
    fill(new, "2")
    assert 2 not in {item.frame for item in versions.carry_over(old, new, ("main",))}


def test_a_version_opened_without_a_server_fits_every_model_version(tmp_path: Path) -> None:
    def digest_of(model: str) -> str:
        return f"digest of {model}"

    made = replace(version(tmp_path, 1), digest=digest_of("edge/1"), model="edge/1")
    opened = replace(version(tmp_path, 2), digest=digest_of(""), model="")
    assert versions.matching([made, opened], digest_of, "edge/2") == opened
    assert versions.matching([made], digest_of, "edge/2") is None
    assert versions.matching([made], digest_of) == made, "nobody said which version counts"


def test_nodes_in_groups_have_folders_of_their_own() -> None:
    assert versions.node_folder("", "/s/comp.nk", "Group1.N") == "/s/mattebridge/Group1_N"
    assert versions.node_folder("/m/", "", "N") == "/m/N"
    assert versions.node_folder("", "", "N") == ""


# -- words -------------------------------------------------------------------------------------------------------------


def test_a_failure_is_cause_then_remedy() -> None:
    text = status_text.failure(
        FrameError("the plate is cut short", file="/p.1002.exr", frame=1002, remedy="Render it again.")
    )
    assert text.splitlines() == ["the plate is cut short (frame 1002) (/p.1002.exr).", "Render it again."]


def every_error(cls: type[MatteBridgeError] = MatteBridgeError) -> list[type[MatteBridgeError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("cls", every_error(), ids=lambda cls: cls.__name__)
def test_remedies_speak_of_knobs_and_not_of_flags(cls: type[MatteBridgeError]) -> None:
    text = status_text.failure(cls("it went wrong"))
    shell = re.sub("`[^`]*`", "", text)  # a command for whoever runs the server
    assert not re.search(r"--[a-z]", shell), text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (64, "1 min 4 s"), (59.7, "1 min 0 s"), (7300, "2 h 1 min")]
)
def test_time_left_reads_like_time(seconds: float, text: str) -> None:
    assert status_text.duration(seconds) == text


def test_progress_and_queue_read_like_sentences() -> None:
    assert (
        status_text.progress("solve", 10, 100, 1010, 1.44, 64)
        == "solve, frame 1010 (10 of 100), 1.4 fps, 1 min 4 s left"
    )
    assert status_text.progress("decode", 0, 100, None, 0.1, 0.0) == "decode, 0 of 100 frames, 10.0 s a frame"
    assert status_text.progress("plan", 0, 8, None, 0, 0) == "plan, 0 of 8 frames"
    assert status_text.queued(2, "ann: sh020") == "2 jobs ahead, now running ann: sh020"
    assert status_text.queued(0, "") == "next in the queue"


@given(st.integers(1, 999).map(lambda number: f"v{number:03d}"), st.integers(0, 9), st.integers(0, 9))
def test_no_benign_line_looks_like_a_failure_to_a_farm(name: str, written: int, kept: int) -> None:
    lines = [
        status_text.finished(name, written, kept, []),
        status_text.label(name, 9, FrameSet([1]), FrameSet([2])),
        status_text.waiting_version(name, FrameSet([1])),
        status_text.progress("read", written, 9, kept, 1.0, 1.0),
    ]
    assert not [line for line in lines if "Error:" in line or "ERROR:" in line or "Error :" in line]


def test_many_warnings_are_shortened_and_repeats_fall_together() -> None:
    lines = status_text.finished("v001", 1, 0, ["a", "b", "a", "c", "d", "e", "f"]).splitlines()
    assert lines == ["v001: 1 frame made", "- a", "- b", "- c", "- d", "- and 2 more, in the server's log"]
