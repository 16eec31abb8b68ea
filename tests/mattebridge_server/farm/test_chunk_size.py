"""The recommended chunk, the work it is made of, and OpenJD's own division of a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.frames import FrameSet
from mattebridge_server.farm.chunking import (
    MOST_WASTE,
    STAGE_TIMES,
    Rhythm,
    chunk_work,
    evened_chunks,
    evened_sizes,
    recommended_chunk,
    smallest_chunk,
    worst_waste,
)
from mattebridge_server.pipeline.windows import Layout, frame_layout


@st.composite
def chunk_of_a_shot(draw: st.DrawFn) -> tuple[int, int, int]:
    shot = draw(st.integers(1, 120))
    first = draw(st.integers(0, shot - 1))
    return shot, first, draw(st.integers(first + 1, shot))


@given(chunk_of_a_shot(), st.integers(1, 20), st.integers(1, 20))
def test_the_work_of_a_chunk_is_what_the_window_layout_says(
    chunk: tuple[int, int, int], length: int, stride: int
) -> None:
    shot, first, last = chunk
    stride = min(stride, length)
    layout = Layout(shot, length, stride)
    spans = layout.needed(range(first, last))
    work = chunk_work(Rhythm("window", length, stride), shot, first, last)
    assert work.works == sum(len(span) for span in spans)
    assert work.reads == len({index for span in spans for index in range(span.start, span.stop)})


@given(chunk_of_a_shot(), st.integers(0, 4))
def test_a_frame_model_reads_its_neighbours_beyond_the_chunk(chunk: tuple[int, int, int], radius: int) -> None:
    shot, first, last = chunk
    read = {i for span in frame_layout(shot, radius)[first:last] for i in range(span.start, span.stop)}
    assert chunk_work(Rhythm("frame", radius=radius), shot, first, last).reads == len(read)


RHYTHMS = {
    "identity": Rhythm("frame"),
    "edge": Rhythm("frame", radius=1),
    "videomama": Rhythm("window", 16, 12),
}


@pytest.mark.parametrize("model", RHYTHMS)
@given(shot=st.integers(1, 3000))
def test_the_smallest_chunk_is_the_first_whose_worst_case_is_within_the_limit(model: str, shot: int) -> None:
    rhythm, times = RHYTHMS[model], STAGE_TIMES[model]
    chunk = smallest_chunk(rhythm, times, shot)
    assert 1 <= chunk <= shot
    if chunk < shot:
        assert chunk % rhythm.step == 0
        assert worst_waste(rhythm, times, shot, chunk) <= MOST_WASTE
        if chunk > rhythm.step:
            assert worst_waste(rhythm, times, shot, chunk - rhythm.step) > MOST_WASTE


@pytest.mark.parametrize("model", RHYTHMS)
@given(shot=st.integers(1, 3000))
def test_no_chunk_of_the_recommended_size_comes_out_smaller_than_the_smallest(model: str, shot: int) -> None:
    rhythm, times = RHYTHMS[model], STAGE_TIMES[model]
    chunk = recommended_chunk(rhythm, times, shot)
    assert chunk == shot or chunk % rhythm.step == 0
    assert min(evened_sizes(shot, chunk)) >= smallest_chunk(rhythm, times, shot)


def test_a_model_that_needs_the_whole_shot_gets_it_in_one_piece() -> None:
    assert recommended_chunk(Rhythm("shot"), STAGE_TIMES["videomama"], 1234) == 1234


@given(st.integers(-50, 1001), st.integers(1, 300), st.integers(1, 400))
def test_chunks_are_those_that_openjd_makes(first: int, total: int, chunk: int) -> None:
    iterate = pytest.importorskip("openjd.model._step_param_space_iter", reason="openjd-cli is not installed")
    theirs = iterate.divide_int_interval_into_chunks(chunk, first, first + total - 1)
    assert list(evened_chunks(FrameSet(range(first, first + total)), chunk)) == [FrameSet.parse(c) for c in theirs]
