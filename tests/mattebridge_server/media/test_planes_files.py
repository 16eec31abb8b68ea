"""`.planes` files carry float16 arrays exactly, and a damaged one is refused like any other frame."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mattebridge.errors import FrameError, InputError, MissingFrames
from mattebridge.planes import Planes
from mattebridge_server.media import ReadLimits, read_attributes, read_header, read_plate, write_planes


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_is_exact(tmp_path, channels):
    pixels = np.random.default_rng(1).normal(0, 9, (20, 30, channels)).astype(np.float16)
    path = str(tmp_path / "p.planes")
    assert write_planes(path, pixels, frame=1) == 0
    plate = read_plate(path, frame=1)
    assert plate.header.file_format == "planes"
    assert (plate.header.width, plate.header.height) == (30, 20)
    np.testing.assert_array_equal(plate.pixels, pixels[..., :3].astype(np.float32))
    assert read_attributes(path) == {}


def test_values_that_do_not_fit_are_counted(tmp_path):
    pixels = np.array([[1e9, -1e9, np.nan, 0.5]], np.float32)
    assert write_planes(str(tmp_path / "p.planes"), pixels, frame=1) == 3


def test_shapes_without_a_meaning_are_a_mistake_of_the_caller(tmp_path):
    for shape in ((4,), (4, 4, 5), (4, 4, 0), (1, 4, 4, 3)):
        with pytest.raises(ValueError, match="planes are"):
            write_planes(str(tmp_path / "p.planes"), np.zeros(shape), frame=1)
    assert list(tmp_path.iterdir()) == []


def test_the_layout_is_the_one_that_is_written_down(tmp_path):
    path = tmp_path / "p.planes"
    write_planes(str(path), np.array([[[1, 2, 3], [4, 5, 6]]], np.float32), frame=1)
    content = path.read_bytes()
    assert content[:32] == b"MBPL" + struct.pack("<HHIII", 1, 1, 1, 2, 3) + bytes(12)
    assert np.frombuffer(content[32:], "<f2").tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_thin_side_reads_and_writes_the_same_file(tmp_path, channels):
    pixels = np.random.default_rng(1).normal(0, 9, (5, 7, channels)).astype(np.float16)
    path = tmp_path / "p.planes"
    write_planes(str(path), pixels, frame=1)
    assert path.read_bytes() == Planes.of(pixels).pack()
    assert Planes.unpack(path.read_bytes()).shape == pixels.shape


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 4, 3), "absurd"),
        ((2**31, 2**31, 3), "absurd"),
        ((20_000, 4, 3), "absurd"),
        ((4, 4, 5), "5 channels"),
        ((4, 4, 0), "0 channels"),
        ((5, 4, 3), "needs another number"),
    ],
)
def test_shapes_that_lie_are_refused(tmp_path, shape, words):
    path = tmp_path / "p.planes"
    path.write_bytes(b"MBPL" + struct.pack("<HHIII12x", 1, 1, *shape) + bytes(4 * 4 * 3 * 2))
    with pytest.raises(FrameError, match=words) as caught:
        read_plate(str(path), frame=6)
    assert (caught.value.file, caught.value.frame) == (str(path), 6)


def test_missing_empty_foreign_and_huge_files_are_refused(tmp_path):
    path = tmp_path / "p.planes"
    with pytest.raises(MissingFrames):
        read_header(str(path), frame=1)
    for content, words in ((b"", "truncated"), (b"MBPL", "truncated"), (bytes(64), "not a .planes")):
        path.write_bytes(content)
        with pytest.raises(FrameError, match=words):
            read_header(str(path), frame=1)
    write_planes(str(path), np.zeros((4, 4, 3)), frame=1)
    with pytest.raises(FrameError, match="absurd"):
        read_plate(str(path), frame=1, limits=ReadLimits(max_side=3))
    with pytest.raises(FrameError, match="absurd"):
        read_plate(str(path), frame=1, limits=ReadLimits(max_bytes=4 * 4 * 3 * 4 - 1))
    with pytest.raises(FrameError, match="cannot be read"):
        read_plate(str(tmp_path / "a\0.planes"), frame=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), intact=st.integers(0, 32))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content, intact):
    path = tmp_path / "p.planes"
    start = b"MBPL" + struct.pack("<HHIII12x", 1, 1, 2, 2, 3)
    path.write_bytes(start[:intact] + content)
    try:
        assert read_plate(str(path), frame=1).pixels.shape[2] == 3
    except InputError as error:
        assert (error.file, error.frame) == (str(path), 1)
