"""Promise 1. Nothing is understood before HELLO; versions meet or part with a readable reason."""

import pytest
from fault_bench import request

from mattebridge import messages as m


def test_any_other_first_message_gets_need_hello_and_has_no_effect(broker):
    broker.start()
    stranger = broker.client(hello=False)
    boot_id = broker.client().boot_id
    for message in (
        m.Ping(1),
        m.Status(1),
        m.Submit(1, "sneaky", request(), boot_id),
        m.Cancel(1, "sneaky"),
        m.Stop(1),
        m.PutsDone("sneaky"),
    ):
        stranger.send(message)
        assert stranger.expect(m.NeedHello) == m.NeedHello(boot_id)
    assert broker.client().status().jobs == ()


def test_welcome_tells_limits_and_the_boot_id_changes_with_every_start(broker):
    broker.start(queue_jobs=17)
    first = broker.client().hello()
    assert (first.major, first.minor) == (m.PROTOCOL_MAJOR, m.PROTOCOL_MINOR)
    assert first.limits.queue_jobs == 17
    assert first.limits.header_bytes == m.HEADER_BYTES
    assert first.devices == ("cpu:0",)
    broker.stop()
    broker.again()
    assert broker.client().hello().boot_id != first.boot_id


@pytest.mark.parametrize("major", [0, 2, 99])
def test_another_major_version_is_refused_in_words(broker, major):
    broker.start()
    client = broker.client(hello=False)
    client.send(m.Hello(major, 0))
    answer = client.expect(m.Incompatible)
    assert answer.major == m.PROTOCOL_MAJOR
    assert str(major) in answer.message
    assert "up to date" in answer.message
    client.send(m.Status(1))
    client.expect(m.NeedHello)


def test_a_newer_minor_version_of_ours_is_welcome(broker):
    broker.start()
    client = broker.client(hello=False)
    client.send(m.Hello(m.PROTOCOL_MAJOR, 99))
    client.expect(m.Welcome)


def test_a_submit_meant_for_an_earlier_server_has_no_effect(broker):
    broker.start()
    client = broker.client()
    stale = client.boot_id
    broker.kill()
    broker.again()
    client = broker.client()
    client.send(m.Submit(1, "stale", request(), stale))
    assert client.expect(m.NeedHello).boot_id == client.boot_id
    assert client.status().jobs == ()
