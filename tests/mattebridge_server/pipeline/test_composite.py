"""The composite and the clean plate: where the background lies, in which light they are mixed, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import PyOpenColorIO as OCIO
import pytest

from mattebridge.errors import MatteBridgeError, MissingFrames, UsageError
from mattebridge.messages import Warning_
from mattebridge_server.media import ColourHints, Window, read_plate, write_alpha, write_rgb
from mattebridge_server.models.registry import load_registry
from mattebridge_server.pipeline.check import check_job
from mattebridge_server.site import Site

from .conftest import SmallShot, header

ShotOf = Callable[..., SmallShot]


@pytest.mark.parametrize("x", [-10, 0, 50])
def test_a_background_lies_where_its_display_window_says(shot_of: ShotOf, x: int) -> None:
    shot = shot_of((1,))
    window = Window(x, 0, 64 - max(x, 0), 48)
    bright = np.arange(window.width) + x >= 50
    sky = np.broadcast_to(bright[None, :, None], (48, window.width, 3)).astype(np.float32)
    path = shot.folder / "sky.exr"
    write_rgb(str(path), sky, like=replace(header(64, 48, 1), data_window=window), frame=1)
    shot.run(comp_over=str(path), comp=str(shot.folder / "out/c.####.exr"))
    comp = read_plate(str(shot.folder / "out/c.0001.exr"), frame=1).pixels
    assert (comp[2, 50:54] == 1).all() and (comp[2, 40:50] == 0).all()


def test_a_plate_with_overscan_takes_a_background_without(shot_of: ShotOf) -> None:
    shot = shot_of((1,))
    like = replace(header(64, 48, 1), data_window=Window(-8, -6, 80, 60))
    write_rgb(str(shot.path("plate", 1)), np.full((60, 80, 3), 0.3, np.float32), like=like, frame=1)
    path = shot.folder / "sky.exr"
    write_rgb(str(path), np.ones((48, 64, 3), np.float32), like=header(64, 48, 1), frame=1)
    shot.run(comp_over=str(path), comp=str(shot.folder / "out/c.####.exr"))
    comp = read_plate(str(shot.folder / "out/c.0001.exr"), frame=1).pixels
    assert (comp[6, 8:72] == 1).all() and (comp[:6] == 0).all()


def test_a_composite_of_log_plates_is_mixed_in_light(shot_of: ShotOf) -> None:
    shot = shot_of((1,))
    config = OCIO.Config.CreateFromFile("ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    to_log = config.getProcessor("ACEScg", "ACEScct").getDefaultCPUProcessor()
    to_light = config.getProcessor("ACEScct", "ACEScg").getDefaultCPUProcessor()
    like = replace(header(64, 48, 1), colour=ColourHints())
    sky = shot.folder / "sky.exr"
    for path, light in ((shot.path("plate", 1), 0.9), (sky, 0.01)):
        write_rgb(str(path), np.full((48, 64, 3), to_log.applyRGB([light] * 3)[0], np.float32), like=like, frame=1)
    write_alpha(str(shot.path("mask", 1)), np.full((48, 64), 0.5, np.float32), like=like, frame=1)
    shot.run(comp_over=str(sky), comp=str(shot.folder / "out/c.####.exr"), plate_space="ACEScct")
    comp = read_plate(str(shot.folder / "out/c.0001.exr"), frame=1).pixels
    assert to_light.applyRGB([float(comp[24, 32, 0])] * 3)[0] == pytest.approx(0.455, abs=0.01)


@pytest.mark.parametrize("red", [None, "lin_rec709_scene", "lin_ap1_scene"])
def test_a_background_that_states_another_space_is_converted(shot_of: ShotOf, red: str | None) -> None:
    shot = shot_of((1,))
    sky = shot.folder / "sky.exr"
    like = replace(header(64, 48, 1), colour=ColourHints(interop_id=red or ""))
    write_rgb(str(sky), np.broadcast_to(np.float32([1, 0, 0]), (48, 64, 3)).copy(), like=like, frame=1)
    shot.run(comp_over=str(sky), comp=str(shot.folder / "out/c.####.exr"))
    comp = read_plate(str(shot.folder / "out/c.0001.exr"), frame=1).pixels
    expected = [0.613, 0.070, 0.021] if red == "lin_rec709_scene" else [1, 0, 0]
    assert comp[0, 0] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("whose", ["another's", "the plate's"])
def test_a_background_whose_chromaticities_are_not_the_plates_is_pointed_out(shot_of: ShotOf, whose: str) -> None:
    rec709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    ap1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    shot = shot_of((1,))
    sky = shot.folder / "sky.exr"
    other = whose == "another's"
    like = replace(header(64, 48, 1), colour=ColourHints(chromaticities=rec709 if other else ap1))
    write_rgb(str(sky), np.zeros((48, 64, 3), np.float32), like=like, frame=1)
    shot.run(comp_over=str(sky), comp=str(shot.folder / "out/c.####.exr"))
    told = [event.message for event in shot.events if isinstance(event, Warning_) and "background" in event.message]
    assert len(told) == other, told


def test_a_background_of_log_codes_brighter_than_float_holds_is_bounded(shot_of: ShotOf) -> None:
    shot = shot_of((1,))
    sky = shot.folder / "sky.exr"
    like = replace(header(64, 48, 1), colour=ColourHints(interop_id="acescct_ap1_scene"))
    write_rgb(str(sky), np.full((48, 64, 3), 20.0, np.float32), like=like, frame=1)
    shot.run(comp_over=str(sky), comp=str(shot.folder / "out/c.####.exr"))
    assert (read_plate(str(shot.folder / "out/c.0001.exr"), frame=1).pixels[0, 0] == 65504).all()


def test_a_composite_without_background_is_refused_before_the_first_frame(shot_of: ShotOf) -> None:
    shot = shot_of((1, 2))
    comp = str(shot.folder / "out/c.####.exr")
    refusals: list[tuple[dict[str, str], type[MatteBridgeError]]] = [
        ({}, UsageError),
        ({"comp_over": str(shot.folder / "none.####.exr")}, MissingFrames),
    ]
    for fields, error in refusals:
        with pytest.raises(error, match="background"):
            shot.run(comp=comp, **fields)
    assert not (shot.folder / "out").exists()


@pytest.mark.parametrize(
    ("size", "states", "code"),
    [((32, 48), "", "BAD_FRAME"), ((64, 48), "nonsense_scene", "COLOUR_SPACE_UNKNOWN")],
    ids=["another format", "a space that the config lacks"],
)
def test_a_background_that_does_not_fit_is_told_at_check_and_before_the_first_frame(
    shot_of: ShotOf, size: tuple[int, int], states: str, code: str
) -> None:
    shot = shot_of((1, 2))
    width, height = size
    sky = shot.folder / "sky.exr"
    like = replace(header(width, height, 1), colour=ColourHints(interop_id=states))
    write_rgb(str(sky), np.zeros((height, width, 3), np.float32), like=like, frame=1)
    request = shot.request(comp_over=str(sky), comp=str(shot.folder / "out/c.####.exr"))
    (problem,) = check_job(1, request, b"", Site(), load_registry()).problems
    assert (problem.code, problem.file) == (code, str(sky))
    assert problem.remedy
    with pytest.raises(MatteBridgeError) as refused:
        shot.run(comp_over=request.comp_over, comp=request.comp)
    assert refused.value.code == code
    assert not (shot.folder / "out").exists()
