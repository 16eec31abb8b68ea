"""Promise 9. Each side knows within three beats that the other is gone; a long step is not taken for death."""

import os
import signal
import time
from dataclasses import asdict, replace

import pytest
from chaos_proxy import ChaosProxy
from fault_bench import request, until

from mattebridge import Client, keys
from mattebridge import messages as m

BEAT_S = 0.5


def test_a_silent_client_is_pinged_and_then_forgotten(broker):
    broker.start(limits={"beat_s": 0.2})
    quiet, other = broker.client(), broker.client()
    assert quiet.socket.poll(1000), "no ping came"
    assert quiet.socket.recv_multipart()[0] == b"PING"
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        other.receive(0.05)
    quiet.send(m.Status(1))
    quiet.expect(m.NeedHello)
    other.status()


def test_any_traffic_counts_as_a_beat(broker):
    broker.start(limits={"beat_s": 0.3})
    client = broker.client()
    for _ in range(20):
        client.status()
        time.sleep(0.1)
    assert client.status().state == "ready"


def test_an_engine_that_is_stopped_is_replaced_and_the_job_goes_on(broker, steps, folder):
    broker.start(policy={"engine_lost_s": 1.0})
    client = broker.client()
    params = {"steps": str(steps), "stop_at": 1002}
    (steps / "go-all").touch()
    client.submit("job", frames="1001-1003", out=f"{folder}/o/####", params=params)
    ended = client.end_of("job")
    assert isinstance(ended, m.Done)
    assert ended.written == 3
    assert client.status().engines[0].restarts == 1
    assert any(one.code == "ENGINE_RESTARTED" for one in client.events() if isinstance(one, m.Warning_))


def test_a_server_that_was_suspended_with_its_engine_blames_nobody(broker, steps):
    broker.start(policy={"engine_lost_s": 2.0})
    client = broker.client()
    client.submit("job", frames="1001", params={"steps": str(steps)})
    until(lambda: (steps / "at-1001").exists())
    engine = broker.engine()
    for process in (broker.process, engine):
        process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    broker.process.send_signal(signal.SIGCONT)
    until(lambda: "was stopped" in broker.log())  # it looked at the clock before the engine could beat
    engine.send_signal(signal.SIGCONT)
    (steps / "go-all").touch()
    client = broker.client()
    client.ask(m.Resume, key="job")
    assert isinstance(client.end_of("job"), m.Done)
    assert broker.restarts(client) == 0


@pytest.fixture
def behind_proxy(broker, steps, folder):
    """The program's own client, connected through a proxy, with a job whose first frame waits."""
    broker.start(limits={"beat_s": BEAT_S}, bind=["tcp://127.0.0.1:*"])
    proxy = ChaosProxy(broker.endpoints[1])
    server_key = keys.load_or_create(broker.settings.server_key_file).public
    try:
        with Client.connect(proxy.endpoint, settings=replace(broker.settings, server_key=server_key)) as client:
            fields = asdict(request(frames="1001-1003", out=f"{folder}/o/####", params={"steps": str(steps)}))
            job = client.submit(m.JobRequest(**fields))
            until(lambda: (steps / "at-1001").exists())
            yield proxy, job
    finally:
        proxy.close()


@pytest.mark.parametrize("way", ["stopped", "swallowed"])
def test_a_client_leaves_a_mute_server_within_three_beats_and_finds_its_job_again(broker, steps, behind_proxy, way):
    proxy, job = behind_proxy
    before, begin = proxy.connections, time.monotonic()
    if way == "stopped":
        os.kill(broker.pid, signal.SIGSTOP)
    else:
        proxy.swallow(True)
    until(lambda: proxy.connections > before)
    spent = time.monotonic() - begin
    assert spent > BEAT_S, "it did not wait for a beat"
    assert spent < 3 * BEAT_S + 2.0, "three beats, and what a busy machine adds"
    if way == "stopped":
        os.kill(broker.pid, signal.SIGCONT)
    else:
        proxy.swallow(False)
        proxy.cut()
    (steps / "go-all").touch()
    assert job.wait(timeout_s=60).written == 3


def test_a_network_that_swallows_everything_is_noticed_without_a_reset(broker):
    broker.start(limits={"beat_s": 0.2}, bind=["tcp://127.0.0.1:*"])
    proxy = ChaosProxy(broker.endpoints[1])
    try:
        client = broker.client(proxy.endpoint)
        assert broker.metrics()["mattebridge_clients"] == 1
        proxy.swallow(True)
        client.send(m.Ping(1))
        assert client.receive(1.0) is None
        until(lambda: broker.metrics()["mattebridge_clients"] == 0)
        proxy.swallow(False)
        proxy.cut()
        client.send(m.Status(5))
        client.expect(m.NeedHello)
        client.hello()
    finally:
        proxy.close()


@pytest.mark.slow
def test_beats_flow_through_a_step_of_30_seconds_and_tell_how_long_it_is(long_step):
    """An engine without a beat for 30 s is lost; a step that lasts as long is not."""
    told, began, lasted, end = long_step.result(90)
    assert told == sorted(told) and len(set(told)) > 20, "the beats did not tell how long the step has run"
    assert began == lasted, "a long step was taken for a hang"
    assert isinstance(end, m.Done)
