from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mattebridge.errors import InputError
from mattebridge.messages import JobRequest, PromptInfo
from mattebridge_server.engine.wire import JobChecked
from mattebridge_server.media import write_alpha, write_rgb
from mattebridge_server.models.registry import load_registry
from mattebridge_server.pipeline import check as check_module
from mattebridge_server.pipeline.check import check_job
from mattebridge_server.site import Site

from .conftest import SmallShot, header

ShotOf = Callable[..., SmallShot]


@pytest.fixture(scope="module")
def check() -> Callable[..., JobChecked]:
    registry = load_registry()

    def ask(request: JobRequest, plan: bytes = b"", site: Site | None = None) -> JobChecked:
        return check_job(7, request, plan, site or Site(), registry)

    return ask


def codes(answer: JobChecked) -> list[str]:
    return [problem.code for problem in answer.problems]


def test_a_good_job_has_no_problem_and_tells_the_facts(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1001, 1006))
    answer = check(shot.request())
    assert (answer.number, answer.problems, answer.frames, answer.fresh) == (7, (), 5, 0)
    assert answer.facts["plate_space"] == "ACEScg"
    assert answer.facts["mask_channel"] == "A"
    assert not (shot.folder / "out").exists(), "a check makes no folder"


def test_a_folder_that_cannot_be_made_and_a_disk_that_is_short_are_told(
    shot_of: ShotOf, check: Callable[..., JobChecked], monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = shot_of(range(1, 3))
    assert codes(check(shot.request("plate/plate.0001.exr/a.####.exr"))) == ["OUTPUT_FAILED"]
    monkeypatch.setattr(check_module, "LOW_DISK_BYTES", 1 << 62)
    answer = check(shot.request())
    assert answer.problems == () and any("MiB are free" in warning for warning in answer.warnings)


def test_a_last_plate_of_another_size_is_a_problem(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1, 3))
    write_rgb(str(shot.path("plate", 2)), np.zeros((24, 32, 3), np.float32), like=header(32, 24, 2), frame=2)
    (problem,) = check(shot.request(model="auto")).problems
    assert problem.frame == 2


def test_every_problem_is_told_at_once(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1, 5))
    shot.path("plate", 3).unlink()
    shot.path("mask", 2).write_bytes(b"")
    answer = check(shot.request(params={"no": 1}, plate_space="Nonsense", frames="1-4"))
    assert {"USAGE", "MISSING_FRAMES", "COLOUR_SPACE_UNKNOWN"} <= set(codes(answer))
    assert all(problem.remedy for problem in answer.problems)


def test_a_preset_that_nobody_has_fails_the_check_and_the_job(
    shot_of: ShotOf, check: Callable[..., JobChecked]
) -> None:
    shot = shot_of(range(1, 3))
    (problem,) = check(shot.request(preset="hreo")).problems
    assert problem.code == "BAD_INPUT" and "'hreo'" in problem.message
    with pytest.raises(InputError, match="'hreo'"):
        shot.run(preset="hreo")
    assert not (shot.folder / "out").exists()


def test_paths_outside_the_roots_are_refused(
    shot_of: ShotOf, check: Callable[..., JobChecked], tmp_path: object
) -> None:
    shot = shot_of(range(1, 3))
    site = Site(roots=(str(shot.folder / "plate"), str(shot.folder / "mask")))
    answer = check(shot.request(), site=site)
    assert codes(answer) == ["PATH_REFUSED"]
    assert answer.problems[0].file.startswith(str(shot.folder / "out"))


def test_a_foreign_file_in_the_way_is_a_problem_and_a_result_is_not(
    shot_of: ShotOf, check: Callable[..., JobChecked]
) -> None:
    shot = shot_of(range(1, 4))
    shot.run()
    assert check(shot.request()).fresh == 3
    write_alpha(str(shot.folder / "out/a.0002.exr"), np.zeros((48, 64), np.float32), like=header(64, 48, 2), frame=2)
    assert codes(check(shot.request())) == ["OUTPUT_EXISTS"]
    assert codes(check(shot.request(overwrite=True))) == []


def test_masks_that_leap_or_are_empty_are_warned_about(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1, 4))
    write_alpha(str(shot.path("mask", 2)), np.zeros((48, 64), np.float32), like=header(64, 48, 2), frame=2)
    answer = check(dataclasses.replace(shot.request(), model="edge"))
    assert any("frame 2" in warning and "empty" in warning for warning in answer.warnings)
    assert answer.facts["feature_px"] >= 10


def test_a_frozen_plan_that_does_not_fit_is_found_before_the_run(
    shot_of: ShotOf, check: Callable[..., JobChecked]
) -> None:
    shot = shot_of(range(1, 4))
    plan = str(shot.run(kind="plan").facts["plan"]).encode()
    assert codes(check(shot.request(), plan)) == []
    assert codes(check(shot.request(model="edge"), plan)) == ["BAD_PLAN"]
    assert codes(check(shot.request(), b"{}")) == ["BAD_PLAN"]


def test_auto_is_no_unknown_model_and_its_masks_are_looked_at(
    shot_of: ShotOf, check: Callable[..., JobChecked]
) -> None:
    answer = check(shot_of(range(1, 4)).request(model="auto"))
    assert answer.problems == () and answer.facts["feature_px"] < 25
    assert any("edge does better" in warning for warning in answer.warnings)


def test_masks_that_the_job_makes_itself_are_not_missed(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1, 6))
    click = (PromptInfo(1, "A", points=(0.5, 0.5, 1.0)),)
    assert codes(check(shot.request(model="edge", mask="", prompts=click))) == []
    assert codes(check(shot.request(model="edge", prompts=click))) == ["USAGE"], "as the run will say"
    for frame in (2, 3, 4, 5):
        shot.path("mask", frame).unlink()
    assert codes(check(shot.request(model="edge", fill="sam2", frames="1-5"))) == []
    assert codes(check(shot.request(model="edge", frames="1-5"))) == ["MISSING_FRAMES"]


def test_a_tracker_needs_its_mask_on_any_frame_of_the_shot(shot_of: ShotOf, check: Callable[..., JobChecked]) -> None:
    shot = shot_of(range(1, 4))
    for frame in (2, 3):
        shot.path("mask", frame).unlink()
    assert codes(check(shot.request(model="sam2", frames="3", shot="1-3"))) == []


def test_a_chunk_under_a_plan_may_be_prompted_anywhere_in_the_plans_shot(
    shot_of: ShotOf, check: Callable[..., JobChecked]
) -> None:
    shot = shot_of(range(1, 9))
    plan = str(shot.run(kind="plan", model="edge").facts["plan"]).encode()
    shot.path("mask", 2).unlink()
    click = (PromptInfo(8, "A", points=(0.5, 0.5, 1.0)),)
    assert codes(check(shot.request(model="edge", frames="1-4", prompts=click), plan)) == []
    assert codes(check(shot.request(model="edge", frames="1-4", prompts=click))) == ["USAGE"]
