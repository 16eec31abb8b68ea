"""Promise 14. The device's work is in a child; its death costs a window, not the server, and poison is told by name."""

import os
import re
import signal

import psutil
import pytest
from fault_bench import outliving, ran, until
from real_shot import REAL

from mattebridge import messages as m


def submit(client, folder, steps, **params):
    (steps / "go-all").touch()
    job = {"frames": "1001-1012", "out": f"{folder}/o/####", "params": {"steps": str(steps), **params}}
    return client.submit("job", **job)


def test_a_segfault_costs_a_window_and_the_job_is_finished(broker, steps, folder):
    broker.start()
    client = broker.client()
    submit(client, folder, steps, crash_at=1006)
    done = client.end_of("job")
    assert (done.written, done.kept) == (12, 0)
    frames = [frame for _, frame in ran(steps)]
    assert sorted(set(frames)) == list(range(1001, 1013))
    assert [frame for frame in frames if frames.count(frame) > 1] == [1006, 1006]
    engine = client.status().engines[0]
    assert (engine.state, engine.restarts) == ("idle", 1)


def test_a_window_that_always_kills_is_poison_with_its_frames_named(broker, steps, folder):
    broker.start()
    client = broker.client()
    submit(client, folder, steps, crash_at=1006, crash_times=99)
    failed = client.end_of("job")
    assert failed.error.code == "POISON"
    assert failed.error.frame == 1005
    assert "3 times on frames 1005 to 1008" in failed.error.message
    assert "SIGSEGV" in failed.error.message
    assert [frame for _, frame in ran(steps)].count(1006) == 3
    client.submit("next", frames="1")
    assert isinstance(client.end_of("next"), m.Done)


def test_deaths_are_remembered_over_a_restart_of_the_server(broker, steps, folder):
    broker.start(policy={"backoff_s": 1.0, "backoff_longest_s": 60.0})
    client = broker.client()
    submit(client, folder, steps, crash_at=1006, crash_times=99)
    until(lambda: [frame for _, frame in ran(steps)].count(1006) == 2, timeout_s=30)
    until(lambda: client.status().engines[0].restarts == 2)
    broker.kill()
    broker.again()
    client = broker.client()
    client.ask(m.Resume, key="job")
    assert client.end_of("job").error.code == "POISON"
    assert [frame for _, frame in ran(steps)].count(1006) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_an_idle_engine_that_dies_is_back_for_the_next_job(broker, number):
    broker.start()
    client = broker.client()
    client.ask(m.Describe, model="edge")
    os.kill(broker.engine().pid, number)
    until(lambda: client.status().engines[0].restarts == 1)
    client.submit("job", frames="1")
    assert isinstance(client.end_of("job"), m.Done)


def test_an_engine_that_never_starts_is_told_to_those_who_wait(broker):
    broker.start(setup={"folders": ["start-dies"]}, policy={"start_attempts": 3})
    client = broker.client()
    assert client.status().state == "starting"
    client.submit("job", frames="1")
    failed = client.end_of("job")
    assert failed.error.code == "ENGINE_FAILED"
    assert "does not start" in failed.error.message
    assert "exit status 3" in failed.error.message


def test_an_engine_without_its_device_says_what_is_wrong(broker):
    broker.start(config=REAL, device=["cuda:99"], policy={"start_attempts": 1})
    client = broker.client()
    client.submit("job", frames="1", model="identity")
    failed = client.end_of("job")
    assert failed.error.code == "ENGINE_FAILED"
    said = r"the engine does not start: .*cuda:99.+, or with --device cpu:0.* \(exit status 1\)"
    assert re.fullmatch(said, failed.error.message)


def test_no_engine_outlives_a_broker_that_is_killed(broker, steps):
    broker.start()
    client = broker.client()
    client.submit("job", frames="1001", params={"steps": str(steps), "deaf": True})
    until(lambda: (steps / "at-1001").exists())
    children = psutil.Process(broker.pid).children(recursive=True)
    assert any("controllable_engine" in " ".join(child.cmdline()) for child in children)
    broker.kill()
    assert outliving(children, 10) == []


def test_an_engine_that_cannot_end_itself_is_ended_by_the_next_server(broker):
    broker.start()
    broker.client().models_up()
    orphan = broker.engine()
    orphan.suspend()
    broker.kill()
    assert orphan.is_running()
    broker.again()
    client = broker.client()
    client.submit("job", frames="1")
    assert isinstance(client.end_of("job"), m.Done)
    assert outliving([orphan], 5) == []


def test_one_engine_for_each_device_and_jobs_run_beside_each_other(broker, steps, folder):
    broker.start(device=["cpu:0", "cpu:1"])
    client = broker.client()
    for key in ("a", "b"):
        client.submit(key, frames="1", params={"steps": str(steps)})
    until(lambda: len(ran(steps)) == 2)
    engines = client.status().engines
    assert {engine.job for engine in engines} == {"a", "b"}
    (steps / "go-all").touch()
    client.end_of("a")
    client.end_of("b")
