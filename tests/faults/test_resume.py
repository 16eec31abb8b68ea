"""Promise 11. Events are numbered and kept; wherever the line is cut, the client ends with what it would have had."""

import pytest
from chaos_proxy import ChaosProxy

from mattebridge import messages as m

FRAMES = "1001-1020"


def follow(client, key, after=0):
    """Numbered events of a job until its end, as far as this connection brings them."""
    events = []
    while not (events and isinstance(events[-1], m.TERMINAL)):
        received = client.receive(1.0)
        if received is None:
            break
        if isinstance(received[0], m.EVENTS) and received[0].key == key:
            events.append(received[0])
    return events


def facts(events):
    """What a client knows at the end, without times."""
    return [(type(one).__name__, one.seq, getattr(one, "frame", None)) for one in events]


@pytest.fixture
def uncut(broker, steps, folder):
    """A finished job and its events as they came without a cut."""
    broker.start(bind=["tcp://127.0.0.1:*"])
    (steps / "go-all").touch()
    client = broker.client()
    client.submit("job", frames=FRAMES, out=f"{folder}/o/####", params={"steps": str(steps)})
    end = client.end_of("job")
    return [*client.events(), end]


def test_the_tail_after_any_number_is_exactly_the_tail(broker, uncut):
    client = broker.client()
    assert [one.seq for one in uncut] == list(range(1, len(uncut) + 1))
    for after in range(len(uncut) + 1):
        accepted = client.ask(m.Resume, key="job", after=after)
        assert accepted.last == len(uncut)
        wanted = uncut[after:]
        got = [client.expect(m.EVENTS, lambda one, seq=one.seq: one.seq == seq) for one in wanted]
        assert got == wanted
    client.status()
    assert client.events() == []


def test_a_number_beyond_the_last_brings_nothing(broker, uncut):
    client = broker.client()
    assert client.ask(m.Resume, key="job", after=10_000).last == len(uncut)
    client.status()
    assert client.events() == []


def test_a_job_that_is_not_known_says_so_for_the_client_to_submit_again(broker):
    broker.start()
    answer = broker.client().ask(m.Resume, key="nobody")
    assert answer.error.details["job_unknown"] is True


def test_cut_at_every_message_of_a_20_frame_job_the_client_ends_with_the_same(broker, uncut):
    proxy = ChaosProxy(broker.endpoints[1])
    heard = set()
    cut_bytes = 40
    try:
        while len(uncut) not in heard:
            client = broker.client(proxy.endpoint)
            client.ask(m.Status)
            proxy.cuts = 0
            proxy.cut_after(cut_bytes)
            client.send(m.Resume(99, "job", 0))
            first = follow_until_cut(client, proxy)
            heard.add(len(first))
            cut_bytes += 80  # less than the smallest message: no gap between two of them is missed
            client.close()
            proxy.cut_after(None)
            again = broker.client(proxy.endpoint)
            after = first[-1].seq if first else 0
            again.send(m.Resume(1, "job", after))
            rest = follow(again, "job") if after < len(uncut) else []
            assert facts([*first, *rest]) == facts(uncut), f"cut after {cut_bytes} bytes"
            again.close()
    finally:
        proxy.close()
    assert heard == set(range(len(uncut) + 1)), "the line was not cut behind every message"


def follow_until_cut(client, proxy):
    events = []
    while True:
        received = client.receive(0.0 if proxy.cuts else 0.05)
        if received is None and proxy.cuts:
            return events
        if received and isinstance(received[0], m.EVENTS):
            events.append(received[0])
            if isinstance(received[0], m.TERMINAL):
                return events


def test_a_live_job_is_taken_up_without_a_gap_or_a_double(broker, steps, folder):
    broker.start()
    client = broker.client()
    client.submit("live", frames="1001-1030", out=f"{folder}/o/####", params={"steps": str(steps), "step_s": 0.01})
    (steps / "go-all").touch()
    seen = []
    while len(seen) < 6:
        seen.append(client.expect(m.EVENTS))
    client.close()
    for _ in range(5):
        client = broker.client()
        client.ask(m.Resume, key="live", after=seen[-1].seq)
        for _ in range(4):
            if not isinstance(seen[-1], m.TERMINAL):
                seen.append(client.expect(m.EVENTS))
        client.close()
    client = broker.client()
    client.ask(m.Resume, key="live", after=seen[-1].seq)
    while not isinstance(seen[-1], m.TERMINAL):
        seen.append(client.expect(m.EVENTS))
    assert [one.seq for one in seen] == list(range(1, len(seen) + 1))
    assert sorted(one.frame for one in seen if isinstance(one, m.FrameDone)) == list(range(1001, 1031))
