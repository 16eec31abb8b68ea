"""Promise 21. SIGTERM: nothing new is taken, the running step is finished, the rest is kept, and it ends in time."""

import signal
import time

import psutil
import pytest
from fault_bench import outliving, ran, served, until

from mattebridge import messages as m


@pytest.fixture
def busy(broker, steps, folder):
    broker.start()
    client = broker.client()
    client.submit("job", frames="1001-1010", out=f"{folder}/o/####", params={"steps": str(steps)})
    client.submit("waits", frames="1", out=f"{folder}/w/####")
    (steps / "go-1001").touch()
    until(lambda: (steps / "at-1002").exists())
    return client


def test_sigterm_keeps_what_is_left_for_the_next_start(broker, busy, steps, folder):
    children = psutil.Process(broker.pid).children()
    assert broker.stop() == 0
    assert outliving(children, 5) == []
    assert served(folder) is None, "the rendezvous file stayed behind"
    (steps / "go-all").touch()
    broker.again()
    client = broker.client()
    for key in ("job", "waits"):
        client.ask(m.Resume, key=key)
        assert isinstance(client.end_of(key), m.Done)
    frames = [frame for key, frame in ran(steps) if key == "job"]
    assert frames.count(1001) == 1
    assert set(frames) == set(range(1001, 1011))


def test_while_it_drains_nothing_new_is_taken_and_status_says_so(broker, steps):
    broker.start(config={"drain_s": 30})
    client = broker.client()
    client.submit("deaf", frames="1001", params={"steps": str(steps), "deaf": True})
    until(lambda: (steps / "at-1001").exists())
    broker.process.send_signal(signal.SIGTERM)
    until(lambda: client.status().state == "draining")
    refused = client.submit("new", frames="1")
    assert refused.error.code == "REFUSED"
    assert "stopping" in refused.error.message
    (steps / "go-all").touch()
    assert broker.wait() == 0


def test_a_second_sigterm_does_not_wait_for_the_step(broker, steps):
    broker.start(config={"drain_s": 60})
    client = broker.client()
    client.submit("deaf", frames="1001", params={"steps": str(steps), "deaf": True})
    until(lambda: (steps / "at-1001").exists())
    broker.process.send_signal(signal.SIGTERM)
    until(lambda: client.status().state == "draining")
    begin = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - begin < 5
    broker.again()
    assert broker.client().state("deaf") in ("queued", "running")


def test_a_step_that_does_not_end_is_cut_off_in_time(broker, steps):
    broker.start(config={"drain_s": 0.5})
    client = broker.client()
    client.submit("deaf", frames="1001", params={"steps": str(steps), "deaf": True})
    until(lambda: (steps / "at-1001").exists())
    begin = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - begin < 6


def test_sigterm_while_the_engine_is_starting(broker):
    broker.start()
    assert broker.stop() == 0


def test_sigterm_while_a_model_is_loading(broker, steps):
    broker.start(config={"drain_s": 0.5})
    client = broker.client()
    client.submit("job", frames="1001", params={"steps": str(steps), "load": True})
    until(lambda: (steps / "at-load").exists())
    begin = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - begin < 6
    (steps / "go-load").touch()
    (steps / "go-all").touch()
    broker.again()
    client = broker.client()
    client.ask(m.Resume, key="job")
    assert isinstance(client.end_of("job"), m.Done)


def test_stop_by_message_drains_too(broker, busy, steps):
    assert isinstance(busy.ask(m.Stop, now=True), m.Stopping)
    assert broker.wait() == 0
    broker.again()
    assert broker.client().state("job") in ("queued", "running")


def test_an_idle_server_leaves_when_it_was_asked_to(broker):
    broker.start(idle_exit=0.5, limits={"beat_s": 0.1})
    broker.client().close()
    assert broker.wait() == 0


def test_an_idle_server_stays_while_somebody_is_connected(broker):
    broker.start(idle_exit=0.5)
    client = broker.client()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        client.status()
    assert broker.process.poll() is None
