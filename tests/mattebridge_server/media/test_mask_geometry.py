"""How a mask is laid over a plate, as properties that hold for any two sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import InputError
from mattebridge_server.media.geometry import Raster, Span, Window, map_mask, place
from mattebridge_server.media.resample import resample

sizes = st.integers(1, 60)
offsets = st.integers(-30, 30)


def raster(data, display=None, aspect=1.0):
    return Raster(Window(*data), Window(*(display or data)), aspect)


def lay(pixels, mask, plate, fit="stretch"):
    mapping = map_mask(mask, plate, fit)
    window = plate.data_window
    return resample(pixels, mapping.x, mapping.y, window.width, window.height), mapping


@given(width=sizes, height=sizes, x=offsets, y=offsets, px=offsets, py=offsets, pw=sizes, ph=sizes)
def test_equal_display_windows_only_shift_by_whole_pixels(width, height, x, y, px, py, pw, ph):
    display = (0, 0, 40, 30)
    pixels = np.random.default_rng(width).random((height, width), np.float32)
    mask, plate = raster((x, y, width, height), display), raster((px, py, pw, ph), display)
    laid, mapping = lay(pixels, mask, plate)
    laid = laid * mapping.known_x * mapping.known_y[:, None]
    np.testing.assert_array_equal(laid, place(pixels, mask.data_window, plate.data_window))


@given(mw=sizes, mh=sizes, pw=sizes, ph=sizes)
def test_a_solid_mask_stays_solid_and_an_empty_one_empty(mw, mh, pw, ph):
    mask, plate = raster((0, 0, mw, mh)), raster((0, 0, pw, ph))
    laid, mapping = lay(np.ones((mh, mw), np.float32), mask, plate)
    np.testing.assert_allclose(laid, 1, atol=1e-5)
    assert mapping.known_x.all()
    assert mapping.known_y.all()
    assert not lay(np.zeros((mh, mw), np.float32), mask, plate)[0].any()


@given(source=st.integers(24, 200), wanted=st.integers(24, 200))
def test_a_ramp_keeps_its_place(source, wanted):
    ramp = ((np.arange(source, dtype=np.float32) + 0.5) / source)[None]
    laid, _ = lay(ramp, raster((0, 0, source, 1)), raster((0, 0, wanted, 1)))
    expected = (np.arange(wanted) + 0.5) / wanted
    inner = slice(int(wanted * 0.15) + 2, wanted - int(wanted * 0.15) - 2)
    # A shift by half a pixel of the coarser of the two would be off by .5 / min(source, wanted).
    np.testing.assert_allclose(laid[0, inner], expected[inner], atol=0.02 / min(source, wanted))


@given(source=st.integers(30, 120), wanted=st.integers(30, 120), low=st.floats(0.25, 0.45), high=st.floats(0.55, 0.75))
def test_a_box_keeps_its_area_and_its_centre(source, wanted, low, high):
    edges = np.arange(source + 1) / source
    covered = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * source
    laid, _ = lay(covered[None].astype(np.float32), raster((0, 0, source, 1)), raster((0, 0, wanted, 1)))
    centres = (np.arange(wanted) + 0.5) / wanted
    assert laid.sum() / wanted == pytest.approx(high - low, abs=0.2 / min(source, wanted))
    assert (laid[0] * centres).sum() / laid.sum() == pytest.approx((low + high) / 2, abs=0.15 / min(source, wanted))


@given(mw=sizes, mh=sizes, pw=sizes, ph=sizes, seed=st.integers(0, 99))
def test_mirroring_before_or_after_is_the_same(mw, mh, pw, ph, seed):
    pixels = np.random.default_rng(seed).random((mh, mw), np.float32)
    mask, plate = raster((0, 0, mw, mh)), raster((0, 0, pw, ph))
    laid, _ = lay(pixels, mask, plate)
    mirrored, _ = lay(np.ascontiguousarray(pixels[::-1, ::-1]), mask, plate)
    np.testing.assert_allclose(mirrored, laid[::-1, ::-1], atol=2e-5)


@given(
    cut=st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 12), st.integers(1, 12)),
    plate_size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
)
def test_a_cropped_mask_equals_the_same_mask_padded_with_black(cut, plate_size):
    _, _, width, height = cut
    display = (0, 0, 24, 24)
    pixels = np.random.default_rng(3).random((height, width), np.float32)
    padded = place(pixels, Window(*cut), Window(*display))
    plate = raster((0, 0, *plate_size))
    cropped, _ = lay(pixels, raster(cut, display), plate)
    whole, _ = lay(padded, raster(display), plate)
    # A crop that touches the edge of the picture is held there, as the padded one is.
    np.testing.assert_allclose(cropped, whole, atol=1e-5)


@given(mw=sizes, mh=sizes, pw=sizes, ph=sizes, aspect=st.sampled_from([0.5, 1.0, 2.0]))
def test_crop_never_leaves_a_part_of_the_plate_uncovered(mw, mh, pw, ph, aspect):
    mask, plate = raster((0, 0, mw, mh)), raster((0, 0, pw, ph), aspect=aspect)
    mapping = map_mask(mask, plate, "crop")
    assert mapping.known_x.all()
    assert mapping.known_y.all()
    for span, count in ((mapping.x, pw), (mapping.y, ph)):
        assert span.start >= -1e-9
        assert span.start + span.step * count <= span.size + 1e-9


@given(mw=st.integers(100, 4000), mh=st.integers(100, 4000), pw=st.integers(100, 4000), ph=st.integers(100, 4000))
def test_proportions_decide_between_silence_warning_and_refusal(mw, mh, pw, ph):
    mask, plate = raster((0, 0, mw, mh)), raster((0, 0, pw, ph))
    ratio = (mw / mh) / (pw / ph)
    mismatch = max(ratio, 1 / ratio) - 1
    if mismatch > 0.02:
        with pytest.raises(InputError):
            map_mask(mask, plate)
    else:
        assert bool(map_mask(mask, plate).warning) == (mismatch > 0.001)


def test_shrinking_is_anti_aliased():
    stripes = np.tile(np.array([0, 1], np.float32), 100)[None]
    shrunk, _ = lay(stripes, raster((0, 0, 200, 1)), raster((0, 0, 40, 1)))
    np.testing.assert_allclose(shrunk[0, 3:-3], 0.5, atol=0.02)


def test_growing_is_smooth():
    step = np.repeat(np.array([0, 1], np.float32), 8)[None]
    grown, _ = lay(step, raster((0, 0, 16, 1)), raster((0, 0, 160, 1)))
    slope = np.diff(np.clip(grown[0], 0, 1))
    assert slope.max() < 0.12
    assert np.abs(np.diff(slope)).max() < 0.05


def test_an_edge_that_is_not_held_fades_to_zero():
    span = Span(start=-4.25, step=1.0, size=6, held_low=False, held_high=False)
    flat = Span(start=0.0, step=1.0, size=1, held_low=True, held_high=True)
    out = resample(np.ones((1, 6), np.float32), span, flat, 16, 1)
    assert out[0, :2].tolist() == [0, 0]
    assert out[0, -2:].tolist() == [0, 0]
    assert out.sum() == pytest.approx(6, abs=1e-3)
