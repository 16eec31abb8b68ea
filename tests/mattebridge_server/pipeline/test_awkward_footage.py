"""Whole jobs on plates as renders and scans bring them: cropped to their content, overscan, squeezed, in stereo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from numpy.typing import NDArray

from mattebridge.messages import Warning_
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf
from mattebridge_server.media import ColourHints, Window, read_header, read_plate, write_alpha, write_rgb
from mattebridge_server.models.registry import load_registry
from mattebridge_server.pipeline.check import check_job
from mattebridge_server.site import Site

from .conftest import SmallShot, header

ShotOf = Callable[..., SmallShot]
Float32 = NDArray[np.float32]
GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"
FRAMES = (1001, 1002, 1003)


def noise(window: Window, seed: int) -> Float32:
    """A plate with the left half dark and the right half bright, so that the subject can be told from the rest."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0.1, 0.2, (window.height, window.width, 3))
    pixels[:, window.width // 2 :] += 0.5
    return pixels.astype(np.float32)


def write_plate(shot: SmallShot, frame: int, window: Window, aspect: float = 1.0) -> None:
    like = replace(header(shot.width, shot.height, frame), data_window=window, pixel_aspect=aspect)
    write_rgb(str(shot.path("plate", frame)), noise(window, frame), like=like, frame=frame)


def problems(shot: SmallShot, **fields: str) -> list[str]:
    """What a dry run of the same job says."""
    checked = check_job(1, shot.request(model="edge", **fields), b"", Site(), load_registry())
    return [f"{problem.code} {problem.message}" for problem in checked.problems]


@pytest.mark.parametrize(
    "windows",
    [
        (Window(12, 6, 30, 30), Window(10, 4, 40, 36), Window(14, 8, 26, 28)),
        (Window(-8, -6, 80, 60),) * 3,
        (Window(-4, 10, 40, 60), Window(20, -5, 60, 30), Window(0, 0, 64, 48)),
    ],
    ids=["cropped-to-content", "overscan", "shifting"],
)
@pytest.mark.parametrize("model", ["edge", "identity"])
def test_a_result_has_its_own_plates_data_window(shot_of: ShotOf, windows: tuple[Window, ...], model: str) -> None:
    shot = shot_of(FRAMES)
    for frame, window in zip(FRAMES, windows, strict=True):
        write_plate(shot, frame, window, aspect=2.0)
    assert problems(shot) == []
    done = shot.run(model=model, **({"fgr": str(shot.folder / "out/f.####.exr")} if model == "edge" else {}))
    assert done.written == 3
    for frame, window in zip(FRAMES, windows, strict=True):
        written = read_header(str(shot.folder / f"out/a.{frame}.exr"), frame=frame)
        assert (written.data_window, written.display_window) == (window, Window(0, 0, 64, 48))
        assert written.pixel_aspect == 2.0
        alpha = shot.alpha("out/a.####.exr", frame)
        index = FRAMES.index(frame)
        assert alpha[24 - window.y, 20 + index - window.x] == 1.0, "the middle of the disc lies where it lay"
        if model == "edge":
            straight = read_plate(str(shot.folder / f"out/f.{frame}.exr"), frame=frame)
            solid = alpha == 1
            assert straight.header.data_window == window and solid.any()
            assert np.array_equal(straight.pixels[solid], noise(window, frame)[solid].astype(np.float16))


def test_the_view_that_is_asked_for_is_the_one_that_is_matted(shot_of: ShotOf) -> None:
    shot = shot_of(FRAMES)
    whole = Window(0, 0, 64, 48)
    for frame in FRAMES:
        views = {"left": noise(whole, frame), "right": noise(whole, frame + 100)}
        write_views(shot.path("plate", frame), views)
        for view in views:
            x = 20 if view == "left" else 40
            disc = np.zeros((48, 64), np.float32)
            disc[14:34, x - 10 : x + 10] = 1
            like = header(64, 48, frame)
            write_alpha(str(shot.folder / "mask" / f"{view}.{frame}.exr"), disc, like=like, frame=frame)
    fields = {"mask": str(shot.folder / "mask/%V.####.exr"), "view": "right", "plate_space": "ACEScg"}
    assert problems(shot, **fields, out=str(shot.folder / "out/%V/a.####.exr")) == []
    shot.run("out/%V/a.####.exr", model="edge", fgr=str(shot.folder / "out/%V/f.####.exr"), **fields)
    for frame in FRAMES:
        alpha = shot.alpha("out/right/a.####.exr", frame)
        straight = read_plate(str(shot.folder / f"out/right/f.{frame}.exr"), frame=frame).pixels
        assert alpha[24, 40] == 1 and alpha[24, 20] == 0
        assert np.array_equal(straight[24, 40], noise(whole, frame + 100)[24, 40].astype(np.float16))
    assert not (shot.folder / "out/left").exists()


@pytest.mark.parametrize("size", [(100, 1), (1, 100), (4000, 2)])
def test_a_plate_of_a_few_rows_is_a_plate(shot_of: ShotOf, size: tuple[int, int]) -> None:
    shot = shot_of((1,), width=size[0], height=size[1])
    shot.write_mask(1, size[0] / 2, size[1] / 2, max(size) / 4)
    assert problems(shot) == []
    assert shot.run(model="edge").written == 1


@pytest.mark.parametrize("model", ["edge", pytest.param("videomama", marks=pytest.mark.models)])
@pytest.mark.parametrize(("space", "value"), [("ACEScg", 3e38), ("ACEScg", -3e38), ("ACEScct", 20.0)])
def test_pixels_brighter_than_any_half_are_as_bright_as_a_half_can_be(
    shot_of: ShotOf, monkeypatch: pytest.MonkeyPatch, space: str, value: float, model: str
) -> None:
    """A renderer's stray pixel, or one in linear light among log codes: 20 is more than float32 holds, decoded."""
    monkeypatch.setattr(local, "Shelf", lambda device, _: Shelf(device, (GOLDEN,)))
    shot = shot_of((1,))
    pixels = noise(Window(0, 0, 64, 48), 1)
    pixels[20:22, 8:12] = value
    write_channels(shot.path("plate", 1), dict(zip("RGB", np.moveaxis(pixels, -1, 0), strict=True)), oiio.FLOAT)
    assert shot.run(model=model, plate_space=space, fgr=str(shot.folder / "out/f.####.exr")).written == 1
    alpha = shot.alpha("out/a.####.exr", 1)
    straight = read_plate(str(shot.folder / "out/f.0001.exr"), frame=1).pixels
    assert np.isfinite(straight).all() and 0 < alpha.mean() < 0.6


def test_a_plate_that_disagrees_with_the_first_is_pointed_out(shot_of: ShotOf) -> None:
    shot = shot_of((1, 2))
    window = Window(-8, -6, 80, 60)
    like = replace(header(64, 48, 2), data_window=window, colour=ColourHints(interop_id="lin_rec709_scene"))
    write_rgb(str(shot.path("plate", 2)), noise(window, 2), like=like, frame=2)
    shot.run()
    told = [(event.code, event.frame) for event in shot.events if isinstance(event, Warning_)]
    assert told.count(("PLATE", 2)) == 2


def test_chromaticities_that_change_within_a_shot_are_pointed_out_once(shot_of: ShotOf) -> None:
    ap1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    rec709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    rounded = tuple(number + 1e-6 for number in ap1)
    shot = shot_of(range(1, 6))
    for frame, stated in zip(shot.frames, (ap1, rounded, (), rec709, rec709), strict=True):
        like = replace(header(64, 48, frame), colour=ColourHints("lin_ap1_scene", chromaticities=stated))
        write_rgb(str(shot.path("plate", frame)), noise(like.data_window, frame), like=like, frame=frame)
    shot.run()
    told = [event for event in shot.events if isinstance(event, Warning_) and "chromaticities" in event.message]
    assert [(event.code, event.frame) for event in told] == [("PLATE", 4)]


def test_the_channel_of_garbage_is_chosen_once_for_the_shot(shot_of: ShotOf) -> None:
    """A roto's alpha over black; on the second frame it covers the whole picture."""
    shot = shot_of((1, 2))
    for frame in shot.frames:
        shot.write_mask(frame, 32, 24, 100)
        alpha = np.ones((48, 64), np.float32)
        alpha[24 * frame :] = 0
        write_channels(shot.folder / f"garbage.{frame:04d}.exr", {**dict.fromkeys("RGB", 0 * alpha), "A": alpha})
    shot.run(garbage=str(shot.folder / "garbage.####.exr"))
    assert [shot.alpha("out/a.####.exr", frame)[:24].max() for frame in shot.frames] == [0, 0]


def write_channels(path: Path, planes: dict[str, Float32], kind: str = oiio.HALF) -> None:
    spec = oiio.ImageSpec(64, 48, len(planes), kind)
    spec.channelnames = tuple(planes)
    output = oiio.ImageOutput.create("openexr")
    assert output.open(str(path), spec) and output.write_image(np.dstack(list(planes.values())))
    output.close()


def write_views(path: Path, views: dict[str, Float32]) -> None:
    """A multi-part EXR with one view a part."""
    specs = []
    for view, pixels in views.items():
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "half")
        spec.attribute("view", view)
        spec.attribute("oiio:subimagename", f"rgba.{view}")
        specs.append(spec)
    output = oiio.ImageOutput.create("openexr")
    assert output.open(str(path), tuple(specs)), output.geterror()
    for number, (spec, pixels) in enumerate(zip(specs, views.values(), strict=True)):
        assert number == 0 or output.open(str(path), spec, "AppendSubimage"), output.geterror()
        assert output.write_image(pixels), output.geterror()
    assert output.close()
