"""Promise 3. A job key names one job for good: told twice, replayed or redelivered, it runs once."""

import shutil
import socket

from chaos_proxy import ChaosProxy
from fault_bench import ran, request

from mattebridge import codec
from mattebridge import messages as m


def test_the_same_key_and_body_is_the_existing_job(broker, steps, folder):
    broker.start()
    client = broker.client()
    job = {"frames": "1001-1003", "out": f"{folder}/o/####", "params": {"steps": str(steps), "a": 1, "b": 2}}
    first = client.submit("key", **job)
    assert (first.existing, first.state) == (False, "queued")
    job["params"] = {"b": 2, "a": 1, "steps": str(steps)}
    again = client.submit("key", **job)
    assert again.existing
    (steps / "go-all").touch()
    client.end_of("key")
    assert client.submit("key", **job).state == "done"
    assert ran(steps) == [("key", 1001), ("key", 1002), ("key", 1003)]


def test_the_same_key_and_another_body_or_plan_is_a_conflict(broker):
    broker.start()
    client = broker.client()
    client.submit("key", frames="1001")
    assert isinstance(client.submit("key", frames="1002"), m.Conflict)
    assert isinstance(client.submit("key", frames="1001", plan=b"{}"), m.Conflict)
    assert isinstance(client.submit("key", frames="1001"), m.Accepted)
    client.end_of("key")
    assert isinstance(client.submit("key", frames="1002"), m.Conflict)


def test_a_key_keeps_its_meaning_over_a_restart(broker, steps, folder):
    broker.start()
    job = {"frames": "1001-1002", "out": f"{folder}/o/####", "params": {"steps": str(steps)}}
    (steps / "go-all").touch()
    client = broker.client()
    client.submit("key", **job)
    client.end_of("key")
    broker.kill()
    broker.again()
    client = broker.client()
    assert client.submit("key", **job).state == "done"
    assert isinstance(client.submit("key", frames="7"), m.Conflict)
    assert len(ran(steps)) == 2


def test_a_recorded_session_replayed_whole_has_no_second_effect(broker, steps, folder):
    broker.start()
    (steps / "go-all").touch()
    client = broker.client()
    job = request(frames="1001-1004", out=f"{folder}/o/####", params={"steps": str(steps)})
    recorded = [
        codec.encode(message)
        for message in (
            m.Hello(1, 0, "c", "ann", "h", 1),
            m.Submit(1, "key", job, client.boot_id),
            m.Submit(2, "key", job, client.boot_id),
            m.Resume(3, "key", 0),
            m.Cancel(4, "nobody"),
        )
    ]
    for _ in range(3):
        replayer = broker.client(hello=False)
        for parts in recorded:
            replayer.socket.send_multipart(parts)
        assert isinstance(replayer.end_of("key"), m.Done)
        replayer.socket.send_multipart(codec.encode(m.Cancel(5, "key")))
        assert replayer.expect(m.Cancelling).state == "done"
    assert len(ran(steps)) == 4


def test_the_captured_bytes_of_a_session_are_worth_nothing_to_a_second_connection(broker, steps, folder):
    broker.start(bind=["tcp://127.0.0.1:*"])
    proxy = ChaosProxy(broker.endpoints[1])
    try:
        (steps / "go-all").touch()
        client = broker.client(proxy.endpoint)
        client.submit("key", frames="1001-1004", out=f"{folder}/o/####", params={"steps": str(steps)})
        client.end_of("key")
        assert len(proxy.sent) > 500
        broker.kill()
        shutil.rmtree(folder / "s")  # the server's memory is gone: only the encryption is left to refuse the replay
        broker.again()
        host, _, port = broker.endpoints[1].removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as thief:
            thief.sendall(proxy.sent)
            while thief.recv(4096):  # until the server hangs up
                pass
        assert broker.client().status().jobs == ()
        assert len(ran(steps)) == 4
    finally:
        proxy.close()


def test_what_a_socket_kept_while_the_server_was_away_runs_once(broker, steps, folder):
    broker.start()
    (steps / "go-all").touch()
    client = broker.client()
    job = request(frames="1001-1003", out=f"{folder}/o/####", params={"steps": str(steps)})
    broker.kill()
    for number in range(3):
        client.send(m.Submit(number, "key", job, client.boot_id))
    broker.again()
    client.expect(m.NeedHello)
    client.hello()
    client.submit("key", **job.__dict__)
    client.end_of("key")
    assert len(ran(steps)) == 3
