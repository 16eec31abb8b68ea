"""A small shot on disk, its plan and bundle, and runs of the real command line on it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from mattebridge.cli import main
from mattebridge.rendezvous import process_alive
from mattebridge_server.media import ColourHints, FrameHeader, Window, write_alpha, write_rgb
from mattebridge_server.media.source import open_source

BIN = Path(sys.executable).parent
ONE_AFTER_THE_OTHER = """\
import json, sys
from mattebridge.cli import main
sys.exit(next((status for words in json.loads(sys.argv[1]) if (status := main(words))), 0))
"""


def header(frame: int, width: int, height: int) -> FrameHeader:
    window = Window(0, 0, width, height)
    return FrameHeader("", frame, "openexr", window, window, colour=ColourHints(interop_id="lin_ap1_scene"))


def wait_gone(pids: Iterable[int], patience_s: float = 40) -> None:
    """Processes that ended before are fine, and so is one that init has not noticed; one that stays fails the test."""
    end = time.monotonic() + patience_s
    while alive := [pid for pid in pids if process_alive(pid)]:
        assert time.monotonic() < end, f"these still run: {alive}"
        time.sleep(0.02)


@dataclass
class FarmShot:
    """Plates and rough masks of a bright disc that moves over a dark, textured ground."""

    folder: Path
    frames: Sequence[int]
    environment: dict[str, str] = field(default_factory=dict)
    width: int = 160
    height: int = 90

    def write(self) -> FarmShot:
        for role in ("plate", "mask"):
            (self.folder / role).mkdir(parents=True, exist_ok=True)
        width, height = self.width, self.height
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        for index, frame in enumerate(self.frames):
            grain = np.random.default_rng(frame).normal(0, 0.01, (height, width, 3)).astype(np.float32)
            ground = 0.08 + 0.03 * np.sin(columns / 5)[..., None] * np.float32([1, 0.8, 0.6])
            distance = np.hypot(columns - width * 0.3 - index * width / 160, rows - height / 2)
            cover = np.clip(height * 0.29 - distance, 0, 1)[..., None]
            plate = cover * np.float32([0.7, 0.5, 0.4]) + (1 - cover) * ground + grain
            mask = cv2.GaussianBlur((distance < height * 0.26).astype(np.float32), (0, 0), 1.0)
            like = header(frame, width, height)
            write_rgb(str(self.path("plate", frame)), np.float32(plate.clip(0)), like=like, frame=frame)
            write_alpha(str(self.path("mask", frame)), mask, like=like, frame=frame)
        return self

    def path(self, role: str, frame: int) -> Path:
        return self.folder / role / f"{role}.{frame:04d}.exr"

    def result(self, frame: int, run: str = "farm") -> Path:
        return self.folder / run / f"alpha.{frame:04d}.exr"

    def pattern(self, role: str) -> str:
        return str(self.folder / role / ("alpha" if role in ("farm", "local") else role)) + ".####.exr"

    def mattebridge(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the real command in a process of its own; its output and exit status."""
        return self.run([str(BIN / "mattebridge"), *words], timeout_s)

    def here(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same command in this process, for tests of what it says and makes: a start takes longer than the work."""
        out, err = io.StringIO(), io.StringIO()
        environment = mock.patch.dict(os.environ, self.whole_environment(), clear=True)
        with environment, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def run(self, words: Sequence[str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.whole_environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """A process whose output is read while it runs."""
        return subprocess.Popen(
            words, env=self.whole_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def start_all(self, *commands: Sequence[str]) -> subprocess.Popen[str]:
        """Commands one after the other in one process, up to the first that fails: a network's libraries load once."""
        return self.start([sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)])

    def whole_environment(self) -> dict[str, str]:
        """Folders of the test's own, so that no server of the user is met."""
        own = {
            name: str(self.folder / "home" / name.lower())
            for name in ("MATTEBRIDGE_RUNTIME", "MATTEBRIDGE_CONFIG", "MATTEBRIDGE_STATE")
        }
        return {**os.environ, **own, "OPENBLAS_NUM_THREADS": "1", **self.environment}

    def plan_words(self, model: str = "edge", *words: str) -> list[str]:
        """Arguments of `mattebridge plan` for the shot."""
        given = ["--plate", self.pattern("plate"), "--mask", self.pattern("mask"), "--model", model]
        return ["plan", *given, "--server", "local", "--out", str(self.folder / f"{model}.json"), *words]

    def bundle_words(self, model: str = "edge", chunk: int = 12, *words: str) -> list[str]:
        """Arguments of `mattebridge farm bundle`; the bundle's workers call this Python's mattebridge."""
        given = ["--plan", str(self.folder / f"{model}.json"), "--chunk", str(chunk), "--alpha", self.pattern("farm")]
        command = ["--command", str(BIN / "mattebridge"), "--out", str(self.bundle_folder(model))]
        return ["farm", "bundle", *given, *command, *words]

    def bundle_folder(self, model: str) -> Path:
        return self.folder / f"{model}_bundle"

    def bundle(self, model: str = "edge", chunk: int = 12, *words: str) -> Path:
        """Plan the shot and make its bundle; fails the test with what the commands said."""
        for asked in (self.plan_words(model), self.bundle_words(model, chunk, *words)):
            done = self.here(*asked)
            assert done.returncode == 0, done.stderr
        return self.bundle_folder(model)

    def openjd_words(self, bundle: Path, *words: str) -> list[str]:
        parameters = f"file://{bundle / 'parameters.json'}"
        return [str(BIN / "openjd"), "run", str(bundle / "template.json"), "--job-param", parameters, *words]

    def openjd(self, bundle: Path, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """`openjd run` of the bundle."""
        return self.run(self.openjd_words(bundle, *words), timeout_s)


def pixels(path: Path) -> np.ndarray:
    """What a result holds, as stored: (H, W, C) float32."""
    with open_source(str(path), 0) as source:
        return source.read(list(source.channels))


def template(bundle: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((bundle / "template.json").read_text())
    return content
