"""A real server for the node's tests: `mattebridge serve` in folders of its own, with a model that tests hold."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest

from mattebridge.rendezvous import Rendezvous, read_alive
from mattebridge.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
GATED = ROOT / "tests" / "mattebridge_nuke" / "gated_package"


class LocalServer:
    """A real `mattebridge serve` with folders of its own and the gated model."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.environment = {
            "MATTEBRIDGE_RUNTIME": str(folder / "r"),
            "MATTEBRIDGE_CONFIG": str(folder / "c"),
            "MATTEBRIDGE_STATE": str(folder / "s"),
            "MATTEBRIDGE_LOST_TIMEOUT": "60",
        }
        self.tcp_endpoint = ""
        self.process: Optional[subprocess.Popen[bytes]] = None

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.environment)

    def start(self) -> None:
        path = os.pathsep.join([str(GATED), *(str(ROOT / name) for name in ("nuke_plugin", "server", "ocio"))])
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mattebridge", "serve", *self.arguments],
                env={**os.environ, **self.environment, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait_for(lambda: self._alive() is not None)

    def _alive(self) -> Optional[Rendezvous]:
        found = read_alive(self.settings.runtime_dir)
        return found if found is not None and self.process is not None and found.pid == self.process.pid else None

    def wait_for(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Polls an outside fact. Raises with the server's log."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end or (self.process is not None and self.process.poll() is not None):
                raise RuntimeError((self.folder / "log").read_text("utf-8", "replace")[-3000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """As the out-of-memory killer does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running_server(*arguments: str) -> Iterator[LocalServer]:
    """A started server, its address in the environment; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mbn"))  # short: a socket's path has a limit
    server = LocalServer(folder, *arguments)
    with pytest.MonkeyPatch.context() as patch:
        for name, text in server.environment.items():
            patch.setenv(name, text)
        patch.delenv("OCIO", raising=False)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)
