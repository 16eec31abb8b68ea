"""The demo as a newcomer runs it: a small one, through a server that it starts, then the commands that it prints."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

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
