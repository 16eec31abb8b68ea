from hypothesis import given
from hypothesis import strategies as st

from mattebridge_server.pipeline.windows import Layout, frame_layout

layouts = st.builds(
    lambda frames, length, part: Layout(frames, length, max(1, round(length * part))),
    st.integers(1, 300),
    st.integers(1, 24),
    st.floats(0.05, 1.0),
)


def test_windows_start_every_stride_and_the_last_is_moved_back() -> None:
    assert [(s.start, s.stop) for s in Layout(40, 16, 12).spans] == [(0, 16), (12, 28), (24, 40)]
    assert [(s.start, s.stop) for s in Layout(41, 16, 12).spans] == [(0, 16), (12, 28), (24, 40), (25, 41)]
    assert [(s.start, s.stop) for s in Layout(17, 16, 12).spans] == [(0, 16), (1, 17)]


def test_a_short_shot_is_one_window() -> None:
    for frames in range(1, 17):
        assert [(s.start, s.stop) for s in Layout(frames, 16, 12).spans] == [(0, frames)]


@given(layouts)
def test_every_frame_is_covered_by_full_windows_and_its_weights_add_up(layout: Layout) -> None:
    for index in range(layout.frames):
        naive = tuple(span for span in layout.spans if span.start <= index < span.stop)
        assert layout.covering(index) == naive
        assert naive
        assert abs(sum(weight for _, weight in layout.weights(index)) - 1) < 1e-9
        assert all(weight > 0 for _, weight in layout.weights(index))
    assert all(len(span) == min(layout.length, layout.frames) for span in layout.spans)


@given(layouts, st.data())
def test_any_split_into_chunks_reads_and_weights_the_same_windows(layout: Layout, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, layout.frames), max_size=5).map(sorted))
    edges = [0, *cuts, layout.frames]
    chunks = [range(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b]
    whole = layout.needed(range(layout.frames))
    assert set(whole) == {span for chunk in chunks for span in layout.needed(chunk)}
    for chunk in chunks:
        for index in chunk:
            spans = layout.needed(chunk)
            assert all(span in spans for span, _ in layout.weights(index))


@given(layouts)
def test_weights_fade_at_window_borders_instead_of_jumping(layout: Layout) -> None:
    for border in layout.borders():
        shares = [dict(layout.weights(i)) for i in (border - 1, border)]
        for span in set(shares[0]) | set(shares[1]):
            step = abs(shares[0].get(span, 0.0) - shares[1].get(span, 0.0))
            assert step <= max(0.5, 1 / (layout.length - layout.stride + 1)) + 1e-9 or layout.stride == layout.length


def test_windows_that_disagree_hand_over_in_fifths() -> None:
    """With windows of 16 every 12, four shared frames make five equal steps; a hard cut would be one step of 1."""
    layout = Layout(52, 16, 12)
    value = [sum(share * (span.number % 2) for span, share in layout.weights(i)) for i in range(52)]
    steps = [abs(b - a) for a, b in zip(value, value[1:], strict=False)]
    assert max(steps) <= 0.2 + 1e-9
    assert sum(step > 1e-9 for step in steps) == 3 * 5


def test_frame_windows_stop_at_the_shot() -> None:
    assert [(s.start, s.stop) for s in frame_layout(4, 1)] == [(0, 2), (0, 3), (1, 4), (2, 4)]
    assert [(s.start, s.stop) for s in frame_layout(3, 0)] == [(0, 1), (1, 2), (2, 3)]
