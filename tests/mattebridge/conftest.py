"""Thin-side tests: `small_server` (a real ROUTER) is importable by name, and folders never leave the test's own."""

import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_server import new_keys

from mattebridge.settings import Settings


@pytest.fixture
def settings(tmp_path):
    """Settings whose folders are the test's own; short times, so that a failure does not take a minute."""
    environment = {f"MATTEBRIDGE_{name}": str(tmp_path / name.lower()) for name in ("RUNTIME", "CONFIG", "STATE")}
    made = Settings.from_environment(environment)
    return dataclasses.replace(made, connect_timeout_s=10.0, lost_timeout_s=10.0, user="anna")


@pytest.fixture(scope="session")
def server_keys():
    return new_keys()
