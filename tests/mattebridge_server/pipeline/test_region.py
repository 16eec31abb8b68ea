from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mattebridge_server.pipeline.region import PADDING, cut, paste, plan_region, subject_box

PLATE = (1920, 1080)
boxes = st.builds(
    lambda x, y, w, h: (x, y, min(PLATE[0], x + w), min(PLATE[1], y + h)),
    st.integers(0, 1500),
    st.integers(0, 800),
    st.integers(20, 500),
    st.integers(20, 400),
)


@given(st.lists(st.none() | boxes, min_size=1, max_size=40), st.sampled_from([600_000, 1_200_000, 1_900_000]))
def test_the_region_has_one_size_holds_every_subject_and_keeps_the_aspect(track: list, budget: int) -> None:
    region = plan_region(track, PLATE, budget)
    width, height = region.canvas
    assert width % 64 == height % 64 == 0
    assert width * height <= budget
    assert len(region.offsets) == len(track)
    assert abs(region.width / region.height * height / width - 1) < 2 / min(region.width, region.height) + 1e-6
    for box, (x, y) in zip(track, region.offsets, strict=True):
        if box is not None:
            assert x <= box[0] and y <= box[1]
            assert box[2] <= x + region.width and box[3] <= y + region.height


def test_a_region_that_saves_less_than_a_third_is_dropped() -> None:
    wide = plan_region([(0, 0, 1500, 900)], PLATE, 600_000)
    assert (wide.width, wide.height, wide.offsets[0]) == (1920, 1080, (0, 0))
    small = plan_region([(600, 300, 1000, 700)], PLATE, 600_000)
    assert small.width * small.height < 2 / 3 * PLATE[0] * PLATE[1]
    assert small.width >= 400 * (1 + 2 * PADDING)


def test_the_offset_follows_a_moving_subject_without_trembling() -> None:
    rng = np.random.default_rng(3)
    track = []
    for i in range(60):
        jitter = rng.integers(-6, 7)
        track.append((400 + 8 * i + int(jitter), 300, 600 + 8 * i + int(jitter), 600))
    steps = np.diff([x for x, _ in plan_region(track, PLATE, 600_000).offsets])[12:-12]
    assert 7 <= steps.mean() <= 9
    assert steps.std() < 2, "the box jumps by up to 12 pixels; the region does not"


def test_a_squeezed_plate_is_seen_desqueezed() -> None:
    region = plan_region([None], (1828, 1556), 1_200_000, pixel_aspect=2.0)
    assert abs(region.canvas[0] / region.canvas[1] - 2 * region.width / region.height) < 0.01


def test_what_is_cut_goes_back_to_its_place() -> None:
    rows, columns = np.mgrid[:400, :640].astype(np.float32)
    image = 0.5 + 0.25 * np.sin(rows / 30) + 0.25 * np.cos(columns / 40)
    region = plan_region([(200, 100, 420, 300)], (640, 400), 600_000)
    canvas = cut(image, region, 0)
    assert canvas.shape == (region.canvas[1], region.canvas[0])
    back = paste(canvas, region, 0, (640, 400), np.zeros((400, 640), np.float32))
    x, y = region.offsets[0]
    inner = (slice(max(0, y) + 4, y + region.height - 4), slice(max(0, x) + 4, x + region.width - 4))
    assert np.abs(back[inner] - image[inner]).max() < 0.02
    assert back[0, 0] == 0


def test_a_region_past_the_plate_repeats_its_border() -> None:
    image = np.zeros((64, 640), np.float32)
    image[:, 0] = 1
    region = plan_region([None], (640, 64), 600_000)
    assert region.height >= 64
    assert cut(image, region, 0).shape == (region.canvas[1], region.canvas[0])


def test_the_subject_box_is_tight_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((20, 30), np.float32)
    assert subject_box(mask) is None
    mask[5:9, 3:14] = 0.5
    mask[0, 0] = 0.01
    assert subject_box(mask) == (3, 5, 14, 9)
