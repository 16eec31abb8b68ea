"""One 48-frame shot, matted on the farm once and looked at by many tests; small shots for tests that break things."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from farm_shot import FarmShot

needs_openjd = pytest.mark.skipif(importlib.util.find_spec("openjd") is None, reason="openjd-cli is not installed")


@dataclass(frozen=True)
class FarmRun:
    """A shot whose bundle was run by `openjd run`, verify step included."""

    shot: FarmShot
    bundle: Path
    outcome: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def farm_run(tmp_path_factory: pytest.TempPathFactory) -> FarmRun:
    if importlib.util.find_spec("openjd") is None:
        pytest.skip("openjd-cli is not installed")
    shot = FarmShot(tmp_path_factory.mktemp("farm"), range(1001, 1049)).write()
    bundle = shot.bundle("edge", 12)
    return FarmRun(shot, bundle, shot.openjd(bundle, "--step", "Verify", "--run-dependencies"))


@pytest.fixture
def shot_of(tmp_path: Path) -> Callable[..., FarmShot]:
    def make(count: int, **about: object) -> FarmShot:
        return FarmShot(tmp_path, range(1001, 1001 + count), **about).write()  # type: ignore[arg-type]

    return make
