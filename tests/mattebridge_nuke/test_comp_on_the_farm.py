"""A comp whose script was saved before there was a matte, rendered by the job that makes the matte."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke, read_exr
from fakenuke.local_server import LocalServer
from fakenuke.shots import Shot, mask

from mattebridge import Client

TESTS = Path(__file__).resolve().parents[1]
FATAL = re.compile(r".*ERROR:.*|.*Error:.*|.*Error :.*")
"""What makes a farm fail a task, line by line."""


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1004)


class Desk:
    """A script with a MatteBridge node and a Write below it, saved before anything was matted; and its farm job."""

    def __init__(self, fake: FakeNuke, shot: Shot, **knobs: Any) -> None:
        self.shot = shot
        self.node = shot.script(fake, model_name="identity", **knobs)
        self.out = f"{shot.folder.as_posix()}/comp/comp.%04d.exr"
        fake.module.nodes.Write(inputs=[self.node], file=self.out, channels="rgba", create_directories=True)
        self.script = Path(f"{shot.folder.as_posix()}/comp v012.nk")
        fake.module.scriptSaveAs(self.script.as_posix())
        from mattebridge_nuke import farm

        (bundle,) = farm.make_bundles("MatteBridge1", f"{shot.folder.as_posix()}/jobs", write="Write1", chunk=2)
        self.bundle = Path(bundle)
        (self.job,) = farm.jobs_of()

    def matte(self) -> None:
        with Client.connect() as client:
            client.matte(**self.job.request).wait()

    def comp_task(self, frames: str) -> subprocess.CompletedProcess[str]:
        """What a worker runs for one chunk, from the template and its parameters alone."""
        steps = json.loads((self.bundle / "template.json").read_text())["steps"]
        (script,) = [step["script"] for step in steps if step["name"] == "Comp"]
        (file,) = script["embeddedFiles"]
        embedded = self.bundle / file["filename"]
        embedded.write_text(file["data"])
        values = {
            f"Param.{name}": value for name, value in json.loads((self.bundle / "parameters.json").read_text()).items()
        }
        values |= {"Task.Param.Frames": frames, f"Task.File.{file['name']}": str(embedded)}
        words = [re.sub(r"{{(.*?)}}", lambda m: values[m[1]], word) for word in script["actions"]["onRun"]["args"]]
        return subprocess.run(
            [sys.executable, "-m", "fakenuke", *words],
            env={**os.environ, "PYTHONPATH": str(TESTS / "fake_nuke")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def rendered(self, frame: int) -> Path:
        return Path(self.out.replace("%04d", str(frame)))


@pytest.mark.parametrize("knobs", [{}, {"always_render": True}], ids=["by path", "rendered inputs"])
def test_the_comp_is_rendered_with_the_matte_that_the_job_made(
    server: LocalServer, shot: Shot, terminal: FakeNuke, knobs: dict[str, Any]
) -> None:
    desk = Desk(terminal, shot, **knobs)
    saved = desk.script.read_bytes()
    desk.matte()
    for plate in shot.folder.glob("plate.*.exr"):
        os.utime(plate, (1, 1))  # a worker may have copies
    ran = desk.comp_task("1001-1002")
    assert (ran.returncode, [line for line in ran.stdout.splitlines() if FATAL.match(line)]) == (0, []), ran.stderr
    assert [desk.rendered(frame).exists() for frame in shot_frames()] == [True, True, False, False]
    expected = mask(1002).plane("rgba.alpha").astype(np.float16)
    np.testing.assert_array_equal(read_exr(desk.rendered(1002)).plane("rgba.alpha"), expected)
    assert desk.script.read_bytes() == saved, "the artist's script is left alone"
    assert desk.comp_task("1004").returncode == 0
    assert desk.rendered(1004).exists() and not desk.rendered(1003).exists()


def shot_frames() -> range:
    return range(1001, 1005)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("nothing", "MatteBridge1: the matte of frame 1001 is missing"),
        ("one frame", "MatteBridge1: the matte of frame 1002 is missing"),
        ("no record", "MatteBridge1: no matte was made"),
        ("no Write", "the script has no node Write1"),
    ],
)
def test_a_comp_that_cannot_have_its_matte_fails_with_one_line(
    server: LocalServer, shot: Shot, terminal: FakeNuke, case: str, words: str
) -> None:
    desk = Desk(terminal, shot)
    if case != "nothing":
        desk.matte()
        Path(str(desk.job.request["out"]).replace("%04d", "1002")).unlink()
    if case == "no record":
        next(shot.folder.glob("mattebridge/*/v001/version.json")).unlink()
    if case == "no Write":
        desk.script.write_text(desk.script.read_text().replace("Write1", "Write7"))
    ran = desk.comp_task("1001-1002")
    (line,) = [line for line in ran.stdout.splitlines() + ran.stderr.splitlines() if FATAL.match(line)]
    assert line.startswith(f"ERROR: {words}")
    assert ran.returncode == 3
    assert not desk.rendered(1002).exists()


def test_a_node_that_shows_another_version_is_told_what_its_job_made(
    server: LocalServer, shot: Shot, terminal: FakeNuke
) -> None:
    for frame in shot_frames():
        shot.write_mask(frame, value=0.5)
    first = Desk(terminal, shot)
    first.matte()
    from mattebridge_nuke import farm

    assert farm.take_results() == ["MatteBridge1"]
    terminal.module.scriptSaveAs(first.script.as_posix())
    for frame in shot_frames():
        shot.write_mask(frame)
    (bundle,) = farm.make_bundles("MatteBridge1", first.bundle.parent.as_posix(), write="Write1")
    (first.job,) = farm.jobs_of()
    assert first.job.version == "v002"
    first.bundle = Path(bundle)
    first.matte()
    assert first.comp_task("1003").returncode == 0
    expected = mask(1003).plane("rgba.alpha").astype(np.float16)
    np.testing.assert_array_equal(read_exr(first.rendered(1003)).plane("rgba.alpha"), expected)


def test_openjd_renders_the_comp_once_the_matte_is_made_and_verified(
    server: LocalServer, shot: Shot, terminal: FakeNuke
) -> None:
    pytest.importorskip("openjd.model", reason="openjd-cli is not installed")
    desk = Desk(terminal, shot)
    nuke, asked = shot.folder.parent / "nuke", shot.folder.parent / "asked"
    mattes = Path(str(desk.job.request["out"])).parent
    nuke.write_text(
        f'#!/bin/sh\necho $(ls "{mattes}"/*.exr | wc -l) "$1" $(basename "$2") "$3" "$4" "$5" "$6" >> "{asked}"\n'
        f'PYTHONPATH="{TESTS / "fake_nuke"}" exec "{sys.executable}" -m fakenuke "$@"\n'
    )
    nuke.chmod(0o755)
    values = json.loads((desk.bundle / "parameters.json").read_text())
    values |= {"Nuke": str(nuke), "MatteBridge": str(Path(sys.executable).parent / "mattebridge")}
    (desk.bundle / "parameters.json").write_text(json.dumps(values))
    ran = subprocess.run(
        [
            str(Path(sys.executable).parent / "openjd"),
            "run",
            str(desk.bundle / "template.json"),
            *("--job-param", f"file://{desk.bundle}/parameters.json", "--step", "Comp", "--run-dependencies"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert re.findall(r"running step '(\w+)'", ran.stdout, re.IGNORECASE) == ["Matte", "Verify", "Comp"]
    words = f"4 -t mattebridge_comp.py {{}} Write1 {mattes} {desk.script}"
    assert asked.read_text().splitlines() == [words.format(chunk) for chunk in ("1001-1002", "1003-1004")]
    for frame in shot_frames():
        expected = mask(frame).plane("rgba.alpha").astype(np.float16)
        np.testing.assert_array_equal(read_exr(desk.rendered(frame)).plane("rgba.alpha"), expected)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("unsaved", "a script on disk"),
        ("nobody", "no Write named Nobody"),
        ("disabled", "Write1 is disabled"),
        ("elsewhere", "Write1 does not render MatteBridge1"),
        ("views", "the views left and right are a job each"),
    ],
)
def test_a_comp_that_cannot_follow_the_matte_is_refused_before_anything_is_rendered(
    tmp_path: Path, terminal: FakeNuke, wrong: str, words: str
) -> None:
    from mattebridge.errors import UsageError
    from mattebridge_nuke import farm

    views = ("left", "right") if wrong == "views" else ()
    shot = Shot(tmp_path, 1001, 1002, views)
    knobs = {"always_render": True, "folder": shot.folder.as_posix()}
    node = shot.script(
        terminal, saved=wrong != "unsaved", which_views="all views" if views else "current view", **knobs
    )
    write = terminal.module.nodes.Write(inputs=[node.input(0) if wrong == "elsewhere" else node], file="comp.%04d.exr")
    write["disable"].setValue(wrong == "disabled")
    with pytest.raises(UsageError, match=words):
        farm.make_bundles("MatteBridge1", str(tmp_path / "jobs"), "Nobody" if wrong == "nobody" else "Write1")
    assert terminal.session.executed == []
    assert not (tmp_path / "jobs").exists()


def test_a_record_from_another_machine_is_read_where_its_files_lie() -> None:
    from mattebridge_nuke import versions

    roles = versions.role_patterns("/shows/a/mattebridge/M", "M", 3, ("alpha", "fgr"), several_views=False)
    here = versions.where_it_lies(versions.Version(3, "X:/a/mattebridge/M/v003", roles=roles))
    assert here.roles == versions.role_patterns("X:/a/mattebridge/M", "M", 3, ("alpha", "fgr"), several_views=False)
