"""Frame ranges: every set survives its own text, and nothing absurd gets through."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge import FrameSet
from mattebridge.errors import UsageError
from mattebridge.frames import MAX_FRAMES, MAX_NUMBER

SETS = st.one_of(
    st.sets(st.integers(-60, 60), max_size=40),
    st.sets(st.integers(-MAX_NUMBER, MAX_NUMBER), max_size=10),
    st.builds(
        lambda a, n, s: set(range(a, a + n * s, s)), st.integers(-50, 1100), st.integers(0, 30), st.integers(1, 9)
    ),
).map(FrameSet)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001-1004", [1001, 1002, 1003, 1004]),
        ("1001-1100x33", [1001, 1034, 1067, 1100]),
        ("1001-1099x33", [1001, 1034, 1067]),
        ("1001,1005-1007", [1001, 1005, 1006, 1007]),
        ("7", [7]),
        ("-5--1", [-5, -4, -3, -2, -1]),
        ("-5-2x3", [-5, -2, 1]),
        ("-3", [-3]),
        (" 1 3,5  7 ", [1, 3, 5, 7]),
        ("5,1-3,2", [1, 2, 3, 5]),
        ("1050-1050", [1050]),
        ("1-9:4", [1, 5, 9]),
        ("0001-0003", [1, 2, 3]),
    ],
)
def test_ranges_as_artists_write_them(text, frames):
    assert list(FrameSet.parse(text)) == frames


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        "a",
        "1-",
        "-",
        "--1",
        "1--",
        "10-1",
        "1-10x0",
        "1-10x-2",
        "1..5",
        "1-5-9",
        "1.5",
        "1x2",
        "１-３",
        "1-2000000",
        "1-99999999x2",
        "1001-999999999",
        "10011001-10011100100",
        f"1-{10**30}",
        f"{MAX_NUMBER + 1}",
        "9" * 10000,
        "1,1-1000001",
    ],
)
def test_nonsense_and_absurd_ranges_are_refused_at_once(text):
    started = time.process_time()
    with pytest.raises(UsageError):
        FrameSet.parse(text)
    assert time.process_time() - started < 1.0


def test_many_large_parts_cannot_exhaust_memory():
    with pytest.raises(UsageError, match="beyond"):
        FrameSet.parse(",".join(f"{i}000000-{i}999999" for i in range(1, 60)))


def test_the_limit_itself_is_allowed():
    assert len(FrameSet.parse(f"1-{MAX_FRAMES}")) == MAX_FRAMES


@given(SETS)
def test_text_is_canonical_and_gives_the_set_back(frames):
    if frames:
        assert FrameSet.parse(str(frames)) == frames
        assert str(FrameSet.parse(str(frames))) == str(frames)
    else:
        assert str(frames) == ""


@given(SETS, SETS)
def test_set_algebra_is_pythons(a, b):
    assert set(a | b) == set(a) | set(b)
    assert set(a & b) == set(a) & set(b)
    assert set(a - b) == set(a) - set(b)
    assert (a <= b) == (set(a) <= set(b))
    assert (a == b) == (set(a) == set(b)) and (a != b or hash(a) == hash(b))
    for frame in (*a, *b, 0, 5):
        assert (frame in a) == (frame in set(a))


@given(SETS, st.integers(1, 12))
def test_chunks_cover_the_set_once_and_in_order(frames, size):
    chunks = list(frames.chunks(size))
    assert [frame for chunk in chunks for frame in chunk] == list(frames)
    assert all(len(chunk) == size for chunk in chunks[:-1]) and all(chunk for chunk in chunks)
    assert [FrameSet.parse(str(chunk)) for chunk in chunks] == chunks


def test_indexing_and_ends():
    frames = FrameSet.parse("1001-1010x3")
    assert (frames.first, frames.last, frames[1], frames[1:3]) == (1001, 1010, 1004, FrameSet([1004, 1007]))
    assert repr(frames) == "FrameSet('1001-1010x3')"
    with pytest.raises(UsageError):
        list(frames.chunks(0))


def test_numpys_integers_are_frames():
    frames = FrameSet(np.arange(1001, 1004))
    assert np.int64(1002) in frames and np.int64(7) not in frames
    assert {type(frame) for frame in frames} == {int}
