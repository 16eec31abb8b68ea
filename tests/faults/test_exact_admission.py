"""Promise 4. A full queue says BUSY, with its depth and when to come back; the limit is exact, also for each client."""

import resource

import psutil
import pytest
from fault_bench import request

from mattebridge import messages as m


def test_of_200_submits_at_once_exactly_16_are_taken(broker, steps):
    broker.start(queue_jobs=16)
    clients = [broker.client(hello=False) for _ in range(200)]
    for number, client in enumerate(clients):
        client.hello(pid=1000 + number)
    for number, client in enumerate(clients):  # all are under way before the first answer is read
        client.send(m.Submit(1, f"job-{number}", request(params={"steps": str(steps)}), client.boot_id))
    answers = [client.expect((m.Accepted, m.Busy)) for client in clients]
    taken = [answer for answer in answers if isinstance(answer, m.Accepted)]
    busy = [answer for answer in answers if isinstance(answer, m.Busy)]
    assert (len(taken), len(busy)) == (16, 184)
    assert all(answer.depth == answer.limit == 16 and answer.retry_after_s > 0 for answer in busy)
    assert len(broker.client().status().jobs) == 16


@pytest.fixture
def few_files():
    """A process that is started now may have 128 files open, and may raise that limit itself."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, most))
    yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


def test_more_clients_than_files_are_usually_allowed_are_all_served(broker, few_files):
    broker.start()
    few_files()
    clients = [broker.client(hello=False) for _ in range(200)]
    for number, client in enumerate(clients):
        client.hello(pid=1000 + number)
    assert len(clients[0].status().engines) == 1


def test_a_busy_answer_stores_nothing_and_the_same_key_is_taken_later(broker, steps):
    broker.start(queue_jobs=1)
    client = broker.client()
    client.submit("first", params={"steps": str(steps)})
    assert isinstance(client.submit("second"), m.Busy)
    (steps / "go-all").touch()
    client.end_of("first")
    assert isinstance(client.submit("second"), m.Accepted)
    client.end_of("second")


def test_one_client_cannot_take_every_place(broker, steps):
    broker.start(queue_jobs=100, policy={"client_jobs": 5})
    greedy, other = broker.client(hello=False), broker.client(hello=False)
    greedy.hello(pid=1)
    other.hello(pid=2)
    answers = [greedy.submit(f"g{index}", params={"steps": str(steps)}) for index in range(8)]
    assert [type(answer) for answer in answers] == [m.Accepted] * 5 + [m.Busy] * 3
    assert (answers[-1].depth, answers[-1].limit) == (5, 5)
    assert isinstance(other.submit("o1"), m.Accepted)


def test_a_broker_with_a_full_queue_does_not_grow(broker, steps):
    broker.start(queue_jobs=4, policy={"client_jobs": 4})
    client = broker.client()
    for index in range(4):
        client.submit(f"k{index}", params={"steps": str(steps)})
    process = psutil.Process(broker.pid)
    for index in range(200):
        client.ask(m.Submit, key=f"x{index}", job=request(), boot_id=client.boot_id)
    before = process.memory_info().rss
    for index in range(2000):
        assert isinstance(client.ask(m.Submit, key=f"y{index}", job=request(), boot_id=client.boot_id), m.Busy)
    assert process.memory_info().rss - before < 8 * 2**20
