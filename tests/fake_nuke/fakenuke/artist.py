"""What an artist does in a test: press a button, wait for the node, look at files."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import FakeNuke
from .picture import read_exr


class Artist:
    """Works on one node of one fake Nuke."""

    def __init__(self, fake: FakeNuke, node: Any) -> None:
        self.fake = fake
        self.node = node

    def set(self, **knobs: Any) -> None:
        for name, value in knobs.items():
            self.node._knobs[name].setValue(value)

    def value(self, name: str) -> Any:
        return self.node._value(name)

    def choose_model(self, name: str, **params: Any) -> None:
        """Refresh models, choose one, set its parameters on the knobs that appeared."""
        worker = importlib.import_module("mattebridge_nuke.refresh_models").start(self.node)
        self.fake.session.run_until(lambda: not worker.is_alive())
        self.set(model=name, **{f"p_{name}__{param}": value for param, value in params.items()})

    def begin(self, button: str) -> Any:
        """Press; gives the run that it started (it may have ended already), None when it started none."""
        runs = importlib.import_module("mattebridge_nuke.background").Background
        start, started = runs.start, []

        def remember(run: Any) -> None:
            started.append(run)
            start(run)

        runs.start = remember
        try:
            self.fake.press(self.node, button)
        finally:
            runs.start = start
        return started[0] if started else None

    def running(self) -> Any:
        return importlib.import_module("mattebridge_nuke.background").running(self.node)

    def press(self, button: str, timeout_s: float = 90.0) -> Any:
        """Press and wait for the end. Raises `AssertionError` with the dialogs when no run was started."""
        run = self.begin(button)
        assert run is not None, self.fake.session.messages
        self.fake.session.run_until(run.finished.is_set, timeout_s)
        return run

    def until(self, done: Callable[[], bool], timeout_s: float = 90.0) -> None:
        self.fake.session.run_until(done, timeout_s)

    def undo_names(self) -> list[str]:
        return [step.name for step in self.fake.session.undo.steps]


def alpha_of(pattern: str, frame: int, view: str = "") -> NDArray[np.float32]:
    """The alpha of one result file."""
    return read_exr(Path(pattern.replace("%V", view).replace("%04d", f"{frame:04d}"))).plane("rgba.alpha")


def frames_in(folder: Path) -> list[int]:
    """Frame numbers of the EXR files in a folder, ascending."""
    return sorted(int(path.name.split(".")[-2]) for path in folder.glob("*.exr"))
