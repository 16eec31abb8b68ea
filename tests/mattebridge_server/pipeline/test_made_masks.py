"""Masks that a job makes itself, next to masks and prompts of every kind that a user may have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenImageIO as oiio
import pytest

from mattebridge.errors import UsageError
from mattebridge.messages import Done, PromptInfo
from mattebridge_server.media import write_alpha
from mattebridge_server.pipeline.tracking import track_folder

from .conftest import SmallShot, header
from .test_mission import lama_folder, point, run  # noqa: F401 - fixtures

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]
Run = Callable[..., tuple[SmallShot, Done]]
PLAIN: dict[str, Any] = {"model": "identity", "precision": "", "frames": "1-3", "shot": "1-3"}


def channels(path: Path) -> dict[str, Any]:
    image = oiio.ImageBuf(str(path))
    return dict(zip(image.spec().channelnames, np.moveaxis(image.get_pixels(oiio.FLOAT), -1, 0), strict=True))


@pytest.mark.parametrize("kind", ["inverted", "red", "grey"])
def test_filled_masks_mean_the_same_however_the_given_ones_are_stored(
    run: Run,  # noqa: F811
    tmp_path: Path,
    kind: str,
) -> None:
    shot = SmallShot(tmp_path / "shot", (1, 2, 3), 128, 96)
    shot.path("mask", 2).unlink()
    run("plain/a.####.exr", **PLAIN, fill="sam2")
    for frame in (1, 3):
        given = channels(shot.path("mask", frame))["A"]
        path = shot.folder / f"{kind}.{frame:04d}.{'png' if kind == 'grey' else 'exr'}"
        if kind == "grey":
            cv2.imwrite(str(path), (given * 255).astype(np.uint8))
        elif kind == "inverted":
            write_alpha(str(path), 1 - given, like=header(128, 96, frame), frame=frame)
        else:
            image = oiio.ImageBuf(oiio.ImageSpec(128, 96, 4, oiio.HALF))
            image.set_pixels(oiio.ROI(), np.dstack([given] * 3 + [np.ones_like(given)]).astype(np.float32))
            assert image.write(str(path))
    masks = str(shot.folder / f"{kind}.####.{'png' if kind == 'grey' else 'exr'}")
    run(f"{kind}/a.####.exr", **PLAIN, fill="sam2", mask=masks, mask_invert=kind == "inverted")
    for frame in (1, 2, 3):
        assert np.array_equal(shot.alpha(f"{kind}/a.####.exr", frame), shot.alpha("plain/a.####.exr", frame)), frame


@pytest.mark.parametrize("model", ["identity", "sam2"])
def test_an_object_without_a_name_counts_next_to_named_ones(run: Run, model: str) -> None:  # noqa: F811
    prompts = [point("A", 0.2, 0.25), point("hero", 0.8, 0.7)]
    shot, _ = run(**{**PLAIN, "model": model}, mask="", prompts=tuple(prompts))
    both = channels(shot.folder / "out/a.0002.exr")
    run("one/a.####.exr", **{**PLAIN, "model": model}, mask="", prompts=(prompts[0],))
    alone = channels(shot.folder / "one/a.0002.exr")["A"]
    assert set(both) == {"A", "matte_hero.A"}
    assert np.array_equal(both["A"], np.maximum(alone, both["matte_hero.A"]))


BAD = {
    "outside the shot": PromptInfo(99, "A", points=(0.2, 0.2, 1.0)),
    "numbers": PromptInfo(1, "A", points=(0.2, 0.2)),
    "outside the picture": PromptInfo(1, "A", points=(960.0, 540.0, 1.0)),
    "an area": PromptInfo(1, "A", box=(0.2, 0.2, 0.2, 0.5)),
    "name an object": PromptInfo(1, "my hero", points=(0.2, 0.2, 1.0)),
    "cannot name": PromptInfo(1, "x" * 250, points=(0.2, 0.2, 1.0)),
}


def test_objects_that_would_share_a_channel_are_refused_before_anything_is_tracked(run: Run, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="'hero' and 'matte_hero'"):
        run(**PLAIN, mask="", prompts=(point("hero", 0.2, 0.2), point("matte_hero", 0.8, 0.7)))
    run(**PLAIN, mask="", prompts=(point("A", 0.2, 0.2), point("matte_A", 0.8, 0.7)))
    assert set(channels(tmp_path / "shot/out/a.0002.exr")) == {"A", "matte_A.A"}


def test_a_prompt_on_a_frame_with_a_mask_corrects_that_mask_too(run: Run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "shot/mask/mask.0003.exr").unlink()
    prompts = (point("A", 0.7, 0.7, frame=2),)
    shot, _ = run("track/a.####.exr", **{**PLAIN, "model": "sam2"}, prompts=prompts)
    run(**PLAIN, prompts=prompts)
    assert any(getattr(event, "code", "") == "TRACKED" and "2-3" in event.message for event in shot.events)
    for frame in (1, 2, 3):
        assert np.array_equal(shot.alpha("out/a.####.exr", frame), shot.alpha("track/a.####.exr", frame)), frame


@pytest.mark.parametrize("what", BAD)
def test_a_prompt_that_makes_no_sense_says_why(run: Run, what: str) -> None:  # noqa: F811
    with pytest.raises(UsageError, match=what):
        run(**PLAIN, mask="", prompts=(BAD[what],))


def test_only_a_tracker_makes_masks(run: Run) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="lama cannot make masks"):
        run(**PLAIN, mask="", prompts=(point("A", 0.2, 0.2),), fill="lama")


def test_masks_of_one_object_do_not_mix_with_named_ones(run: Run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "shot/mask/mask.0001.exr").unlink()
    with pytest.raises(UsageError, match="named objects"):
        run(**PLAIN, prompts=(point("hero", 0.2, 0.2),))


def test_masks_that_a_killed_process_left_are_removed_and_those_of_a_living_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os; from mattebridge_server.pipeline.tracking import track_folder;"
        "(track_folder() / 'mask.1.exr').touch(); os._exit(9)"
    )
    folders = {"TMPDIR": str(tmp_path), "TEMP": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, **folders}, check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    first = track_folder()
    assert list(tmp_path.iterdir()) == [first]
    assert {first, track_folder()} == set(tmp_path.iterdir())
