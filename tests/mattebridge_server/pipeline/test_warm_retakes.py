"""A warm server remembers frames and windows; a retake that reads the same files otherwise is another picture."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest

from mattebridge.errors import FrameError, OutputExists
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf, parse_device
from mattebridge_server.media import watch_reads
from mattebridge_server.models.base import FrameResult, Window
from mattebridge_server.pipeline.finish import Finished, Finisher
from mattebridge_server.pipeline.keys import FileDigests

from .conftest import SmallShot

ShotOf = Callable[..., SmallShot]
GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"


def write(path: Path, channels: dict[str, Any]) -> None:
    pixels = np.dstack(list(channels.values())).astype(np.float32)
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(channels), oiio.HALF)
    spec.channelnames = tuple(channels)
    spec.attribute("colorInteropID", "lin_ap1_scene")
    output = oiio.ImageOutput.create("openexr")
    assert output.open(str(path), spec) and output.write_image(pixels)
    output.close()


@pytest.fixture
def shot(tmp_path: Path) -> SmallShot:
    """Two objects in R and G of one mask file, two pictures in one plate file."""
    shot = SmallShot(tmp_path / "shot", (1, 2), 128, 64).write()
    rows, columns = np.mgrid[:64, :128]
    for frame in shot.frames:
        discs = [np.hypot(columns - x, rows - 30) < 20 for x in (30, 90)]
        write(shot.path("mask", frame), {"R": discs[0], "G": discs[1], "B": np.zeros((64, 128))})
        noise = np.random.default_rng(frame).uniform(0.05, 0.9, (6, 64, 128))
        write(shot.path("plate", frame), dict(zip(("R", "G", "B", "b.R", "b.G", "b.B"), noise, strict=True)))
    return shot


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job of this test on one shelf, as in a server."""
    shelf = Shelf(parse_device("cpu:0", 2), (GOLDEN,))
    monkeypatch.setattr(shelf, "unload", lambda: None)
    monkeypatch.setattr(local, "Shelf", lambda *_: shelf)


MODELS = ["edge", pytest.param("videomama", marks=pytest.mark.models)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("other", [{"mask_channel": "G"}, {"mask_invert": True}, {"plate_layer": "b"}], ids=str)
def test_the_same_files_read_otherwise_are_matted_again(
    shot: SmallShot, warm: None, monkeypatch: pytest.MonkeyPatch, model: str, other: dict[str, Any]
) -> None:
    fixed: dict[str, Any] = {"model": model, "mask_channel": "R", "frames": "1", "shot": "1-2"}
    if model == "videomama":
        fixed |= {"precision": "fp32", "params": {"roi": False}}
    shot.run("first/a.####.exr", **fixed)
    shot.run("retake/a.####.exr", **{**fixed, **other})
    monkeypatch.setattr(local, "Shelf", lambda device, folders: Shelf(device, (GOLDEN,)))
    shot.run("cold/a.####.exr", **{**fixed, **other})
    first, retake, cold = (shot.alpha(f"{name}/a.####.exr", 1) for name in ("first", "retake", "cold"))
    assert np.array_equal(retake, cold) and not np.array_equal(retake, first)


def test_another_layer_of_the_plate_is_another_key(shot: SmallShot) -> None:
    shot.run(mask_channel="R")
    with pytest.raises(OutputExists):
        shot.run(mask_channel="R", plate_layer="b")
    shot.run(mask_channel="R")
    assert all(shot.kept().values())


class _Still(Window):
    numbers = wanted = (1,)

    def plate(self, number: int) -> Any:
        return np.full((64, 64, 3), 0.3, np.float32)

    def mask(self, number: int) -> Any:
        return np.eye(64, dtype=np.float32)

    def plate_key(self, number: int) -> str:
        return f"plate {number}"

    def mask_key(self, number: int) -> str:
        return f"mask {number}"


@pytest.mark.models
def test_a_model_that_had_to_leave_the_device_still_knows_its_windows() -> None:
    shelf = Shelf(parse_device("cpu:0", 1), (GOLDEN,))
    for _ in range(2):
        model: Any = shelf.get("videomama", "fp32")
        list(model.run(_Still(), {}, lambda _: None))
        shelf.unload()
    assert (model.counters().windows_computed, model.counters().windows_reused) == (1, 1)


def test_a_plate_replaced_under_its_old_date_is_another_plate(tmp_path: Path) -> None:
    path = tmp_path / "plate.exr"
    path.write_bytes(b"before")
    digests, times = FileDigests(), path.stat()
    first = digests.of(path, 1001)
    while path.stat().st_ctime_ns == times.st_ctime_ns:  # a file system's clock may tick a hundred times a second only
        path.write_bytes(b"after!")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digests.of(path, 1001) != first


def test_a_mask_replaced_while_it_is_read_is_no_part_of_a_result(shot_of: ShotOf) -> None:
    shot = shot_of(range(1001, 1004))
    mask = str(shot.path("mask", 1002))

    def replace(path: str, frame: int, begun: bool) -> None:
        if path == mask and begun and threading.current_thread().name.startswith("read"):  # its digest is taken
            watch_reads(None)
            shot.write_mask(frame, 40, 24, 5)

    watch_reads(replace)
    try:
        with pytest.raises(FrameError, match="changed while the job read it") as caught:
            shot.run()
    finally:
        watch_reads(None)
    assert (caught.value.frame, caught.value.file) == (1002, mask)
    shot.run()
    assert shot.alpha("out/a.####.exr", 1002).sum() < 100, "the small disc"


def test_a_mask_replaced_after_it_was_read_makes_its_result_stale(
    shot_of: ShotOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = shot_of(range(1001, 1004))
    finish = Finisher.finish

    def late(self: Finisher, result: FrameResult) -> Finished:
        finished = finish(self, result)
        if result.number == 1002:
            shot.write_mask(1002, 40, 24, 5)
        return finished

    with monkeypatch.context() as patched:
        patched.setattr(Finisher, "finish", late)
        shot.run()
    with pytest.raises(OutputExists, match="1 of 3 results exist already and were made with other inputs"):
        shot.run()
