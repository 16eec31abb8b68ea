"""A chunk without OpenJD: one command, stable exit statuses, and the SLURM example as it is in the repository."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_shot import BIN, FarmShot

ShotOf = Callable[..., FarmShot]
EXAMPLES = Path(__file__).parents[3] / "examples" / "slurm"


def test_the_slurm_array_makes_every_chunk_and_verifies(shot_of: ShotOf) -> None:
    shot = shot_of(5)
    bundle = shot.bundle("identity", 3)
    shot.environment["PATH"] = f"{BIN}:/usr/bin:/bin"
    listed = shot.here("farm", "chunks", "--bundle", str(bundle)).stdout.split()
    assert listed == ["1001-1003", "1004-1005"]
    for index in range(len(listed)):
        shot.environment["SLURM_ARRAY_TASK_ID"] = str(index)
        ran = shot.run(["bash", str(EXAMPLES / "matte.sbatch"), str(bundle)])
        assert ran.returncode == 0, ran.stderr
        events = [json.loads(line)["event"] for line in ran.stdout.splitlines()]
        assert events[-1] == "DONE"
        assert events.count("FRAME") == (3, 2)[index]
    verified = shot.run(["bash", str(EXAMPLES / "verify.sbatch"), str(bundle)])
    assert verified.returncode == 0, verified.stderr


def with_slurm(shot: FarmShot) -> Path:
    """Put a `scontrol` on the shot's path that writes down what it is asked; where it writes."""
    scheduler = shot.folder / "bin"
    scheduler.mkdir()
    (scheduler / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {shot.folder}/requeued\n")
    (scheduler / "scontrol").chmod(0o755)
    shot.environment |= {"PATH": f"{scheduler}:{BIN}:/usr/bin:/bin"}
    shot.environment |= {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "77"}
    return shot.folder / "requeued"


def test_the_slurm_task_goes_on_later_when_its_time_is_up(shot_of: ShotOf) -> None:
    shot = shot_of(48)
    bundle = shot.bundle("edge", 48)
    requeued = with_slurm(shot)
    words = ["bash", str(EXAMPLES / "matte.sbatch"), str(bundle)]
    for restarts, asked in (("0", "requeue 77_0\n"), ("3", "requeue 77_0\n")):
        environment = shot.whole_environment() | {"SLURM_RESTART_COUNT": restarts}
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as task:
            assert task.stdout is not None
            events = (json.loads(line)["event"] for line in task.stdout)
            assert next(event for event in events if event == "FRAME")
            task.terminate()
            assert list(events)[-1] == "CANCELLED"
        assert task.returncode == 6
        assert requeued.read_text() == asked, "once, and not again after three restarts"
    assert 1 <= sum(shot.result(frame).exists() for frame in shot.frames) < 48


def test_the_slurm_task_is_not_tried_again_for_bad_input(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    shot.path("plate", 1002).write_bytes(b"")
    requeued = with_slurm(shot)
    ran = shot.run(["bash", str(EXAMPLES / "matte.sbatch"), str(bundle)])
    assert ran.returncode == 3
    (failed,) = [json.loads(line) for line in ran.stdout.splitlines() if '"FAILED"' in line]
    assert (failed["error"]["frame"], failed["error"]["code"]) == (1002, "BAD_FRAME")
    assert not requeued.exists()


def test_a_chunk_finds_the_server_of_its_host_or_does_without(shot_of: ShotOf) -> None:
    shot = shot_of(4)
    words = ("farm", "task", "--bundle", str(shot.bundle("identity", 2)), "--server", "auto", "--index")
    alone = shot.here(*words, "0")
    assert (alone.returncode, "on the server" in alone.stdout) == (0, False)
    assert shot.mattebridge("serve", "--detach").returncode == 0
    try:
        served = shot.mattebridge(*words, "1")
        assert (served.returncode, "on the server of this host" in served.stdout) == (0, True)
        (engine,) = json.loads(shot.here("status", "--json").stdout)["engines"]
        assert engine["loaded"] == ["identity"]
    finally:
        assert shot.here("stop").returncode == 0
    assert all(shot.result(frame).exists() for frame in shot.frames)


@pytest.mark.parametrize("report", ["plain", "openjd", "json"])
def test_a_reader_of_the_log_that_leaves_does_not_end_the_task(shot_of: ShotOf, report: str) -> None:
    shot = shot_of(3)
    words = ["farm", "task", "--bundle", str(shot.bundle("identity", 3)), "--report", report]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as broken:
        ran = subprocess.run(
            [BIN / "mattebridge", *words],
            env=shot.whole_environment(),
            stdout=broken,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert all(shot.result(frame).exists() for frame in shot.frames)


@pytest.mark.parametrize("words", [("--threads", "-3"), ("--device", "tpu:0"), ("--device", "cpu:x")])
def test_a_task_that_no_worker_could_run_is_not_tried_again(shot_of: ShotOf, words: tuple[str, ...]) -> None:
    shot = shot_of(3)
    refused = shot.here("farm", "task", "--bundle", str(shot.bundle("identity", 3)), *words)
    assert refused.returncode == 2
    assert words[1] in refused.stderr


def test_a_worker_without_the_gpu_says_so_and_the_task_may_go_elsewhere(shot_of: ShotOf) -> None:
    pytest.importorskip("torch", reason="the [models] extra is not installed")
    shot = shot_of(3)
    failed = shot.here("farm", "task", "--bundle", str(shot.bundle("identity", 3)), "--device", "cuda:99")
    assert failed.returncode == 4
    assert "this machine has no cuda:99 that can be used" in failed.stderr
    assert "--device cpu:0" in failed.stderr


@pytest.mark.skipif(os.name == "nt", reason="a worker of another platform than the plan's")
def test_a_plan_made_on_windows_is_run_and_verified_by_the_sites_path_maps(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    plan = bundle / "plan.json"
    plan.write_text(plan.read_text().replace(str(shot.folder), "P:/shot"))
    site = shot.folder / "site.toml"
    here = f'linux = "{shot.folder}"\nmacos = "{shot.folder}"'
    site.write_text(f'[[path_map]]\nwindows = "P:/shot"\n{here}\n')
    shot.environment["MATTEBRIDGE_SITE"] = str(site)
    for command in ("task", "verify"):
        ran = shot.here("farm", command, "--bundle", str(bundle))
        assert ran.returncode == 0, ran.stderr
    assert all(shot.result(frame).exists() for frame in shot.frames)


def test_an_index_beyond_the_last_chunk_is_a_usage_error(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    refused = shot.here("farm", "task", "--bundle", str(bundle), "--index", "1")
    assert refused.returncode == 2
    assert "0-0" in refused.stderr


def test_a_folder_that_is_no_bundle_is_a_usage_error_wherever_it_is_named(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    (bundle / "parameters.json").write_text("{}")
    for words in (
        ("chunks", "--bundle", str(bundle)),
        ("task", "--bundle", str(bundle), "--index", "0"),
        ("verify", "--bundle", str(shot.folder / "nowhere")),
    ):
        refused = shot.here("farm", *words)
        assert refused.returncode == 2
        assert "parameters.json]. Make one with `mattebridge farm bundle`" in refused.stderr


def test_submit_says_what_to_do_where_deadline_is_not_installed(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    shot.environment["PATH"] = "/nowhere"
    refused = shot.here("farm", "submit", str(bundle))
    assert refused.returncode == 2
    assert "pip install deadline" in refused.stderr
    assert "openjd run" in refused.stderr


def test_submit_hands_the_bundle_to_deadline(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle = shot.bundle("identity", 3)
    program = shot.folder / "bin" / "deadline"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho deadline $@\n")
    program.chmod(0o755)
    shot.environment["PATH"] = f"{program.parent}:/usr/bin:/bin"
    handed = shot.mattebridge("farm", "submit", str(bundle), "--", "--priority", "80")
    assert handed.returncode == 0
    assert handed.stdout.strip() == f"deadline bundle submit {bundle} --priority 80"
