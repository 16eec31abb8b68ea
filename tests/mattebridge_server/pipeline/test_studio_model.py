"""A studio adds a model in a package of its own: installed for real, found by its entry point, used by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "studio_package"

LOOK = """
from mattebridge_server.models.registry import load_registry
registry = load_registry()
print(registry.get("studio-mean").card.title)
try:
    registry.get("studio-broken")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(PACKAGE)], check=True, timeout=100)
    return folder


def test_an_installed_package_adds_a_model_and_a_broken_one_says_why(site_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site_folder)}
    told = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, timeout=60)
    assert told.stdout.splitlines()[0] == "Studio mean", told.stderr
    assert "ModelUnknown" in told.stdout and "ModuleNotFoundError" in told.stdout
