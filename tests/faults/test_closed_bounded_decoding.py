"""Promise 2. No bytes crash the server, slow it down or make it grow; each refusal is counted.

Bombs in detail are in tests/mattebridge_server/broker/test_decode.py; here they meet a live server.
"""

import random
import time

import msgpack
import psutil
import zmq
from fault_bench import request, until

from mattebridge import codec
from mattebridge import messages as m

KINDS = ("decode", "tag", "size", "parts")


def noise(generator, good):
    """One multipart: good, random, damaged, deep, oversized, or of far too many parts."""
    kind = generator.randrange(10)
    tag, header = (bytes(part) for part in generator.choice(good)[:2])
    if kind == 0:
        return [generator.randbytes(generator.randrange(40)) for _ in range(generator.randrange(1, 4))]
    if kind == 1:
        return [tag, generator.randbytes(generator.randrange(300))]
    if kind == 2:
        damaged = bytearray(header or b"\x80")
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        return [tag, bytes(damaged)]
    if kind == 3:
        return [tag, header[: generator.randrange(len(header) + 1)]]
    if kind == 4:
        return [tag, b"\x91" * 30_000]
    if kind == 5:
        return [b"CHECK", b"\x82\xa7request\x01\xa3job\xdd\xff\xff\xff\xff"]
    if kind == 6:
        return [tag, header, *[b""] * generator.randrange(3, 200)]
    if kind == 7:
        return [tag, b"\x81\xa1x\xc6\x00\x03\xff\xff" + bytes(generator.randrange(1000))]
    if kind == 8:
        return [tag, bytes(m.HEADER_BYTES + generator.randrange(1, 1000))]
    return list(generator.choice(good))


def test_ten_thousand_hostile_messages_leave_the_server_as_it_was(broker):
    broker.start()
    client = broker.client()
    submit = m.Submit(1, "replayed", request(), client.boot_id)
    questions = (m.Ping(1), m.Check(1, request()), m.Resume(1, "replayed"), m.Status(1), m.Cancel(1, "k"), submit)
    good = [codec.encode(one) for one in questions]
    process = psutil.Process(broker.pid)
    hostile = [broker.client(hello=index % 2 == 0) for index in range(4)]
    generator = random.Random(7)

    def send(messages):
        for number in range(messages):
            one = number % 4
            hostile[one].socket.send_multipart(noise(generator, good))
            while hostile[one].socket.poll(0):
                hostile[one].socket.recv_multipart()
            if generator.random() < 0.02:  # abandoned: whoever asked is gone before the answer
                hostile[one].close()
                hostile[one] = broker.client(hello=generator.random() < 0.5)

    send(1000)
    broker.client().status()
    before = process.memory_info().rss
    send(10_000)
    broker.client().status()
    assert process.memory_info().rss - before < 32 * 2**20
    spent = []
    for _ in range(7):  # the best of a few: the machine may be busy with other things
        begin = time.perf_counter()
        broker.client().status()
        spent.append(time.perf_counter() - begin)
    assert min(spent) < 0.05, "the next good client had to wait"
    figures = broker.metrics()
    assert all(figures[f'mattebridge_refused_total{{reason="{kind}"}}'] > 50 for kind in KINDS)
    jobs = broker.client().status().jobs
    assert "replayed" in {job.key for job in jobs}
    ended = 'mattebridge_jobs_ended_total{outcome="done"}'
    until(lambda: broker.metrics()[ended] == len(jobs))  # the damaged ones may be jobs of another name; none ran twice


def test_a_refusal_is_answered_and_counted_by_its_kind(broker):
    broker.start()
    client = broker.client()
    nobody = codec.encode(m.Resume(1, "no key at all"))
    for kind, parts in (
        ("decode", [b"PING", b"\x91\x91"]),
        ("tag", [b"NONSENSE", b"\x80"]),
        ("size", [b"PING", bytes(m.HEADER_BYTES + 1)]),
        ("parts", [b"PING"]),
        ("parts", [b"PING"] * 10_000),
        ("value", nobody),
    ):
        name = f'mattebridge_refused_total{{reason="{kind}"}}'
        before = broker.metrics().get(name, 0)
        client.socket.send_multipart(parts)
        assert client.expect(m.Rejected).error.code == "PROTOCOL"
        assert broker.metrics()[name] == before + 1, kind


def test_an_oversize_message_costs_the_connection_and_nothing_else(broker):
    broker.start()
    client, victim = broker.client(), broker.client()
    victim.socket.send_multipart([b"PING", b"x" * (20 * 2**20)])
    client.status()
    victim.socket.setsockopt(zmq.LINGER, 0)
    victim.hello()
    victim.status()


def test_a_deep_header_within_the_size_limit_is_refused_at_once(broker):
    broker.start()
    client = broker.client()
    header = msgpack.packb({"request": 1})[:-1] + b"\x01\xa3job" + b"\x81\xa1a" * 80_000
    begin = time.perf_counter()
    client.socket.send_multipart([b"CHECK", header])
    client.expect(m.Rejected)
    assert time.perf_counter() - begin < 1.0
