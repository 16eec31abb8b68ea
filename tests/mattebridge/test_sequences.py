"""File sequences on real folders: padding kept, gaps listed, views, versions, names that look like something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge import FrameSet, Sequence
from mattebridge.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("pattern", "frame", "expected"),
    [
        ("/s/plate.%04d.exr", 1001, "/s/plate.1001.exr"),
        ("/s/plate.%04d.exr", 12345, "/s/plate.12345.exr"),
        ("/s/plate.%04d.exr", -5, "/s/plate.-005.exr"),
        ("/s/plate.%d.exr", 7, "/s/plate.7.exr"),
        ("/s/plate.####.exr", 7, "/s/plate.0007.exr"),
        ("/s/plate.@@@.exr", 7, "/s/plate.007.exr"),
        ("/s/plate.#.exr", 1001, "/s/plate.1001.exr"),
        ("/s/plate.exr", 1001, "/s/plate.exr"),
        ("plate_####_v##.exr", 3, "plate_0003_v03.exr"),
        ("/s#1/@home/plate.%04d.exr", 3, "/s#1/@home/plate.0003.exr"),
        ("/a b/[x] (1)/plate [main].####.exr", 3, "/a b/[x] (1)/plate [main].0003.exr"),
        ("P:\\show\\plate.####.exr", 3, "P:\\show\\plate.0003.exr"),
        ("P:/sh##w/plate.####.exr", 3, "P:/sh##w/plate.0003.exr"),
        ("\\\\server\\sh@re\\p.%05d.exr", 3, "\\\\server\\sh@re\\p.00003.exr"),
    ],
)
def test_paths(pattern, frame, expected):
    sequence = Sequence.parse(pattern)
    assert sequence.path(frame) == expected
    assert sequence.folder + sequence.name == pattern == str(sequence)


def test_views():
    sequence = Sequence.parse("/s/%V/plate_%v.%04d.exr")
    assert sequence.path(1001, view="left") == "/s/left/plate_l.1001.exr"
    with pytest.raises(UsageError, match="view"):
        sequence.path(1001)


@pytest.mark.parametrize("pattern", ["", "/s/", "P:\\show\\", "/s/a\0b.exr"])
def test_what_names_no_file_is_refused(pattern):
    with pytest.raises(UsageError):
        Sequence.parse(pattern)


def test_only_frames_with_the_right_name_and_padding_exist(tmp_path):
    for name in ("a.0999.exr", "a.1000.exr", "a.10001.exr", "a.-003.exr", "a.07.exr", "a.1000.exr.part", "b.1002.exr"):
        (tmp_path / name).touch()
    (tmp_path / "a.1003.EXR").touch()
    sequence = Sequence.parse(f"{tmp_path}/a.%04d.exr")
    assert list(sequence.existing()) == [-3, 999, 1000, 10001]
    assert str(sequence.missing(FrameSet.parse("998-1002"))) == "998,1001-1002"
    assert list(Sequence.parse(f"{tmp_path}/a.%d.exr").existing()) == [1000, 10001]


def test_brackets_and_spaces_are_ordinary_characters(tmp_path):
    folder = tmp_path / "a [b] (c)"
    folder.mkdir()
    (folder / "p [x].*.0007.exr").touch()
    assert list(Sequence.parse(f"{folder}/p [x].*.####.exr").existing()) == [7]


def test_two_numbers_in_a_name_are_the_same_frame(tmp_path):
    (tmp_path / "a.0007.0007.exr").touch()
    (tmp_path / "a.0007.0008.exr").touch()
    assert list(Sequence.parse(f"{tmp_path}/a.####.####.exr").existing()) == [7]


def test_views_exist_apart(tmp_path):
    for view, frame in (("left", 1), ("left", 2), ("right", 1)):
        (tmp_path / view).mkdir(exist_ok=True)
        (tmp_path / view / f"p.{frame:04d}.exr").touch()
    sequence = Sequence.parse(f"{tmp_path}/%V/p.####.exr")
    assert list(sequence.existing("left")) == [1, 2] and list(sequence.missing([1, 2], "right")) == [2]


def test_a_single_file_serves_every_frame(tmp_path):
    sequence = Sequence.parse(f"{tmp_path}/garbage.exr")
    assert not sequence.has_frame and list(sequence.missing([1, 2])) == [1, 2]
    (tmp_path / "garbage.exr").touch()
    assert not sequence.missing([1, 2]) and list(sequence.existing()) == [1]
    assert Sequence.parse("/x/plate.1001.exr").still_frame == 1001
    assert Sequence.parse("/x/still.exr").still_frame == 1


def test_a_folder_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error(tmp_path):
    assert not Sequence.parse(f"{tmp_path}/no/p.####.exr").existing()
    (tmp_path / "file").touch()
    assert not Sequence.parse(f"{tmp_path}/file/p.####.exr").existing()
    with pytest.raises(InputError):
        Sequence.parse(f"{tmp_path}/{'x' * 300}/p.####.exr").existing()


def test_the_remedy_for_a_name_that_fits_no_file_is_told_from_the_folder(tmp_path):
    for name in (".hidden", "mask.1001.exr", "plate.1001.exr", "plate.1002.exr"):
        (tmp_path / name).touch()

    def remedy(name):
        return Sequence.parse(f"{tmp_path}/{name}").remedy()

    assert "frames 1001-1002" in remedy("plate.####.exr")
    assert "the folder holds plate.1001.exr" in remedy("plat.####.exr")
    assert "the folder holds mask.1001.exr" in remedy("mask_v1.%04d.exr")
    for unknown in ("plate.*.exr", "plate.$F4.exr", "plate.{frame}.exr"):
        assert "#### or %04d" in remedy(unknown)
    assert "folder" in remedy("no/plate.####.exr")
    assert remedy(f"{'x' * 300}/plate.####.exr") == ""


@pytest.mark.parametrize(
    "pattern", ["{version}/m.####.exr", "m_{version}.####.exr", "hero/{version}_final/{version}/m.####.exr"]
)
def test_versions_are_found_and_the_next_one_named(tmp_path, pattern):
    sequence = Sequence.parse(f"{tmp_path}/{pattern}")
    assert sequence.has_version and sequence.versions() == [] and sequence.next_version() == 1
    for version in (1, 2, 11):
        path = tmp_path / sequence.with_version(version).path(1001)[len(str(tmp_path)) + 1 :]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "vexed").mkdir()
    assert sequence.versions() == [1, 2, 11] and sequence.next_version() == 12
    assert "v012" in sequence.with_version(12).path(1001)
    assert Sequence.parse(f"{tmp_path}/plain.####.exr").next_version() == 1


NAMES = st.text("ab.#@%0123456789 []()_d-", min_size=1, max_size=14)


@given(NAMES, st.integers(-99999, 999999))
def test_a_file_that_a_pattern_names_is_found_again(tmp_path_factory, name, frame):
    folder = tmp_path_factory.mktemp("s")
    sequence = Sequence.parse(f"{folder}/{name}")
    path = sequence.path(frame)
    if path.rpartition("/")[2] in (".", ".."):
        return
    with open(path, "wb"):  # noqa: PTH123
        pass
    if sequence.has_frame:
        assert list(sequence.existing()) == [frame]
    else:
        assert not sequence.missing([frame])
