"""A broker and a folder of steps for each test, and nothing left running after it."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_bench import Broker


@pytest.fixture
def folder():
    """A folder with a short name: an ipc path has about 100 characters."""
    path = Path(tempfile.mkdtemp(prefix="mb"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def broker(folder):
    bench = Broker(folder)
    yield bench
    try:
        if bench.serves():  # whatever was done to it, it can still be looked at
            assert bench.page("/live") == (200, "live\n")
            assert bench.metrics()["mattebridge_queue_limit"] > 0
    finally:
        bench.close()


@pytest.fixture
def steps(folder):
    """Where a controllable engine waits for the test."""
    path = folder / "steps"
    path.mkdir()
    return path
