"""When memory runs out in spite of the figures: the window again, then the whole shot smaller, each step told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from mattebridge.errors import OutOfMemory, OutputExists
from mattebridge.messages import Done, FrameDone, Warning_
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf, parse_device
from mattebridge_server.engine.wire import RunJob
from mattebridge_server.models.base import (
    Canvas,
    Checkpoint,
    FrameResult,
    LoadSpec,
    Model,
    ModelCard,
    ParamValue,
    Preset,
    Window,
)
from mattebridge_server.models.identity import Identity
from mattebridge_server.models.registry import Registry, load_registry

from .conftest import SmallShot

ShotOf = Callable[..., SmallShot]


class Hungry(Model):
    """Gives the mask back, and runs out of memory on canvases above ``most_pixels``, or ``stumbles`` times."""

    card: ClassVar[ModelCard] = ModelCard(
        name="hungry",
        title="Hungry",
        summary="",
        licence="MIT",
        temporal="window",
        plate_state="display",
        version="1",
        window=3,
        stride=2,
        presets=(Preset("small", 64 * 64, 1), Preset("medium", 128 * 128, 1), Preset("large", 192 * 192, 1)),
        preflight=False,
    )
    most_pixels: ClassVar[int] = 10**9
    stumbles: ClassVar[int] = 0
    forgotten: ClassVar[int] = 0
    fails_at: ClassVar[int] = 0

    def forget(self) -> None:
        type(self).forgotten += 1

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        for number in window.wanted:
            checkpoint("hungry")
            mask = window.mask(number)
            assert mask is not None
            if mask.size > self.most_pixels:
                raise OutOfMemory(f"a canvas of {mask.shape[1]}x{mask.shape[0]} is too much")
            if number == self.fails_at and mask.size > 128 * 128:
                raise OutOfMemory("late in the shot")
            if self.stumbles and number == window.numbers[1]:
                type(self).stumbles -= 1
                raise OutOfMemory("somebody else took the memory")
            yield FrameResult(number, mask)


@pytest.fixture
def hungry(monkeypatch: pytest.MonkeyPatch) -> type[Hungry]:
    registry = Registry({**load_registry().classes, "hungry": Hungry}, {})
    monkeypatch.setattr(local, "Shelf", lambda device, folders: Shelf(device, folders, registry))
    Hungry.most_pixels, Hungry.stumbles, Hungry.forgotten, Hungry.fails_at = 10**9, 0, 0, 0
    return Hungry


@pytest.fixture
def shot(shot_of: ShotOf) -> SmallShot:
    return shot_of(range(1, 6), width=160, height=160)


def run(shot: SmallShot, out: str = "out/a.####.exr", plan: bytes = b"", **fields: Any) -> Done:
    return shot.run(out, plan, model="hungry", params={"roi": False}, **fields)


def told(shot: SmallShot) -> list[str]:
    return [event.code for event in shot.events if isinstance(event, Warning_) and event.code not in ("PLAN", "MASK")]


def test_a_window_is_tried_again_with_the_caches_empty(shot: SmallShot, hungry: type[Hungry]) -> None:
    run(shot, "calm/a.####.exr")
    assert told(shot) == [] and hungry.forgotten == 0
    hungry.stumbles = 1
    assert run(shot).written == 5
    assert told(shot) == ["CACHES_FREED"] and hungry.forgotten == 1
    for frame in shot.frames:
        assert np.array_equal(shot.alpha("out/a.####.exr", frame), shot.alpha("calm/a.####.exr", frame))


def test_what_still_does_not_fit_runs_at_a_smaller_canvas_for_the_whole_shot(
    shot: SmallShot, hungry: type[Hungry]
) -> None:
    hungry.most_pixels = 64 * 64
    done = run(shot, preset="large", fallback=True)
    assert done.written == 5 and done.facts["canvas"] == "64x64"
    assert told(shot) == ["CACHES_FREED", "SMALLER_CANVAS"] * 2, "large, medium, small"
    last = [e.message for e in shot.events if isinstance(e, Warning_) and e.code == "SMALLER_CANVAS"][-1]
    assert "is too much" in last and "preset small" in last
    assert {event.frame for event in shot.events if isinstance(event, FrameDone)} == set(shot.frames)


def test_frames_that_were_sent_are_not_followed_by_frames_of_another_canvas(
    shot: SmallShot, hungry: type[Hungry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that travel through the socket are given once; a second round could not replace them."""
    monkeypatch.setattr(local, "RunJob", lambda **fields: RunJob(spool=str(shot.folder), **fields))
    hungry.fails_at = 3
    with pytest.raises(OutOfMemory, match="late") as refused:
        run(shot, preset="large", fallback=True)
    assert "--preset medium" in refused.value.remedy and "SMALLER_CANVAS" not in told(shot)
    hungry.fails_at = 1
    assert run(shot, out="early/a.####.exr", preset="large", fallback=True).written == 5, "nothing was sent yet"


@pytest.mark.parametrize("fallback", [False, True])
def test_without_leave_or_under_a_plan_it_fails_and_says_why(
    shot: SmallShot, hungry: type[Hungry], fallback: bool
) -> None:
    plan = str(run(shot, kind="plan", preset="large").facts["plan"]).encode() if fallback else b""
    hungry.most_pixels = 64 * 64
    with pytest.raises(OutOfMemory, match="too much"):
        run(shot, plan=plan, preset="large", fallback=fallback)
    assert told(shot) == ["CACHES_FREED"]


@pytest.mark.parametrize("out", ["out/a_{version}.####.exr", "out/{version}/a.####.exr"])
def test_a_smaller_canvas_goes_to_the_version_of_its_job_and_never_over_an_earlier_one(
    shot: SmallShot, hungry: type[Hungry], out: str
) -> None:
    run(shot, out, preset="large")
    first = {frame: shot.result(out, 1, frame).read_bytes() for frame in shot.frames}
    for frame in shot.frames:
        shot.write_mask(frame, 40, 30, 20)
    hungry.most_pixels = 64 * 64
    assert run(shot, out, preset="large", fallback=True).facts["version"] == 2
    assert {frame: shot.result(out, 1, frame).read_bytes() for frame in shot.frames} == first


def test_memory_that_runs_out_before_the_first_window_is_no_leave_to_overwrite(
    shot: SmallShot, hungry: type[Hungry], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(shot, preset="large")
    for frame in shot.frames:
        shot.write_mask(frame, 40, 30, 20)
    left = [OutOfMemory("loading ran out of memory")]

    def load(model: Hungry, spec: LoadSpec) -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(hungry, "load", load)
    with pytest.raises(OutputExists):
        run(shot, preset="large", fallback=True)
    assert told(shot) == ["SMALLER_CANVAS"]


def test_frames_that_a_larger_canvas_wrote_are_replaced(shot: SmallShot, hungry: type[Hungry]) -> None:
    hungry.most_pixels, hungry.fails_at = 10**9, 4
    done = run(shot, preset="large", fallback=True)
    assert done.written == 5 and done.facts["canvas"] != "192x192"


def test_a_job_that_was_interrupted_on_a_smaller_canvas_goes_on_where_it_was(
    shot: SmallShot, hungry: type[Hungry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's job came between, or the engine died; the next attempt tries the larger canvas first."""
    run(shot, preset="medium")
    before = {event.frame: event.digest for event in shot.events if isinstance(event, FrameDone) and event.frame < 3}
    for frame in (3, 4, 5):
        shot.result("out/a.####.exr", 1, frame).unlink()
    hungry.most_pixels = 128 * 128
    for keys in ({}, {**before, 2: "the key of another job"}):
        monkeypatch.setattr(local, "RunJob", lambda keys=keys, **fields: RunJob(written=keys, **fields))
        with pytest.raises(OutputExists):
            run(shot, preset="large", fallback=True)
    monkeypatch.setattr(local, "RunJob", lambda **fields: RunJob(written=before, **fields))
    done = run(shot, preset="large", fallback=True)
    assert (done.written, done.kept, done.facts["canvas"]) == (3, 2, "128x128")


class Tracker(Model):
    """A mask of ones on every frame, in as much memory as `Hungry` runs in."""

    card: ClassVar[ModelCard] = ModelCard(
        name="tracker", title="", summary="", licence="MIT", temporal="shot", plate_state="linear", version="1"
    )

    def memory_need(self, canvas: Canvas, frames: int, precision: str) -> int:
        del canvas, frames, precision
        return 5

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        for number in window.wanted:
            yield FrameResult(number, np.ones(window.plate(number).shape[:2], np.float32))


def test_while_masks_are_tracked_the_model_that_waits_for_them_lends_its_room(
    shot: SmallShot, hungry: type[Hungry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hungry, "memory_need", lambda _, canvas, frames, precision: 7 if canvas.pixels > 64 * 64 else 3, raising=True
    )
    registry = Registry({**load_registry().classes, "hungry": hungry, "tracker": Tracker}, {})
    shelf = Shelf(parse_device("cpu:0", 2), (), registry, budget_bytes=10)
    monkeypatch.setattr(local, "Shelf", lambda *_: shelf)
    shot.path("mask", 3).unlink()
    assert run(shot, frames="1-5", fill="tracker", preset="large").written == 5
    assert shot.alpha("out/a.####.exr", 3).min() > 0.9
    assert shelf.used_bytes <= 10


class Greedy(Hungry):
    """`Hungry` under the name of a helper; it stumbles at its first frame."""

    def run(self, window: Window, params: Mapping[str, ParamValue], checkpoint: Checkpoint) -> Iterator[FrameResult]:
        for number in window.wanted:
            if self.stumbles:
                type(self).stumbles -= 1
                raise OutOfMemory(f"{self.card.name} ran out of memory")
            empty = np.zeros(window.plate(number).shape[:2], np.float32)
            yield FrameResult(number, empty, foreground=window.plate(number))


class Filling(Greedy):
    card: ClassVar[ModelCard] = replace(Tracker.card, name="lama", temporal="frame", outputs=("clean_plate",))


class Following(Greedy):
    card: ClassVar[ModelCard] = replace(Tracker.card, name="tracker")


@pytest.mark.parametrize("helper", [Filling, Following], ids=["filler", "tracker"])
def test_a_helper_that_runs_out_is_tried_again_with_room_made_and_no_smaller_canvas(
    shot: SmallShot, hungry: type[Hungry], monkeypatch: pytest.MonkeyPatch, helper: type[Greedy]
) -> None:
    registry = Registry(
        {**load_registry().classes, "hungry": hungry, "lama": Filling, "tracker": Following, "idle": Identity}, {}
    )
    shelf = Shelf(parse_device("cpu:0", 2), (), registry)
    monkeypatch.setattr(local, "Shelf", lambda *_: shelf)
    asked: dict[str, Any] = {"preset": "large", "fallback": True}
    if helper is Filling:
        asked["cleanplate"] = str(shot.folder / "out/clean.####.exr")
    else:
        shot.path("mask", 3).unlink()
        asked |= {"fill": "tracker", "frames": "1-5"}
    shelf.get("idle")
    helper.stumbles = 1
    done = run(shot, **asked)
    assert done.written == 5 and done.facts["canvas"] == "192x192"
    assert [code for code in told(shot) if code != "TRACKED"] == ["CACHES_FREED"]
    assert "idle" not in shelf.loaded and hungry.forgotten == 1
    helper.stumbles = 10**9
    with pytest.raises(OutOfMemory, match=f"{helper.card.name} ran out") as refused:
        run(shot, "again/a.####.exr", **asked)
    assert "SMALLER_CANVAS" not in told(shot) and "jobs of their own" in refused.value.remedy


def test_a_load_that_runs_out_is_tried_again_once_idle_models_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [OutOfMemory("loading ran out of memory")]

    def load(model: Tracker, spec: LoadSpec) -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(Tracker, "load", load)
    shelf = Shelf(parse_device("cpu:0", 2), (), Registry({"tracker": Tracker, "identity": Identity}, {}))
    shelf.get("identity")
    shelf.get("tracker")
    assert shelf.loaded == ("tracker",)
    left.append(OutOfMemory("loading ran out of memory"))
    shelf.unload()
    with pytest.raises(OutOfMemory):
        shelf.get("tracker")
