"""Promise 9. Each side knows within three beats that the other is gone; a long step is not taken for death."""

import os
import signal
import time

from chaos_proxy import ChaosProxy
from fault_bench import free_port, until

from mattebridge import messages as m


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


def test_beats_flow_through_a_long_step_and_tell_how_long_it_is(broker, steps):
    broker.start(policy={"engine_lost_s": 1.5})
    client = broker.client()
    client.submit("job", frames="1001", params={"steps": str(steps)})
    until(lambda: (steps / "at-1001").exists())
    pid = broker.engine().pid
    longest = 0.0
    for number in range(40):
        client.send(m.Ping(number))
        longest = client.expect(m.Pong, lambda one, number=number: one.number == number).engine_busy_s
        time.sleep(0.1)
    assert longest > 3.0, "the beats did not tell how long the step has run"
    assert broker.engine().pid == pid, "a long step was taken for a hang"
    (steps / "go-all").touch()
    assert isinstance(client.end_of("job"), m.Done)


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


def test_a_stopped_server_is_noticed_by_silence_and_goes_on_when_it_wakes(broker):
    broker.start(limits={"beat_s": 0.2})
    client = broker.client()
    os.kill(broker.pid, signal.SIGSTOP)
    client.send(m.Ping(7))
    assert client.receive(1.0) is None, "a stopped server answered"
    os.kill(broker.pid, signal.SIGCONT)
    assert client.expect((m.Pong, m.NeedHello))


def test_a_network_that_swallows_everything_is_noticed_without_a_reset(broker):
    broker.start(limits={"beat_s": 0.2}, bind=["tcp://127.0.0.1:*"], metrics_port=free_port())
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
