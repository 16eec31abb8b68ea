"""SAM2: prompts on any frame to masks on every frame, in memory that does not grow with the shot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattebridge.errors import Cancelled, EngineFailed, InputError
from mattebridge_server.models.base import Device, LoadSpec, Prompt
from mattebridge_server.models.sam2 import Sam2, Sam2Matte

pytest.importorskip("torch", reason="the [models] extra is not installed")
pytestmark = pytest.mark.models

CLICK = ((0.4, 0.5, True), (0.9, 0.9, False))


def _nothing(stage: str) -> None:
    del stage


@pytest.fixture
def sam2(sam2_folder: Path) -> Iterator[Sam2]:
    model = Sam2()
    model.load(LoadSpec(Device(threads=1), "fp32", (sam2_folder,)))
    yield model
    model.unload()


@pytest.fixture
def matte(sam2_folder: Path) -> Sam2Matte:
    model = Sam2Matte()
    model.load(LoadSpec(Device(threads=1), "fp32", (sam2_folder,)))
    return model


def _run(model: Sam2, window: Any) -> dict[int, Any]:
    return {result.number: result for result in model.run(window, {}, _nothing)}


@pytest.mark.parametrize("at", [1001, 1003, 1005])
def test_a_click_on_any_frame_gives_a_mask_on_every_frame_in_order(
    sam2: Sam2, array_window: Any, moving_disc: Any, at: int
) -> None:
    plates, _ = moving_disc(5, 48)
    stages: list[str] = []
    window = array_window(plates, {}, prompts=(Prompt(at, points=CLICK),))
    results = list(sam2.run(window, {}, stages.append))
    assert [result.number for result in results] == [1001, 1002, 1003, 1004, 1005]
    assert stages == ["masks"] * 5 + ["track"] * (5 + at - 1001), "frames before the click are tracked back first"
    for result in results:
        assert result.alpha.shape == (48, 48) and set(np.unique(result.alpha)) <= {0.0, 1.0}
        assert not result.layers


def test_boxes_points_and_masks_each_say_something_else(sam2: Sam2, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(2, 48)
    box = _run(sam2, array_window(plates, {}, prompts=(Prompt(1001, box=(0.2, 0.2, 0.6, 0.8)),)))
    both = _run(sam2, array_window(plates, {}, prompts=(Prompt(1001, points=CLICK, box=(0.2, 0.2, 0.6, 0.8)),)))
    click = _run(sam2, array_window(plates, {}, prompts=(Prompt(1001, points=CLICK),)))
    mask = _run(sam2, array_window(plates, {1001: masks[1001]}))
    found = [one[1002].alpha for one in (box, both, click, mask)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(found))


def test_missing_masks_are_filled_and_given_ones_are_kept_bit_for_bit(
    sam2: Sam2, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(7, 48)
    given = {number: masks[number] for number in (1003, 1006)}
    results = _run(sam2, array_window(plates, given))
    assert sorted(results) == list(range(1001, 1008))
    for number in given:
        assert np.array_equal(results[number].alpha, masks[number])
    filled = [results[number].alpha for number in (1001, 1002, 1004, 1005, 1007)]
    assert all(set(np.unique(alpha)) <= {0.0, 1.0} for alpha in filled)


def test_an_empty_mask_is_an_answer_and_not_something_to_track(sam2: Sam2, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(3, 48)
    given = {1001: masks[1001], 1003: np.zeros((48, 48), np.float32)}
    assert not _run(sam2, array_window(plates, given))[1003].alpha.any()
    before = {1001: given[1003], 1003: masks[1003]}
    results = _run(sam2, array_window(plates, before))
    assert not results[1001].alpha.any(), "also before the first mask that shows anything"
    assert results[1002].alpha.any()
    with pytest.raises(InputError, match="what to track"):
        _run(sam2, array_window(plates, {1003: given[1003]}))


def test_several_objects_become_named_layers_and_their_union(sam2: Sam2, array_window: Any, moving_disc: Any) -> None:
    plates, _ = moving_disc(4, 48)
    prompts = (
        Prompt(1002, "matte_left", points=((0.2, 0.5, True),)),
        Prompt(1003, "matte_right", points=((0.8, 0.2, True), (0.1, 0.1, False))),
    )
    together = _run(sam2, array_window(plates, {}, prompts=prompts))
    for result in together.values():
        assert list(result.layers) == ["matte_left", "matte_right"]
        assert np.array_equal(result.alpha, np.maximum(*result.layers.values()))
    for prompt in prompts:
        alone = _run(sam2, array_window(plates, {}, prompts=(prompt,)))
        for number, result in alone.items():
            assert np.array_equal(result.alpha, together[number].layers[prompt.layer]), "objects do not disturb others"


def test_only_wanted_frames_are_given_and_frames_after_the_last_are_not_tracked(
    sam2: Sam2, array_window: Any, moving_disc: Any
) -> None:
    plates, _ = moving_disc(6, 48)
    window = array_window(plates, {}, wanted=(1002, 1003), prompts=(Prompt(1001, points=CLICK),))
    assert sorted(_run(sam2, window)) == [1002, 1003]
    assert max(window.read) == 1003


@pytest.mark.parametrize("given_every", [1000, 3])
def test_the_session_needs_the_same_memory_for_96_frames_as_for_24(
    sam2_model: Any, array_window: Any, moving_disc: Any, given_every: int
) -> None:
    from mattebridge_server.models.sam2.tracker import ShotTracker

    peaks = []
    for count in (24, 96):
        plates, masks = moving_disc(count, 16)
        given = {number: mask for i, (number, mask) in enumerate(masks.items()) if i % given_every == 0}
        tracker = ShotTracker(sam2_model, array_window(plates, given), soft=False, checkpoint=_nothing)
        assert sum(1 for _ in tracker.run()) == count
        peaks.append(tracker.peak_bytes)
    assert 0 < peaks[1] <= peaks[0]


def test_forgetting_changes_no_bit(sam2_model: Any, moving_disc: Any, array_window: Any) -> None:
    """The library's own session, which forgets nothing, gives the same logits."""
    import torch
    from transformers import Sam2VideoInferenceSession

    from mattebridge_server.models.sam2.track import Track
    from mattebridge_server.models.sam2.tracker import ShotTracker

    plates, masks = moving_disc(22, 24)
    window = array_window(plates, {1001: masks[1001]})
    tracker = ShotTracker(sam2_model, window, soft=False, checkpoint=_nothing)
    track = Track(sam2_model, tracker.layers[0], tracker._see, tracker._mask_of)
    session = Sam2VideoInferenceSession(dtype=torch.float32)
    session.add_mask_inputs(session.obj_id_to_idx(1), 0, tracker._mask_of(0)[None, None])
    session.obj_with_new_inputs = [1]
    for index in range(22):
        ours = track.step(index, reverse=False)
        pixels = tracker._see(index).pixels
        theirs = sam2_model(inference_session=session, frame_idx=index, frame=pixels).pred_masks[0, 0]
        assert torch.equal(ours, theirs), f"frame {index}"


def test_sam2_matte_gives_soft_alpha_on_every_frame_also_on_those_with_a_mask(
    matte: Sam2Matte, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(4, 48)
    for result in _run(matte, array_window(plates, masks)).values():
        assert result.alpha.min() > 0.0 and result.alpha.max() < 1.0
        assert len(np.unique(result.alpha)) > 100
        assert not np.array_equal(result.alpha, masks[result.number])


def test_an_alpha_does_not_depend_on_frames_that_come_later(
    matte: Sam2Matte, array_window: Any, moving_disc: Any
) -> None:
    plates, _ = moving_disc(5, 48)
    prompt = (Prompt(1001, points=CLICK),)
    whole = _run(matte, array_window(plates, {}, prompts=prompt))
    part = _run(matte, array_window({n: p for n, p in plates.items() if n < 1004}, {}, prompts=prompt))
    assert all(np.array_equal(part[number].alpha, whole[number].alpha) for number in part)


def test_a_prompt_outside_the_shot_names_its_frame(sam2: Sam2, array_window: Any, moving_disc: Any) -> None:
    plates, _ = moving_disc(2, 48)
    with pytest.raises(InputError, match="frame 900"):
        _run(sam2, array_window(plates, {}, prompts=(Prompt(900, points=CLICK),)))


def test_a_cancelled_track_stops_at_the_next_frame(sam2: Sam2, array_window: Any, moving_disc: Any) -> None:
    plates, _ = moving_disc(4, 48)
    seen: list[str] = []

    def stop_at_the_third(stage: str) -> None:
        seen.append(stage)
        if seen.count("track") == 3:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        list(sam2.run(array_window(plates, {}, prompts=(Prompt(1001, points=CLICK),)), {}, stop_at_the_third))
    assert seen[-3:] == ["track"] * 3


def test_a_cancel_is_heard_while_the_masks_of_the_shot_are_looked_at(
    sam2: Sam2, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(5, 48)
    window = array_window(plates, masks)
    looked: list[int] = []

    def mask(number: int) -> Any:
        looked.append(number)
        return masks[number]

    window.mask = mask

    def stop(_: str) -> None:
        if len(looked) == 2:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        list(sam2.run(window, {}, stop))
    assert looked == [1001, 1002]


def test_running_unloaded_is_our_fault_and_says_so(array_window: Any, moving_disc: Any) -> None:
    with pytest.raises(EngineFailed):
        _run(Sam2(), array_window(*moving_disc(1, 16)))
