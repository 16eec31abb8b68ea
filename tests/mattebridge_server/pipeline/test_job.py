from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studio_models.mean import StudioMean

from mattebridge.errors import (
    ColourSpaceUnknown,
    FrameError,
    InputError,
    MissingFrames,
    OutputExists,
    OutputFailed,
    PlanError,
    UsageError,
)
from mattebridge.messages import FrameDone, Progress, Started, Warning_
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf
from mattebridge_server.media import read_attributes, read_header, read_mask, write_rgb
from mattebridge_server.models.registry import Registry, load_registry
from mattebridge_server.pipeline import reporter
from mattebridge_server.pipeline.inputs import exists, resolve_inputs
from mattebridge_server.pipeline.plan import parse_plan

from .conftest import SmallShot, header

ShotOf = Callable[..., SmallShot]


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> type[StudioMean]:
    """The studio's model on the local engine's shelf, as if its package were installed."""
    registry = load_registry()
    with_studio = Registry({**registry.classes, "studio-mean": StudioMean}, registry.broken)
    monkeypatch.setattr(local, "Shelf", lambda device, folders: Shelf(device, folders, with_studio))
    StudioMean.windows_run.clear()
    return StudioMean


def test_identity_gives_the_mask_back_and_says_in_the_header_what_it_is(shot_of: ShotOf) -> None:
    shot = shot_of(range(1001, 1004))
    done = shot.run()
    assert (done.written, done.kept) == (3, 0)
    for frame in shot.frames:
        assert np.array_equal(shot.alpha("out/a.####.exr", frame), shot.alpha("mask/mask.####.exr", frame))
    about = read_attributes(str(shot.folder / "out/a.1002.exr"))
    assert about["mattebridge:model"] == "identity/1"
    assert about["mattebridge:licence"] == "Apache-2.0"
    assert about["mattebridge:plateSpace"] == "ACEScg"
    assert len(about["mattebridge:key"]) == 64
    assert read_header(str(shot.folder / "out/a.1002.exr"), frame=1002).colour.interop_id == "data"


def test_progress_names_the_step_and_the_frame_before_the_first_result(
    shot_of: ShotOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "LEAST_PAUSE_S", 0.0)  # these frames take less than the pause between two tellings
    shot = shot_of(range(1001, 1004))
    done = shot.run(model="edge")
    assert float(done.facts["seconds_model"]) > 0, "the report has a clock for the model, too"
    told = [(event.stage, event.frame) for event in shot.events if isinstance(event, Progress) and event.total == 3]
    assert ("solve", 1001) in told, told
    first = next(i for i, event in enumerate(shot.events) if isinstance(event, FrameDone))
    assert any(isinstance(event, Progress) and event.stage == "solve" for event in shot.events[:first])


def test_finished_frames_are_kept_and_only_what_an_edit_touches_is_made_again(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 7))
    shot.run()
    before = {frame: (shot.folder / f"out/a.{frame:04d}.exr").stat().st_mtime_ns for frame in shot.frames}
    assert (shot.run().written, set(shot.kept().values())) == (0, {True})
    shot.write_mask(3, 30, 30, 8)
    assert shot.run(overwrite=True).written == 1
    assert shot.kept() == {1: True, 2: True, 3: False, 4: True, 5: True, 6: True}
    after = {frame: (shot.folder / f"out/a.{frame:04d}.exr").stat().st_mtime_ns for frame in shot.frames}
    assert [frame for frame in shot.frames if before[frame] != after[frame]] == [3]


@pytest.mark.parametrize("end", [-20, 0])
def test_a_result_that_was_cut_off_is_made_again_without_being_asked(shot_of: ShotOf, end: int) -> None:
    shot = shot_of(range(1, 4))
    shot.run()
    cut = shot.result("out/a.####.exr", 0, 2)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:end])
    assert (shot.run().written, shot.kept()) == (1, {1: True, 2: False, 3: True})
    assert cut.read_bytes() == whole


def test_a_result_in_the_way_is_never_mixed_silently(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 4))
    shot.run()
    shot.write_mask(2, 30, 30, 8)
    with pytest.raises(OutputExists, match=r"1 of 3 results exist") as refused:
        shot.run()
    assert refused.value.frame == 2
    assert "{version}" in str(refused.value)


def test_the_next_version_carries_unchanged_frames_over(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 5))
    out = "v/{version}/a.####.exr"
    assert shot.run(out).written == 4
    assert shot.run(out).kept == 4
    shot.write_mask(2, 30, 30, 8)
    done = shot.run(out)
    assert (done.written, done.kept) == (1, 3)
    assert sorted(p.name for p in (shot.folder / "v/v002").iterdir()) == [f"a.{n:04d}.exr" for n in range(1, 5)]
    assert np.array_equal(shot.alpha("v/v002/a.####.exr", 1), shot.alpha("v/v001/a.####.exr", 1))
    assert not np.array_equal(shot.alpha("v/v002/a.####.exr", 2), shot.alpha("v/v001/a.####.exr", 2))


def test_chunks_under_one_plan_equal_the_whole_shot_bit_for_bit(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of((1, 2, 3, 5, 7, 9, 11, 13, 20, 21, 22))
    shot.run("whole/a.####.exr", model="studio-mean")
    assert len(studio.windows_run) == len(set(studio.windows_run)), "no window is computed twice within a job"
    plan = str(shot.run(kind="plan", model="studio-mean").facts["plan"]).encode()
    for frames in ("1-3", "5", "7-13x2", "20-22"):
        shot.run("chunks/a.####.exr", plan, model="studio-mean", frames=frames)
    for frame in shot.frames:
        assert np.array_equal(shot.alpha("whole/a.####.exr", frame), shot.alpha("chunks/a.####.exr", frame))
        keys = [
            read_attributes(str(shot.folder / f"{d}/a.{frame:04d}.exr"))["mattebridge:key"] for d in ("whole", "chunks")
        ]
        assert keys[0] == keys[1]


def test_a_mask_fix_recomputes_only_the_windows_that_cover_it(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of(range(1, 13))
    shot.run(model="studio-mean")
    assert studio.windows_run == [(1, 2, 3, 4, 5), (4, 5, 6, 7, 8), (7, 8, 9, 10, 11), (8, 9, 10, 11, 12)]
    studio.windows_run.clear()
    shot.write_mask(2, 30, 30, 8)
    shot.run(model="studio-mean", overwrite=True)
    assert studio.windows_run == [(1, 2, 3, 4, 5), (4, 5, 6, 7, 8)]
    assert {frame for frame, kept in shot.kept().items() if not kept} == {1, 2, 3, 4, 5}


def test_a_longer_shot_keeps_the_keys_of_frames_whose_windows_stay(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of(range(1, 13))
    shot.run(model="studio-mean", frames="1-11")
    shot.run(model="studio-mean", frames="1-12", overwrite=True)
    assert [frame for frame, kept in shot.kept().items() if kept] == [1, 2, 3, 4, 5, 6, 7]


def test_a_frame_of_the_shot_equals_the_range(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of(range(1, 10))
    shot.run("whole/a.####.exr", model="studio-mean")
    shot.run("one/a.####.exr", model="studio-mean", frames="5", shot="1-9")
    assert np.array_equal(shot.alpha("whole/a.####.exr", 5), shot.alpha("one/a.####.exr", 5))


def test_a_plan_for_another_shot_or_model_is_refused(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of(range(1, 6))
    plan = str(shot.run(kind="plan").facts["plan"]).encode()
    with pytest.raises(PlanError, match="made for identity"):
        shot.run(plan=plan, model="studio-mean")
    with pytest.raises(UsageError, match="not part of the shot"):
        shot.run(plan=plan, frames="5-9")
    with pytest.raises(PlanError, match="not a plan"):
        shot.run(plan=b"{}")
    assert parse_plan(plan).to_json() == plan


def test_missing_files_are_named_before_anything_is_written(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 6))
    shot.path("plate", 3).unlink()
    with pytest.raises(MissingFrames, match=r"frames 3:") as refused:
        shot.run(frames="1-5")
    assert refused.value.frame == 3
    shot.path("mask", 4).unlink()
    with pytest.raises(MissingFrames, match=r"mask has no file for frames 4"):
        shot.run(frames="4-5")
    assert not (shot.folder / "out").exists()


def test_a_misspelt_name_is_answered_with_what_the_folder_holds(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    for misspelt, frames, remedy in (
        ("{}/plat.####.exr", "", r"plate\.0001\.exr"),
        ("{}/plate.*.exr", "", "#### or %04d"),
        ("{}/plate.####.exr", "1001-1002", "frames 1-2"),
    ):
        with pytest.raises(MissingFrames) as refused:
            shot.run(plate=misspelt.format(shot.path("plate", 1).parent), frames=frames)
        assert re.search(remedy, refused.value.remedy)


def test_a_name_that_no_disk_can_have_fails_with_its_reason(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    with pytest.raises(OutputFailed, match=r"frame 1 could not be written: the name is too long") as failed:
        shot.run(f"out/{'a' * 300}.####.exr")
    assert failed.value.file.endswith("a.0001.exr")
    with pytest.raises(MissingFrames, match="no file for frames 1-2"):
        shot.run(mask=str(shot.folder / f"{'m' * 300}.####.exr"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_searched_hides_nothing(tmp_path: Path) -> None:
    """Whether the file is there is not known; whoever opens it then tells of the permission, not of a missing file."""
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # to root every folder is open
        assert exists(closed / "plate.exr")
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o700)
    assert not exists(closed / "plate.exr")


def test_an_output_can_never_be_an_input(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    with pytest.raises(InputError, match="written over the mask"):
        shot.run("mask/mask.####.exr")
    with pytest.raises(UsageError, match="one file"):
        shot.run("out/a.exr")


def test_a_version_may_be_made_from_the_one_before(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 4))
    out = "{version}/a.####.exr"
    shot.run(out)
    before = {path: path.read_bytes() for path in (shot.folder / "v001").iterdir()}
    for role, version in (("mask", 2), ("core", 3)):
        done = shot.run(out, mask_invert=True, **{role: str(shot.folder / "v001/a.####.exr")})
        assert (done.written, done.facts["version"]) == (3, version)
    with pytest.raises(InputError, match="written over the core"):
        shot.run("v001/a.####.exr", core=str(shot.folder / "v001/a.####.exr"), overwrite=True)
    assert {path: path.read_bytes() for path in before} == before


def test_links_among_many_files_are_found_by_one_listing(shot_of: ShotOf, monkeypatch: pytest.MonkeyPatch) -> None:
    shot = shot_of(range(1, 21))
    target = shot.folder / "out/a.0002.exr"
    target.parent.mkdir()
    shot.path("plate", 15).rename(target)
    shot.path("plate", 15).symlink_to(target)

    def asked(path: str) -> bool:
        raise AssertionError(f"a question of its own for {path}")

    monkeypatch.setattr(os.path, "islink", asked)
    with pytest.raises(InputError, match="written over the plate"):
        shot.run(frames="2", shot="1-20", overwrite=True)


@pytest.mark.parametrize("out", ["link/plate.####.exr", "plate/plate.0002.exr", "plate/{version}/plate.####.exr"])
def test_an_output_is_no_input_by_another_name_either(shot_of: ShotOf, out: str) -> None:
    shot = shot_of(range(1, 4))
    (shot.folder / "link").symlink_to(shot.folder / "plate", target_is_directory=True)
    fields: dict[str, str] = {}
    if "{version}" in out:
        (shot.folder / "plate").rename(shot.folder / "v001")
        (shot.folder / "plate").mkdir()
        (shot.folder / "v001").rename(shot.folder / "plate/v001")
        fields["plate"] = str(shot.folder / "plate/v001/plate.####.exr")
    kept = {path: path.read_bytes() for path in shot.folder.rglob("plate.*.exr")}
    with pytest.raises(InputError, match="would be written over the plate"):
        shot.run(out=out, shot="1-3", frames="1" if "0002" in out else "1-3", overwrite=True, **fields)
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_comp_needs_both_its_ends(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    for fields in ({"comp": str(shot.folder / "comp.####.exr")}, {"comp_over": str(shot.path("plate", 1))}):
        with pytest.raises(UsageError, match="only one was named"):
            shot.run(**fields)


@pytest.mark.parametrize("role", ["core", "garbage"])
def test_a_misspelt_core_or_garbage_is_not_taken_for_none(shot_of: ShotOf, role: str) -> None:
    shot = shot_of(range(1, 4))
    with pytest.raises(MissingFrames, match=f"the {role} has no file"):
        shot.run(**{role: str(shot.folder / "misspelt.####.exr")})


def test_results_of_another_shot_are_told_from_results_of_other_inputs(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 5))
    shot.run(model="edge", frames="1-4")
    with pytest.raises(OutputExists, match="part of the shot 1-4, and this one is 2") as refused:
        shot.run(model="edge", frames="2")
    assert "--shot 1-4" in refused.value.remedy
    assert shot.run(model="edge", frames="2", shot="1-4").kept == 1
    with pytest.raises(OutputExists, match="other inputs or parameters"):
        shot.run(model="edge", frames="1-4", params={"reach": 30.0})


def test_a_shot_that_lacks_frames_of_the_job_is_no_remedy(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 5))
    shot.run(model="edge", frames="1-2")
    with pytest.raises(OutputExists, match="part of the shot 1-2, and this one is 1-4") as refused:
        shot.run(model="edge", frames="1-4")
    assert refused.value.remedy == OutputExists.default_remedy, "--shot 1-2 is refused, or makes two of the four"


def test_a_hole_in_the_plate_is_told_where_no_range_was_given(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 6))
    shot.path("plate", 3).unlink()

    def told() -> list[str]:
        return [event.message for event in shot.events if isinstance(event, Warning_) and "no frame" in event.message]

    shot.run(frames="")
    assert len(told()) == 1 and "no frame 3," in told()[0]
    shot.run(frames="1-2,4-5", out="out/b.####.exr")
    assert not told(), "a range that was given is what is wanted"


def test_a_matte_that_is_written_nowhere_and_a_path_without_a_root_are_refused(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    request = shot.request()
    for change, text in (({"out": ""}, "no output"), ({"mask": "mask/m.####.exr"}, "the mask has no absolute path")):
        with pytest.raises(UsageError, match=text):
            resolve_inputs(replace(request, **change))


def test_a_size_that_changes_inside_the_shot_names_the_frame(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 4))
    like = header(32, 48, 2)
    write_rgb(str(shot.path("plate", 2)), np.zeros((48, 32, 3), np.float32), like=like, frame=2)
    with pytest.raises(FrameError, match="another size") as refused:
        shot.run()
    assert refused.value.frame == 2
    assert refused.value.file.endswith("plate.0002.exr")


def test_a_plate_whose_space_nobody_states_is_refused_with_candidates(shot_of: ShotOf, tmp_path: Path) -> None:
    import OpenImageIO as oiio

    shot = shot_of(range(1, 2))
    path = str(shot.path("plate", 1))
    spec = oiio.ImageSpec(64, 48, 3, "half")
    image = oiio.ImageOutput.create(path)
    assert image.open(path, spec) and image.write_image(np.zeros((48, 64, 3), np.float32)) and image.close()
    with pytest.raises(ColourSpaceUnknown) as refused:
        shot.run()
    assert "ACEScg" in str(refused.value.details["candidates"])
    assert "ACEScg" in refused.value.remedy
    assert shot.run(plate_space="ACEScg").written == 1


def test_planes_come_back_as_planes(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 3))
    shot.run("out/a.####.planes", delivery="planes")
    path = str(shot.folder / "out/a.0002.planes")
    planes = read_mask(path, frame=2, plate_header=read_header(path, frame=2)).coverage
    assert np.array_equal(planes, shot.alpha("mask/mask.####.exr", 2))
    assert shot.run("out/a.####.planes", delivery="planes").written == 2
    with pytest.raises(UsageError, match=r"results are EXR"):
        shot.run("out/a.####.png")


def test_core_and_garbage_have_the_last_word(shot_of: ShotOf) -> None:
    from mattebridge_server.pipeline.finish import solid_and_empty

    alpha = np.array([[0.0, 0.5, 1.0, 0.5]], np.float32)
    core = np.array([[1.0, 0.5, 0.0, 1.0]], np.float32)
    garbage = np.array([[0.0, 0.0, 1.0, 0.5]], np.float32)
    assert np.allclose(solid_and_empty(alpha, core, garbage), [[1.0, 0.75, 0.0, 0.5]])
    shot = shot_of(range(1, 2))
    shot.run(core=str(shot.path("mask", 1)), garbage=str(shot.path("mask", 1)))
    assert shot.alpha("out/a.####.exr", 1).max() == 0


@pytest.mark.parametrize("role", ["core", "garbage"])
def test_an_edit_of_core_or_garbage_makes_its_frame_again(shot_of: ShotOf, role: str) -> None:
    shot = shot_of(range(1, 4))
    theirs = shot.folder / role
    shutil.copytree(shot.path("mask", 1).parent, theirs)
    pattern = {role: str(theirs / "mask.####.exr")}
    assert shot.run(**pattern).written == 3
    shot.write_mask(2, 30, 30, 8)
    shot.path("mask", 2).replace(theirs / "mask.0002.exr")
    shot.write()  # the mask as it was
    assert shot.run(overwrite=True, **pattern).written == 1
    assert shot.kept() == {1: True, 2: False, 3: True}


def test_events_come_in_order_and_warnings_carry_codes(shot_of: ShotOf) -> None:
    shot = shot_of(range(1, 4))
    shot.run()
    numbered = [event for event in shot.events if hasattr(event, "seq")]
    assert [event.seq for event in numbered] == list(range(1, len(numbered) + 1))
    kinds = [type(event) for event in numbered if not isinstance(event, Warning_)]
    assert kinds[0] is Started and kinds[1:-1] == [FrameDone] * 3
    assert {event.code for event in numbered if isinstance(event, Warning_)} <= {"PLAN", "MASK"}


def test_every_mask_that_is_used_is_looked_at_before_the_run(shot_of: ShotOf, studio: type[StudioMean]) -> None:
    shot = shot_of(range(1, 31))
    shot.write_mask(5, 20, 24, 0)
    shot.write_mask(12, 55, 24, 4)
    shot.run(model="studio-mean")
    told = {event.code: event for event in shot.events if isinstance(event, Warning_)}
    assert told["MASK_EMPTY"].frame == 5
    assert told["MASK_JUMPS"].frame == 12 and "1 more" in told["MASK_JUMPS"].message, "away and back"
    assert "SMALL_FEATURE" not in told, "thin is no fault where no network looks"
    first = next(i for i, event in enumerate(shot.events) if isinstance(event, FrameDone))
    assert shot.events.index(told["MASK_EMPTY"]) < first
    shot.run("part/a.####.exr", model="studio-mean", frames="6-10", shot="1-30")
    assert not {"MASK_EMPTY", "MASK_JUMPS"} & {event.code for event in shot.events if isinstance(event, Warning_)}
