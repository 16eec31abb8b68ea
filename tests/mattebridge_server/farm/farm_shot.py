"""A small shot on disk, its plan and bundle, and runs of the real command line on it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mattebridge.cli import main
from mattebridge_server.media import ColourHints, FrameHeader, Window, write_alpha, write_rgb
from mattebridge_server.media.source import open_source

BIN = Path(sys.executable).parent


def header(frame: int, width: int, height: int) -> FrameHeader:
    window = Window(0, 0, width, height)
    return FrameHeader("", frame, "openexr", window, window, colour=ColourHints(interop_id="lin_ap1_scene"))


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
        """Run the real command; its output and exit status."""
        return self.run([str(BIN / "mattebridge"), *words], timeout_s)

    def run(self, words: Sequence[str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.whole_environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def whole_environment(self) -> dict[str, str]:
        """Folders of the test's own, so that no server of the user is met."""
        own = {
            name: str(self.folder / "home" / name.lower())
            for name in ("MATTEBRIDGE_RUNTIME", "MATTEBRIDGE_CONFIG", "MATTEBRIDGE_STATE")
        }
        return {**os.environ, **own, "OPENBLAS_NUM_THREADS": "1", **self.environment}

    def plan(self, model: str = "edge", *words: str) -> Path:
        """Freeze the shot's plan; fails the test with what the command said."""
        file = self.folder / f"{model}.json"
        given = ["--plate", self.pattern("plate"), "--mask", self.pattern("mask"), "--model", model]
        done = self.mattebridge("plan", *given, "--server", "local", "--out", str(file), *words)
        assert done.returncode == 0, done.stderr
        return file

    def bundle(self, model: str = "edge", chunk: int = 12, *words: str) -> Path:
        """A bundle of the shot whose workers call this Python's mattebridge."""
        folder = self.folder / f"{model}_bundle"
        command = ["--command", str(BIN / "mattebridge"), "--alpha", self.pattern("farm"), "--out", str(folder)]
        plan = self.folder / f"{model}.json"
        file = plan if plan.exists() else self.plan(model)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(["farm", "bundle", "--plan", str(file), "--chunk", str(chunk), *command, *words])
        assert status == 0, said.getvalue()
        return folder

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
