"""The demo as a newcomer runs it: a small one, through a server that it starts, then the commands that it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from mattebridge import cli

BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Folders of this test for server and client; whatever server was started is stopped."""
    with tempfile.TemporaryDirectory(prefix="mb") as short:  # an ipc path has about 100 characters
        places = {"RUNTIME": Path(short), "CONFIG": tmp_path / "config", "STATE": tmp_path / "state"}
        ours = {f"MATTEBRIDGE_{name}": str(folder) for name, folder in places.items()}
        known = {**os.environ, **ours, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        yield known
        subprocess.run([BIN / "mattebridge", "stop"], env=known, capture_output=True, check=False)


def test_the_demo_shows_its_result_and_prints_commands_that_work(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    words = ["demo", "--frames", "3", "--width", "480", "--height", "270", "--out", str(folder)]
    made = subprocess.run([BIN / "mattebridge", *words], env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet is not None and sheet.std() > 20
    _, _, by_hand = made.stdout.partition("The same by hand:\n")
    commands = by_hand.replace("\\\n", " ").strip().splitlines()
    assert [line.split()[:2] for line in commands] == [["mattebridge", name] for name in ("matte", "eval", "status")]
    for line in commands:
        done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for number in (1001, 1002, 1003):
        again = (folder / "alpha_v001" / f"alpha.{number}.exr", folder / "alpha" / f"alpha.{number}.exr")
        assert all(path.exists() for path in again)


def test_a_smaller_demo_in_the_same_folder_is_scored_by_its_own_frames(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for frames, size in (("2", ("64", "48")), ("1", ("96", "72"))):
        words = ["demo", "--frames", frames, "--width", size[0], "--height", size[1], "--out", str(tmp_path / "demo")]
        made = subprocess.run(
            [BIN / "mattebridge", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
    assert made.stdout.count("--frames 1001-1001") == 2


@pytest.mark.parametrize("words", [["--frames", "0"], ["--frames", "-3"], ["--width", "3"], ["--height", "0"]])
def test_a_demo_of_nothing_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *words]) == 2
    assert f"argument {words[0]}: '{words[1]}' is no number of" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_cancels_the_demos_job(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["demo", "--frames", "24", "--width", "480", "--height", "270", "--out", str(tmp_path / "demo")]
    with subprocess.Popen(
        [BIN / "mattebridge", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert any(line.strip() == "queued" for line in demo.stdout)
        demo.send_signal(signal.SIGINT)
        _, told = demo.communicate(timeout=60)
    assert demo.returncode == 6 and "cancelled" in told, told
