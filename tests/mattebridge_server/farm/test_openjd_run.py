"""The real bundle, run by OpenJD's own sessions: the same bits, one server, and nothing left behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from farm_shot import BIN, FarmShot, pixels, template, wait_gone

from conftest import FarmRun

pytest.importorskip("openjd.model", reason="openjd-cli is not installed")

ShotOf = Callable[..., FarmShot]
GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"


def server_pids(log: str) -> set[int]:
    return {int(pid) for pid in re.findall(r"process (\d+)\)", log)}


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The output up to the line that holds ``text``; fails when the process ends before."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"ended without {text!r}:\n{''.join(lines)[-3000:]}")


def test_the_bundle_is_accepted_with_task_chunking_alone(farm_run: FarmRun) -> None:
    from openjd.model import decode_job_template

    content = template(farm_run.bundle)
    assert content["extensions"] == ["TASK_CHUNKING"]
    decode_job_template(template=content, supported_extensions=["TASK_CHUNKING"])
    checked = farm_run.shot.run(
        [str(farm_run.shot.openjd_words(farm_run.bundle)[0]), "check", str(farm_run.bundle / "template.json")]
    )
    assert checked.returncode == 0, checked.stdout


def test_chunks_on_the_farm_equal_the_local_run_bit_for_bit(farm_run: FarmRun) -> None:
    assert farm_run.outcome.returncode == 0, farm_run.outcome.stdout[-4000:]
    shot = farm_run.shot
    given = ("--plate", shot.pattern("plate"), "--mask", shot.pattern("mask"))
    local = shot.here("matte", *given, "--out", shot.pattern("local"), "--server", "local")
    assert local.returncode == 0, local.stderr
    for frame in shot.frames:
        assert np.array_equal(pixels(shot.result(frame, "farm")), pixels(shot.result(frame, "local"))), frame
    middle = pixels(shot.result(1024, "farm"))
    assert 0.05 < middle.mean() < 0.5 and len(np.unique(middle)) > 20


def test_one_server_serves_every_chunk_and_is_gone_afterwards(farm_run: FarmRun) -> None:
    log = farm_run.outcome.stdout
    assert log.count("Frames(CHUNK[INT]) = ") == 4
    assert log.count("on the server of this session") == 4
    assert len(server_pids(log)) == 1
    wait_gone(server_pids(log), 0)


def test_the_verify_step_finds_every_frame_right(farm_run: FarmRun) -> None:
    assert "openjd_status: 48 frames are right" in farm_run.outcome.stdout


def test_verify_names_frames_that_are_missing_or_made_from_something_else(shot_of: ShotOf) -> None:
    shot = shot_of(6)
    bundle = shot.bundle("identity", 3)
    assert shot.here("farm", "task", "--bundle", str(bundle)).returncode == 0
    assert shot.here("farm", "verify", "--bundle", str(bundle)).returncode == 0
    shot.path("mask", 1002).write_bytes(shot.path("mask", 1003).read_bytes())
    shot.result(1005).unlink()
    found = shot.here("farm", "verify", "--bundle", str(bundle), "--report", "openjd")
    assert found.returncode == 3
    assert "openjd_fail: frame 1002 BAD_FRAME 2 of 6 frames are not right (1002,1005)" in found.stdout
    task = ("farm", "task", "--bundle", str(bundle), "--frames", "1002,1005")
    assert shot.here(*task).returncode == 3, "never a silent mix"
    _, _, remedy = found.stderr.strip().partition("Run them again: mattebridge ")
    assert shlex.split(remedy) == [*task, "--overwrite"]
    assert shot.here(*shlex.split(remedy)).returncode == 0
    assert shot.here("farm", "verify", "--bundle", str(bundle)).returncode == 0


def test_verify_finds_alpha_that_is_not_finite_and_a_jump_between_chunks(shot_of: ShotOf) -> None:
    shot = shot_of(6)
    words = ("--bundle", str(shot.bundle("identity", 3)))
    assert shot.here("farm", "task", *words).returncode == 0
    for frame in (1004, 1005, 1006):
        with_alpha_times(shot.result(frame), 0.5)
    jump = shot.here("farm", "verify", *words)
    assert jump.returncode == 0
    assert re.search(r"warning: alpha changes [\d.]+ times as much at chunk borders", jump.stdout)
    with_alpha_times(shot.result(1002), float("nan"))
    found = shot.here("farm", "verify", *words)
    assert found.returncode == 3
    assert "the alpha of frame 1002 is not finite" in found.stderr


def with_alpha_times(path: Path, factor: float) -> None:
    """Change a result's pixels and leave its header as it is."""
    import OpenImageIO as oiio

    picture = oiio.ImageBuf(str(path))
    assert oiio.ImageBufAlgo.mul(picture, picture, factor)
    assert picture.write(str(path))


def test_a_killed_worker_leaves_nothing_and_a_second_run_makes_only_what_is_missing(shot_of: ShotOf) -> None:
    shot = shot_of(24)
    shot.environment["TMPDIR"] = str(shot.folder)  # a killed worker leaves its session's folder behind
    bundle = shot.bundle("edge", 8)
    worker = shot.start(shot.openjd_words(bundle, "--step", "Matte"))
    log = read_until(worker, "frame 1003 written")  # sooner than a start's wrappers are sure to have ended
    children = {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}
    worker.kill()
    worker.communicate(timeout=60)
    wait_gone(children | server_pids(log))
    before = {f: shot.result(f).stat().st_mtime_ns for f in shot.frames if shot.result(f).exists()}
    assert 3 <= len(before) <= 8, "one chunk of three at most"
    again = shot.openjd(bundle, "--step", "Verify", "--run-dependencies")
    assert again.returncode == 0, again.stdout[-4000:]
    kept = sum(int(n) for n in re.findall(r"frames to matte, (\d+) finished before", again.stdout))
    assert kept == len(before)
    assert all(shot.result(frame).stat().st_mtime_ns == stamp for frame, stamp in before.items())


def test_a_damaged_plate_fails_the_task_with_frame_cause_and_status(shot_of: ShotOf) -> None:
    shot = shot_of(6)
    bundle = shot.bundle("identity", 3)
    plate = shot.path("plate", 1005)
    plate.write_bytes(plate.read_bytes()[: plate.stat().st_size // 2])
    failed = shot.openjd(bundle, "--step", "Matte")
    assert failed.returncode == 1
    (line,) = re.findall(r"openjd_fail: (.*)", failed.stdout)
    assert line.startswith("frame 1005 BAD_FRAME frame 1005 is truncated")
    assert str(plate) in line
    assert "exited with code: 3" in failed.stdout
    assert shot.result(1003).exists() and not shot.result(1005).exists()
    wait_gone(server_pids(failed.stdout), 0)


def test_cancel_leaves_no_process_behind(shot_of: ShotOf) -> None:
    shot = shot_of(48)
    bundle = shot.bundle("edge", 48)
    worker = shot.start(shot.openjd_words(bundle, "--step", "Matte"))
    log = read_until(worker, "frame 1003 written")
    children = {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}
    worker.send_signal(signal.SIGINT)
    rest, _ = worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert "openjd_fail: CANCELLED" in rest
    assert "exited with code: 6" in rest
    wait_gone(children | server_pids(log), 0)
    assert not shot.result(1048).exists()


def test_a_server_that_dies_is_reported_as_retryable_and_started_again_by_the_next_task(shot_of: ShotOf) -> None:
    shot = shot_of(24)
    bundle = shot.bundle("edge", 24)
    session = shot.folder / "session"
    session.mkdir()
    here = ["farm", "task", "--bundle", str(bundle), "--session", str(session)]
    entered = shot.mattebridge("farm", "enter", "--bundle", str(bundle), "--session", str(session))
    assert entered.returncode == 0, entered.stderr
    (first,) = server_pids(entered.stdout)
    task = shot.start([str(BIN / "mattebridge"), *here])
    read_until(task, "frame 1003 written")
    os.kill(first, signal.SIGKILL)
    said, _ = task.communicate(timeout=90)
    assert task.returncode == 4
    assert "\n  server.jsonl: " in said, "the session's folder goes, and the server's log with it"
    again = shot.mattebridge(*here)
    assert again.returncode == 0, again.stderr
    (second,) = server_pids(again.stdout)
    assert second != first
    left = shot.mattebridge("farm", "exit", "--session", str(session))
    assert (left.returncode, "stopped" in left.stdout) == (0, True)
    wait_gone({first, second}, 0)
    gone = shot.mattebridge("farm", "exit", "--session", str(session))
    assert (gone.returncode, "gone already" in gone.stdout) == (0, True)


def test_a_plan_of_another_model_version_fails_when_the_session_begins(shot_of: ShotOf) -> None:
    shot = shot_of(3)
    bundle, session = shot.bundle("identity", 3), shot.folder / "session"
    plan = bundle / "plan.json"
    plan.write_text(plan.read_text().replace("identity/1", "identity/0"))
    session.mkdir()
    failed = shot.here("farm", "enter", "--bundle", str(bundle), "--session", str(session))
    assert failed.returncode == 3
    assert "openjd_fail: BAD_PLAN the plan was made for identity (identity/0)" in failed.stdout
    assert not list(session.iterdir()), "the server that was started is gone"


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(540)
def test_a_network_run_in_windows_gives_the_same_bits_on_the_farm(shot_of: ShotOf, tmp_path: Path) -> None:
    """The local run goes on in its own process, with one thread like the farm's, while the farm runs."""
    pytest.importorskip("torch", reason="the [models] extra is not installed")
    site = tmp_path / "site.toml"
    site.write_text(f'[models]\nfolders = ["{GOLDEN}"]\n')
    shot = shot_of(48, environment={"MATTEBRIDGE_SITE": str(site), "OMP_NUM_THREADS": "1"}, width=64, height=48)
    bundle = shot.bundle_folder("videomama")
    local = shot.start_all(
        shot.plan_words("videomama", "--precision", "fp32"),
        shot.bundle_words("videomama", 24, "--device", "cpu:0", "--threads", "1"),
        ["farm", "task", "--bundle", str(bundle), "--folder", f"out={tmp_path / 'local'}"],
    )
    read_until(local, "chunks of 24 frames")
    ran = shot.openjd(bundle, "--step", "Verify", "--run-dependencies", timeout_s=300)
    said, _ = local.communicate(timeout=200)
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert local.returncode == 0, said
    assert len(server_pids(ran.stdout)) == 1
    for frame in shot.frames:
        assert np.array_equal(pixels(shot.result(frame, "farm")), pixels(shot.result(frame, "local"))), frame
