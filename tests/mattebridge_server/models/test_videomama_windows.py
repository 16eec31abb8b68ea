"""Windows of VideoMaMa: the same bits in any chunk, and no work done twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattebridge.errors import Cancelled, EngineFailed, FrameError, InputError, OutOfMemory
from mattebridge_server.models.base import Device, LoadSpec
from mattebridge_server.models.videomama import VideoMaMa

pytest.importorskip("torch", reason="the [models] extra is not installed")
pytestmark = pytest.mark.models


def _nothing(stage: str) -> None:
    del stage


@pytest.fixture
def model(golden: Path) -> Iterator[VideoMaMa]:
    videomama = VideoMaMa()
    videomama.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    yield videomama
    videomama.unload()


def _run(model: VideoMaMa, window: Any) -> dict[int, Any]:
    return {result.number: result.alpha for result in model.run(window, {}, _nothing)}


def _part(frames: dict[int, Any], first: int, last: int) -> dict[int, Any]:
    return {number: frame for number, frame in frames.items() if first <= number <= last}


@pytest.mark.parametrize("count", [1, 2, 8, 9, 16, 17])
def test_any_length_gives_one_alpha_per_wanted_frame(
    model: VideoMaMa, array_window: Any, moving_disc: Any, count: int
) -> None:
    plates, masks = moving_disc(count, 16)
    wanted = tuple(sorted(plates))[count // 2 :]
    results = list(model.run(array_window(plates, masks, wanted), {}, _nothing))
    assert tuple(result.number for result in results) == wanted
    for result in results:
        assert result.alpha.shape == (16, 16) and result.alpha.dtype == np.float32
        assert result.alpha.min() >= 0 and result.alpha.max() <= 1


def test_a_window_gives_the_same_bits_fresh_or_with_reused_latents(
    model: VideoMaMa, golden: Path, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(12, 16)
    _run(model, array_window(_part(plates, 1001, 1008), masks))
    warm = _run(model, array_window(_part(plates, 1005, 1012), masks))
    assert model.counters().plate_latents_reused == 4
    fresh = VideoMaMa()
    fresh.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    cold = _run(fresh, array_window(_part(plates, 1005, 1012), masks))
    assert fresh.counters().plate_latents_reused == 0
    for number in cold:
        assert np.array_equal(warm[number], cold[number])


def test_a_mask_fix_reencodes_one_mask_and_no_plate(model: VideoMaMa, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(8, 16)
    first = _run(model, array_window(plates, masks))
    before = model.counters()
    masks[1003] = np.roll(masks[1003], 3, axis=0)
    fixed = _run(model, array_window(plates, masks))
    after = model.counters()
    assert after.windows_computed == before.windows_computed + 1
    assert after.plate_latents_computed == before.plate_latents_computed == 8
    assert after.mask_latents_computed == before.mask_latents_computed + 1
    assert not np.array_equal(first[1003], fixed[1003])


def test_an_unchanged_window_is_not_read_or_computed_again(
    model: VideoMaMa, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(4, 16)
    first = _run(model, array_window(plates, masks))
    again = array_window(plates, masks)
    second = _run(model, again)
    assert again.read == []
    assert model.counters().windows_computed == 1 and model.counters().windows_reused == 1
    assert all(np.array_equal(first[number], second[number]) for number in first)


def test_a_mask_fix_recomputes_only_the_windows_that_cover_it(
    model: VideoMaMa, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(12, 16)
    spans = [(1001, 1004), (1004, 1008), (1008, 1012)]
    for first, last in spans:
        _run(model, array_window(_part(plates, first, last), masks))
    masks[1004] = np.roll(masks[1004], 3, axis=0)
    for first, last in spans:
        _run(model, array_window(_part(plates, first, last), masks))
    assert model.counters().windows_computed == len(spans) + 2
    assert model.counters().windows_reused == 1


def test_results_survive_unload_and_reload(model: VideoMaMa, golden: Path, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(2, 16)
    first = _run(model, array_window(plates, masks))
    model.unload()
    model.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    second = _run(model, array_window(plates, masks))
    assert model.counters().windows_computed == 1
    assert np.array_equal(first[1001], second[1001])


def test_empty_and_missing_masks_share_one_latent(model: VideoMaMa, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(6, 16)
    masks[1001] = np.zeros((16, 16), np.float32)
    masks[1002] = np.full((16, 16), 0.001, np.float32)
    masks[1003] = None
    _run(model, array_window(plates, masks))
    assert model.counters().mask_latents_computed == 4
    assert model.counters().mask_latents_reused == 2


def test_the_noise_follows_the_frame_number_and_the_seed(model: VideoMaMa, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(2, 16)
    moved = {number + 1: frame for number, frame in plates.items()}
    moved_masks = {number + 1: frame for number, frame in masks.items()}
    here = _run(model, array_window(plates, masks))
    there = _run(model, array_window(moved, moved_masks))
    assert not np.array_equal(here[1001], there[1002])
    window = array_window(plates, masks)
    other = {r.number: r.alpha for r in model.run(window, {"seed": 7}, _nothing)}
    assert not np.array_equal(here[1001], other[1001])


def test_a_full_cache_costs_time_but_changes_nothing(golden: Path, array_window: Any, moving_disc: Any) -> None:
    plates, masks = moving_disc(4, 16)
    small = VideoMaMa(latent_bytes=0, result_bytes=0)
    small.load(LoadSpec(Device(threads=1), "fp32", (golden,)))
    first, second = (_run(small, array_window(plates, masks)) for _ in range(2))
    assert small.counters().windows_computed == 2 and small.counters().plate_latents_computed == 8
    assert all(np.array_equal(first[number], second[number]) for number in first)


def test_the_cap_counts_all_that_kept_latents_hold(model: VideoMaMa, array_window: Any, moving_disc: Any) -> None:
    """The mean is half of what the encoder answers: a view of it would keep the whole."""
    assert model._memory is not None
    latents = model._memory._latents
    _run(model, array_window(*moving_disc(2, 16)))
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in latents._entries.values()}
    assert sum(held.values()) == latents.held_bytes > 0


def test_a_cancelled_window_stops_between_stages_and_the_next_one_runs(
    model: VideoMaMa, array_window: Any, moving_disc: Any
) -> None:
    plates, masks = moving_disc(3, 16)
    stages: list[str] = []

    def cancel_at_the_network(stage: str) -> None:
        stages.append(stage)
        if stage == "network":
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        list(model.run(array_window(plates, masks), {}, cancel_at_the_network))
    assert stages == ["encode", "encode", "encode", "network"]
    assert len(_run(model, array_window(plates, masks))) == 3
    assert model.counters().plate_latents_computed == 3, "latents made before the cancel are kept"


def test_a_wrong_canvas_names_the_rule(model: VideoMaMa, array_window: Any) -> None:
    plate = np.zeros((18, 16, 3), np.float32)
    with pytest.raises(InputError, match="multiple of 4"):
        _run(model, array_window({1: plate}, {}))


def test_a_canvas_beyond_the_token_cap_is_refused_before_any_work(model: VideoMaMa, array_window: Any) -> None:
    plate = np.broadcast_to(np.float32(0), (512, 516, 3))
    with pytest.raises(InputError, match="latent tokens"):
        _run(model, array_window({1: np.array(plate)}, {}))


def test_a_size_that_changes_within_a_window_names_the_frame(model: VideoMaMa, array_window: Any) -> None:
    plates = {1: np.zeros((16, 16, 3), np.float32), 2: np.zeros((16, 32, 3), np.float32)}
    with pytest.raises(FrameError) as caught:
        _run(model, array_window(plates, {}))
    assert caught.value.frame == 2


def test_running_an_unloaded_model_is_our_fault_and_says_so(array_window: Any, moving_disc: Any) -> None:
    with pytest.raises(EngineFailed):
        _run(VideoMaMa(), array_window(*moving_disc(1, 16)))


def test_global_torch_settings_come_back_after_a_run(model: VideoMaMa, array_window: Any, moving_disc: Any) -> None:
    import torch

    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    _run(model, array_window(*moving_disc(1, 16)))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


class Parked:
    """A UNet on a device so full that the way back fails ``refusals`` times; it computes only where it belongs."""

    def __init__(self, unet: Any) -> None:
        self.unet, self.config, self.at_home, self.refusals = unet, unet.config, True, 0

    def to(self, place: Any) -> None:
        import torch

        if place == "cpu":
            self.at_home = False
        elif not self.at_home and self.refusals:
            self.refusals -= 1
            raise torch.OutOfMemoryError("no room for the UNet")
        else:
            self.at_home = True

    def __call__(self, *args: Any, **more: Any) -> Any:
        if not self.at_home:
            raise RuntimeError("Expected all tensors to be on the same device")
        return self.unet(*args, **more)


def test_a_unet_that_found_no_way_back_is_fetched_by_the_next_try(
    model: VideoMaMa, array_window: Any, moving_disc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_server.models.videomama.runner import WindowRunner

    runner = model._runner
    assert runner is not None
    unet = Parked(runner._network.unet)
    monkeypatch.setattr(runner, "_network", replace(runner._network, unet=unet))
    monkeypatch.setattr(WindowRunner, "_must_park", lambda *_: True)
    plates, masks = moving_disc(2, 16)
    calm = _run(model, array_window(plates, masks))
    model.forget()
    unet.refusals = 1
    with pytest.raises(OutOfMemory, match="no room for the UNet"):
        _run(model, array_window(plates, masks))
    again = _run(model, array_window(plates, masks))
    assert all(np.array_equal(again[number], calm[number]) for number in calm)


def test_the_unet_makes_way_where_other_models_leave_no_room_for_it_beside_the_decoder(model: VideoMaMa) -> None:
    import torch

    from mattebridge_server.models.base import Canvas
    from mattebridge_server.models.videomama.card import memory_need

    runner = model._runner
    assert runner is not None
    runner._network = replace(runner._network, device=torch.device("cuda"))
    canvas = Canvas(1024, 576)
    kept = memory_need(canvas, 16, "fp32", unet_parked=False)
    assert not runner._must_park(canvas, 16), "no limit is known"
    for room, parks in ((kept, False), (kept - 1, True), (-1, True)):
        runner._room = lambda room=room: room
        assert runner._must_park(canvas, 16) is parks
