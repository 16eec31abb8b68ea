from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from mattebridge.errors import FrameError, MatteBridgeError, MissingFrames, OutputFailed, UsageError
from mattebridge_server.media import FrameHeader, Window, write_alpha, write_rgb
from mattebridge_server.metrics.evaluate import evaluate, main


def like(width: int = 20, height: int = 10) -> FrameHeader:
    return FrameHeader("", 1, "openexr", Window(0, 0, width, height), Window(0, 0, width, height))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Truth: left half solid. Alpha: the same on frame 1, a quarter off in one column of 10 pixels on frame 2."""
    for frame in (1, 2):
        truth = np.zeros((10, 20), np.float32)
        truth[:, :10] = 1
        alpha = truth.copy()
        if frame == 2:
            alpha[:, 10] = 0.25
        write_alpha(str(tmp_path / f"t.{frame}.exr"), truth, like=like(), frame=frame)
        write_alpha(str(tmp_path / f"a.{frame}.exr"), alpha, like=like(), frame=frame)
    return str(tmp_path / "a.#.exr"), str(tmp_path / "t.#.exr")


def options(pair: tuple[str, str], **other: object) -> argparse.Namespace:
    plain = {
        "frames": "",
        "fgr": "",
        "truth_fgr": "",
        "view": "",
        "channel": "",
        "truth_channel": "",
        "json": False,
        "csv": "",
    }
    return argparse.Namespace(alpha=pair[0], truth=pair[1], **{**plain, **other})


def test_figures_are_those_of_the_hand(pair: tuple[str, str]) -> None:
    result = evaluate(*pair)
    first, second = (row.values for row in result.frames)
    assert first["mad"] == first["sad"] == first["dtssd"] == 0
    assert second["mad"] == pytest.approx(10 * 0.25 / 200 * 1e3)
    assert second["mse"] == pytest.approx(10 * 0.25**2 / 200 * 1e3)
    assert second["sad"] == pytest.approx(2.5 / 1e3)
    assert second["dtssd"] == pytest.approx(np.sqrt(10 * 0.25**2 / 200) * 1e2)
    assert result.mean["mad"] == pytest.approx(second["mad"] / 2)


def test_each_frame_flickers_against_the_one_before_it(tmp_path: Path) -> None:
    for frame, value in ((1, 0.5), (2, 0.75), (3, 0.75)):
        for name, pixel in (("a", value), ("t", 0.5)):
            write_alpha(str(tmp_path / f"{name}.{frame}.exr"), np.full((4, 4), pixel), like=like(4, 4), frame=frame)
    rows = evaluate(str(tmp_path / "a.#.exr"), str(tmp_path / "t.#.exr")).frames
    assert [row.values["dtssd"] for row in rows] == pytest.approx([0.0, 25.0, 0.0])


def test_json_and_csv_carry_the_same_figures(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(pair, json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(options(pair, csv="-")) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["frame"] for row in rows] == ["1", "2", "mean"]
    assert float(rows[1]["mad"]) == pytest.approx(told["frames"][1]["mad"], abs=1e-6)
    assert main(options(pair)) == 0
    assert "mean" in capsys.readouterr().out


def test_foreground_counts_only_where_there_is_truth(pair: tuple[str, str], tmp_path: Path) -> None:
    for frame in (1, 2):
        colour = np.full((10, 20, 3), 0.5, np.float32)
        write_rgb(str(tmp_path / f"ft.{frame}.exr"), colour, like=like(), frame=frame)
        colour[:, 10:] = 9
        colour[:, :5] += 0.25
        write_rgb(str(tmp_path / f"f.{frame}.exr"), colour, like=like(), frame=frame)
    result = evaluate(*pair, "", str(tmp_path / "f.#.exr"), str(tmp_path / "ft.#.exr"))
    assert result.mean["fgr_mad"] == pytest.approx(0.125 * 1e3), "also where there is alpha and no truth"


def test_a_view_is_scored_by_itself(tmp_path: Path) -> None:
    names = [f"{side}{channel}" for side in ("", "right.") for channel in ("R", "G", "B")]
    for name, right in (("a", 0.25), ("t", 1.0)):
        pixels = np.ones((10, 20, 6), np.float32)
        pixels[..., 3:] = right
        spec = oiio.ImageSpec(20, 10, 6, "half")
        spec.channelnames = tuple(names)
        spec.attribute("multiView", oiio.TypeDesc("string[2]"), ("left", "right"))
        output = oiio.ImageOutput.create("openexr")
        assert output.open(str(tmp_path / f"{name}.1.exr"), spec) and output.write_image(pixels) and output.close()
    made, true = str(tmp_path / "a.#.exr"), str(tmp_path / "t.#.exr")
    assert evaluate(made, true, view="left").mean["mad"] == 0
    both = evaluate(made, true, "", made, true, view="right")
    assert both.mean["mad"] == both.mean["fgr_mad"] == pytest.approx(750)


def test_a_view_with_files_of_its_own_is_scored_on_the_frames_that_it_has(tmp_path: Path) -> None:
    for view, frame, value in (("left", 1, 1.0), ("right", 1, 1.0), ("right", 2, 0.5)):
        for name, pixel in (("a", value), ("t", 1.0)):
            path = str(tmp_path / f"{name}_{view}.{frame}.exr")
            write_alpha(path, np.full((4, 4), pixel, np.float32), like=like(4, 4), frame=frame)
    made, true = str(tmp_path / "a_%V.#.exr"), str(tmp_path / "t_%V.#.exr")
    found = {view: [row.values["mad"] for row in evaluate(made, true, view=view).frames] for view in ("left", "right")}
    assert found == {"left": [0], "right": [0, 500]}


def test_what_cannot_be_scored_is_named(pair: tuple[str, str], tmp_path: Path) -> None:
    write_alpha(str(tmp_path / "a.2.exr"), np.zeros((10, 8), np.float32), like=like(8, 10), frame=2)
    with pytest.raises(FrameError, match="8x10") as refused:
        evaluate(*pair)
    assert refused.value.frame == 2
    with pytest.raises(MissingFrames):
        evaluate(pair[0], str(tmp_path / "none.#.exr"))
    (tmp_path / "a.2.exr").unlink()
    with pytest.raises(MissingFrames, match=r"a\.2\.exr"):
        evaluate(*pair)
    assert [row.frame for row in evaluate(*pair, frames="1").frames] == [1]


def test_a_foreground_of_another_size_or_without_its_truth_is_named(pair: tuple[str, str], tmp_path: Path) -> None:
    write_rgb(str(tmp_path / "f.1.exr"), np.zeros((10, 8, 3), np.float32), like=like(8, 10), frame=1)
    colour = str(tmp_path / "f.#.exr")
    with pytest.raises(UsageError, match="truth"):
        evaluate(*pair, fgr=colour)
    with pytest.raises(UsageError, match="truth"):
        evaluate(*pair, truth_fgr=colour)
    with pytest.raises(FrameError, match="8x10") as refused:
        evaluate(*pair, "1", colour, colour)
    assert refused.value.file.endswith("f.1.exr")


def test_json_on_the_terminal_and_csv_in_a_file_come_from_one_run(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(pair, json=True, csv=str(tmp_path / "s.csv"))) == 0
    mean = json.loads(capsys.readouterr().out)["mean"]
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        assert float(list(csv.DictReader(file))[-1]["sad"]) == pytest.approx(mean["sad"], abs=1e-6)
    with pytest.raises(UsageError, match="both"):
        main(options(pair, json=True, csv="-"))
    with pytest.raises(OutputFailed):
        main(options(pair, csv=str(tmp_path / "none/s.csv")))


def test_one_still_is_scored_without_a_frame_number(tmp_path: Path) -> None:
    for name, value in (("made", 0.5), ("true", 1.0)):
        write_alpha(str(tmp_path / f"{name}.exr"), np.full((4, 4), value, np.float32), like=like(4, 4), frame=1)
    result = evaluate(str(tmp_path / "made.exr"), str(tmp_path / "true.exr"))
    assert result.mean["mad"] == pytest.approx(500)


def stored(path: Path, pixels: np.ndarray, names: str, data: tuple[int, int] = (0, 0)) -> None:
    """A file that stores ``pixels`` at ``data`` in a display window of 40x30."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(names), "half")
    spec.channelnames = tuple(names)
    spec.x, spec.y, spec.full_width, spec.full_height = *data, 40, 30
    output = oiio.ImageOutput.create("openexr")
    assert output.open(str(path), spec) and output.write_image(np.ascontiguousarray(pixels)) and output.close()


def test_what_is_stored_is_scored_where_it_lies_in_the_picture(tmp_path: Path) -> None:
    solid = np.ones((10, 20, 1), np.float32)
    whole = np.zeros((30, 40, 1), np.float32)
    whole[5:15, 8:28] = 1
    stored(tmp_path / "cropped.1.exr", solid, "A", (8, 5))
    stored(tmp_path / "whole.1.exr", whole, "A")
    stored(tmp_path / "elsewhere.1.exr", solid, "A", (8, 20))
    made, true, elsewhere = (str(tmp_path / f"{name}.#.exr") for name in ("cropped", "whole", "elsewhere"))
    assert evaluate(made, true).mean["mad"] == evaluate(true, made).mean["mad"] == 0
    assert evaluate(elsewhere, made).mean["mad"] == pytest.approx(400 / 1200 * 1e3)
    for name, at in (("f", (8, 5)), ("ft", (7, 5))):
        stored(tmp_path / f"{name}.1.exr", np.full((10, 22, 3), 0.5, np.float32), "RGB", at)
    assert evaluate(made, true, "", str(tmp_path / "f.#.exr"), str(tmp_path / "ft.#.exr")).mean["fgr_mad"] == 0


def test_a_subject_that_fills_one_frame_does_not_change_the_channel(tmp_path: Path) -> None:
    for frame, edge in ((1, 20), (2, 40), (3, 20)):
        alpha = np.zeros((30, 40, 1), np.float32)
        alpha[:, :edge] = 1
        stored(tmp_path / f"a.{frame}.exr", alpha, "A")
        stored(tmp_path / f"rgba.{frame}.exr", np.concatenate([alpha * 0.2] * 3 + [alpha], axis=2), "RGBA")
    assert evaluate(str(tmp_path / "a.#.exr"), str(tmp_path / "rgba.#.exr")).mean["mad"] == 0


def test_one_of_several_objects_is_scored_by_its_channel(tmp_path: Path) -> None:
    hero = np.zeros((30, 40), np.float32)
    hero[:, :10] = 1
    layers = {"A": np.ones((30, 40), np.float32), "hero": hero}
    write_alpha(str(tmp_path / "made.1.exr"), layers, like=like(40, 30), frame=1)
    write_alpha(str(tmp_path / "true.1.exr"), hero, like=like(40, 30), frame=1)
    made, true = (str(tmp_path / f"{name}.#.exr") for name in ("made", "true"))
    assert evaluate(made, true).mean["mad"] > 0
    assert evaluate(made, true, channel="matte_hero.A").mean["mad"] == 0
    assert evaluate(true, made, truth_channel="matte_hero.A").mean["mad"] == 0
    with pytest.raises(MatteBridgeError) as refused:
        evaluate(made, true, channel="matte_dog.A")
    assert refused.value.remedy == "Choose one of A, matte_hero.A."
    write_alpha(str(tmp_path / "named.1.exr"), {"hero": hero, "dog": hero}, like=like(40, 30), frame=1)
    with pytest.raises(MatteBridgeError, match="several layers") as unsaid:
        evaluate(str(tmp_path / "named.#.exr"), true)
    assert "--channel" in unsaid.value.remedy and "--mask-channel" not in unsaid.value.remedy


def test_values_that_are_not_finite_have_no_score(tmp_path: Path) -> None:
    alpha = np.zeros((30, 40, 1), np.float32)
    alpha[:, :10] = 1
    colour = np.full((30, 40, 3), 0.5, np.float32)
    colour[0, 15] = np.nan
    stored(tmp_path / "a.1.exr", alpha, "A")
    stored(tmp_path / "outside.1.exr", colour, "RGB")
    colour[0, 5, 0] = np.inf
    stored(tmp_path / "inside.1.exr", colour, "RGB")
    alpha[0, 0] = np.nan
    stored(tmp_path / "hole.1.exr", alpha, "A")
    true, outside, inside, hole = (str(tmp_path / f"{name}.#.exr") for name in ("a", "outside", "inside", "hole"))
    assert evaluate(true, true, "", outside, outside).mean["fgr_mad"] == 0
    for asked in ((true, true, "", inside, outside), (hole, true)):
        with pytest.raises(FrameError, match="1 values are not finite") as refused:
            evaluate(*asked)
        assert refused.value.frame == 1 and refused.value.file.endswith(("inside.1.exr", "hole.1.exr"))
