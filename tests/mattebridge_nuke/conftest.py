"""Fixtures of the node's tests: a fake Nuke, small EXR shots, a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GIZMOS = ROOT / "nuke_plugin" / "gizmos"

for folder in (ROOT / "tests" / "fake_nuke", ROOT / "nuke_plugin"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from fakenuke import FakeNuke  # noqa: E402
from fakenuke.local_server import LocalServer, running_server  # noqa: E402


@pytest.fixture
def gizmo_file() -> Path:
    return GIZMOS / "MatteBridge.gizmo"


@pytest.fixture
def fake() -> Iterator[FakeNuke]:
    """Nuke with its interface, our gizmo on the plug-in path."""
    with FakeNuke(gui=True, plugin_folders=[GIZMOS]) as running:
        yield running


@pytest.fixture
def terminal() -> Iterator[FakeNuke]:
    """`nuke -t`."""
    with FakeNuke(gui=False, plugin_folders=[GIZMOS]) as running:
        yield running


@pytest.fixture(scope="session")
def shared_server() -> Iterator[LocalServer]:
    """One server for all tests that do not hurt it."""
    with running_server() as server:
        yield server


@pytest.fixture
def server(shared_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """The shared server, found by this test's environment."""
    for name, text in shared_server.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("OCIO", raising=False)
    return shared_server


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The folder that the model `gated` looks into: a frame waits for a file of its number, or for ``open``."""
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder
