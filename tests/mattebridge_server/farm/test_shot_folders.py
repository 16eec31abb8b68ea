"""A farm job's paths: folders that a scheduler may move, names that stay, one version for the whole job."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from farm_shot import FarmShot
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import InputError, PlanError, UsageError
from mattebridge.plan_file import with_request
from mattebridge_server.farm.bundle import Choices, job_spec
from mattebridge_server.farm.report import OpenJdReport, failure, remark
from mattebridge_server.farm.shot import FarmShot as Shot
from mattebridge_server.farm.shot import join_folder, read_shot, relocated, split_folder, with_paths
from mattebridge_server.farm.template import job_template
from mattebridge_server.pipeline.plan import ShotPlan

ShotOf = Callable[..., FarmShot]


def plan_text(**changes: object) -> bytes:
    about = {"frames": "1-10", "model": "identity", "model_digest": "identity/1", "temporal": "frame"}
    size = {"length": 1, "stride": 1, "radius": 0, "plate": (0, 0, 64, 48), "display": (0, 0, 64, 48)}
    return ShotPlan(**{**about, **size, **changes}).to_json()  # type: ignore[arg-type]


def shot(**fields: str) -> Shot:
    return with_paths(plan_text(), {"plate": "/in/p.####.exr", "out": "/out/a.####.exr", **fields})


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        ("/shows/a/p.####.exr", "/shows/a", "p.####.exr"),
        ("/p.exr", "/", "p.exr"),
        (r"P:\shows\a\p.%04d.exr", r"P:\shows\a", "p.%04d.exr"),
        (r"P:\p.exr", "P:\\", "p.exr"),
        (r"\\server\show\p.exr", r"\\server\show", "p.exr"),
        ("", "", ""),
    ],
)
def test_a_path_is_a_folder_and_a_name(path: str, folder: str, name: str) -> None:
    assert split_folder(path) == (folder, name)
    assert join_folder(folder, name) == path


def test_folders_move_and_names_stay() -> None:
    moved = relocated(shot(mask="/in/m.####.exr"), {"plate": "/mnt/x", "out": "D:\\out"})
    assert moved.request.plate == "/mnt/x/p.####.exr"
    assert moved.request.mask == "/in/m.####.exr"
    assert moved.request.out == "D:\\out\\a.####.exr"


def test_a_config_that_is_a_file_moves_in_the_plan_itself() -> None:
    text = with_paths(plan_text(config="/cfg/show/config.ocio"), {"plate": "/p.#.exr", "out": "/a.#.exr"}).text
    moved = relocated(read_shot(text), {"config": "/mnt/cfg"})
    assert moved.plan.config == "/mnt/cfg/config.ocio"
    assert json.loads(moved.text)["config"] == "/mnt/cfg/config.ocio"
    assert "config" not in shot().folders()


def test_one_version_is_chosen_for_the_whole_job(tmp_path: Path) -> None:
    (tmp_path / "v002").mkdir()
    assert shot(out=f"{tmp_path}/{{version}}/a.#.exr").request.out == f"{tmp_path}/v003/a.#.exr"
    assert with_paths(plan_text(), {"plate": "/p.#.exr", "out": "/{version}/a.#.exr"}, 7).request.out == "/v007/a.#.exr"


def test_the_view_is_settled_before_folders_are_split() -> None:
    assert shot(plate="/in/%V/p.%v.####.exr", view="left").request.plate == "/in/left/p.l.####.exr"


def test_the_plan_remembers_its_request_and_what_is_said_later_wins() -> None:
    first = shot(mask="/in/m.####.exr", look="srgb")
    text = with_request(plan_text(), first.request)
    later = with_paths(text, {"mask": "/new/m.####.exr", "out": "/out/a.####.exr"})
    assert (later.request.plate, later.request.mask) == ("/in/p.####.exr", "/new/m.####.exr")
    assert (later.request.look, later.request.model, later.request.priority) == ("srgb", "identity", "batch")
    assert later.plan.digest() == first.plan.digest()


def test_a_plan_without_a_request_and_a_job_without_an_output_are_refused() -> None:
    with pytest.raises(PlanError, match="does not say which plates"):
        read_shot(plan_text())
    with pytest.raises(UsageError, match="--alpha alpha"):
        with_paths(plan_text(), {"plate": "/p.#.exr"})


@pytest.mark.parametrize(
    ("fields", "choices", "why"),
    [
        ({"out": "/out/a.exr"}, {}, "10 frames cannot be written to one file"),
        ({"out": "/in/p.####.exr"}, {}, "the alpha would be written over the plate"),
        ({"frames": "8-12"}, {}, "frames 11-12 are not part of the shot"),
        ({}, {"device": "tpu:0"}, "a device is cpu:N or cuda:N"),
        ({}, {"chunk": -3}, "a chunk of -3 frames"),
        ({}, {"command": ""}, "no command was named"),
    ],
)
def test_what_no_worker_could_do_is_refused_when_the_bundle_is_made(
    fields: dict[str, str], choices: dict[str, Any], why: str
) -> None:
    with pytest.raises((UsageError, InputError), match=why):
        job_spec(shot(**fields), Choices(**choices))


def test_a_name_is_one_that_openjd_takes() -> None:
    name = job_spec(shot(), Choices(name="hero\n\x1b[31m " + "x" * 200)).name
    assert name.startswith("hero ?[31m x") and name.isprintable() and len(name) == 128


def test_a_name_is_no_reference_to_a_parameter() -> None:
    decode = pytest.importorskip("openjd.model", reason="openjd-cli is not installed").decode_job_template
    template = job_template(job_spec(shot(), Choices(name="{{{hero}} {{x}}")))
    assert decode(template=template, supported_extensions=["TASK_CHUNKING"]).name == "{ { {hero} } { {x} }"


def test_a_folder_for_a_path_that_no_shot_has_is_refused() -> None:
    with pytest.raises(UsageError, match="no path of a shot is called mask2"):
        relocated(shot(), {"mask2": "/mnt"})


@given(st.text(max_size=200))
def test_no_text_of_a_user_looks_like_a_word_to_openjd(text: str) -> None:
    for line in (remark(text), remark(f"openjd_env: {text}")):
        assert line.startswith("  ")
        assert len(line.splitlines()) == 1


@given(st.text(max_size=2000))
def test_a_failure_is_one_line_whatever_its_cause(text: str) -> None:
    said: list[str] = []
    OpenJdReport(said.append).failed(PlanError(text, frame=7))
    (line,) = said
    assert line.startswith("openjd_fail: frame 7 BAD_PLAN")
    assert len(line.splitlines()) == 1
    assert len(failure(PlanError(text))) <= 1000


def test_openjd_maps_the_folders_of_a_shot_that_lies_elsewhere_on_the_worker(shot_of: ShotOf) -> None:
    pytest.importorskip("openjd.model", reason="openjd-cli is not installed")
    here = shot_of(4)
    bundle = here.bundle("identity", 4)
    there = here.folder / "elsewhere"
    there.mkdir()
    for role in ("plate", "mask"):
        shutil.move(here.folder / role, there / role)
    rules = [
        {"source_path_format": "POSIX", "source_path": str(here.folder / role), "destination_path": str(there / role)}
        for role in ("plate", "mask", "farm")
    ]
    mapping = json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": rules})
    ran = here.openjd(bundle, "--step", "Verify", "--run-dependencies", "--path-mapping-rules", mapping)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert len(list((there / "farm").glob("alpha.*.exr"))) == 4


@pytest.mark.parametrize("root", ["P:\\show\\", r"\\filer\show" + "\\"])
def test_a_bundle_may_be_made_for_machines_of_another_platform(root: str) -> None:
    paths = {name: f"{root}{name}.####.exr" for name in ("plate", "out")}
    assert set(job_spec(shot(**paths), Choices()).folders.values()) == {root[:-1]}
