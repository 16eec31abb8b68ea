"""VideoMaMa over whole shots: windows, weights and blend as a job lays them, with the small random network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattebridge_server.metrics.seam import frame_changes, seam_from_changes
from mattebridge_server.models.base import Device, LoadSpec
from mattebridge_server.models.videomama import VideoMaMa
from mattebridge_server.models.videomama.card import STRIDE, WINDOW
from mattebridge_server.pipeline.blend import Blend
from mattebridge_server.pipeline.plan import ShotPlan

pytest.importorskip("torch", reason="the [models] extra is not installed")
pytestmark = pytest.mark.models

FRAMES = 9
SHOT = tuple(range(1001, 1001 + FRAMES))
Alphas = dict[int, Any]


def _plan(length: int, stride: int) -> ShotPlan:
    grid = (0, 0, 16, 16)
    return ShotPlan(
        frames="",
        model="videomama",
        model_digest="",
        temporal="window",
        length=length,
        stride=stride,
        radius=0,
        plate=grid,
        display=grid,
    )


SMALL = _plan(4, 3)
"""Small windows: what is asked is how they are cut and put together."""


@pytest.fixture(scope="module")
def model() -> Iterator[VideoMaMa]:
    videomama = VideoMaMa(latent_bytes=2**20, result_bytes=0)
    golden = Path(__file__).parents[2] / "data" / "videomama_golden"
    videomama.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    yield videomama
    videomama.unload()


def _matte(
    model: VideoMaMa, array_window: Any, plan: ShotPlan, plates: Alphas, masks: Alphas, wanted: tuple[int, ...]
) -> Alphas:
    """The alphas of ``wanted`` as a job makes them: the windows of the shot that they need, blended."""
    shot = tuple(sorted(plates))
    blend, found = Blend(plan, shot), {}
    for span in plan.layout(len(shot)).needed([shot.index(number) for number in wanted]):
        inside = shot[span.start : span.stop]
        chosen = tuple(number for number in inside if number in wanted)
        for result in model.run(array_window({n: plates[n] for n in inside}, masks, chosen), {}, lambda stage: None):
            if (whole := blend.add(span, result)) is not None:
                found[whole.number] = whole.alpha
    return found


def test_any_split_of_a_shot_into_chunks_gives_the_bits_of_the_whole(
    model: VideoMaMa, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(FRAMES, 16)
    before = model.counters()
    whole = _matte(model, array_window, SMALL, plates, masks, SHOT)
    assert tuple(whole) == SHOT
    computed = model.counters().windows_computed - before.windows_computed
    assert computed == len(SMALL.layout(FRAMES).spans) == 3, "no window is computed twice within a job"

    @settings(max_examples=3, deadline=None, derandomize=True)
    @given(st.lists(st.integers(1, FRAMES - 1), min_size=1, max_size=2, unique=True).map(sorted))
    def split_anywhere(cuts: list[int]) -> None:
        for first, last in zip([0, *cuts], [*cuts, FRAMES], strict=True):
            model.forget()  # a chunk is a process of its own
            chunk = _matte(model, array_window, SMALL, plates, masks, SHOT[first:last])
            assert tuple(chunk) == SHOT[first:last]
            assert all(np.array_equal(chunk[number], whole[number]) for number in chunk)

    split_anywhere()


def test_on_a_static_shot_the_borders_change_no_more_than_the_interior(
    model: VideoMaMa, array_window: Any, moving_disc: Any
) -> None:
    """One plate and one mask on every frame: all change comes from the noise and from the joints of the windows."""
    frames, plan = 52, _plan(WINDOW, STRIDE)
    (plate,), (mask,) = (tuple(one.values()) for one in moving_disc(1, 16))
    shot = range(1001, 1001 + frames)
    plates, masks = dict.fromkeys(shot, plate), dict.fromkeys(shot, mask)
    alphas = _matte(model, array_window, plan, plates, masks, tuple(shot))
    borders = plan.layout(frames).borders()
    seam = seam_from_changes(frame_changes(alphas.values()), borders)
    assert seam.borders == 6 and seam.interior > 0
    assert seam.border <= seam.interior, f"{seam.ratio:.2f}"
