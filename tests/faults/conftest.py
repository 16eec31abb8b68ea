"""A broker and a folder of steps for each test, and nothing left running after it."""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_bench import Broker, until

from mattebridge import messages as m
from mattebridge_server.broker.scheduling import Policy

STEP_S = 31.0


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


@pytest.fixture(scope="session")
def long_step():
    """One job whose only step lasts over 30 s, with the program's own times. It runs beside the tests from the first
    one that asks for it, which need not be the one that judges it.

    A future of what the beats told, and the engine's process when the step began and when it had lasted that long.
    """

    def watch(broker, folder):
        broker.start(policy={"engine_lost_s": Policy.engine_lost_s})
        client = broker.client()
        client.submit("job", frames="1001", params={"steps": str(folder)})
        until(lambda: (folder / "at-1001").exists())
        began, told, number = broker.engine().pid, [0.0], 0
        while told[-1] < STEP_S:
            number += 1
            client.send(m.Ping(number))
            told.append(client.expect(m.Pong, lambda one, number=number: one.number == number).engine_busy_s)
            client.receive(0.5)
        lasted = broker.engine().pid
        (folder / "go-all").touch()
        return told, began, lasted, client.end_of("job")

    with tempfile.TemporaryDirectory(prefix="mb", ignore_cleanup_errors=True) as folder, ThreadPoolExecutor() as pool:
        broker = Broker(Path(folder))
        try:
            yield pool.submit(watch, broker, Path(folder))
        finally:
            broker.close()
