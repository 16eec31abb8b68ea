"""Promise 23. Two thousand jobs and five hundred connections leave files, threads, processes, memory as they were."""

import threading

import psutil
import pytest
from fault_bench import until

from mattebridge import messages as m


def footprint(process):
    return (
        process.num_fds(),
        process.num_threads(),
        len(process.children(recursive=True)),
    )


def run_jobs(client, name, count):
    for start in range(0, count, 50):
        keys = [f"{name}{index}" for index in range(start, min(start + 50, count))]
        for key in keys:
            answer = client.submit(key)
            assert isinstance(answer, m.Accepted), answer
        for key in keys:
            client.end_of(key)
        client.kept.clear()


@pytest.mark.slow
def test_two_thousand_jobs_leave_nothing_behind(broker):
    broker.start(policy={"client_jobs": 256}, config={"keep_jobs": 100})
    client = broker.client()
    process = psutil.Process(broker.pid)
    run_jobs(client, "warm", 300)
    before, memory = footprint(process), process.memory_info().rss
    run_jobs(client, "job", 2000)
    until(lambda: footprint(process) == before)
    assert process.memory_info().rss - memory < 16 * 2**20


@pytest.mark.slow
def test_five_hundred_connections_leave_nothing_behind(broker):
    broker.start(bind=["tcp://127.0.0.1:*"], limits={"beat_s": 0.2})
    process = psutil.Process(broker.pid)

    def connect(count):
        for index in range(count):
            client = broker.client(broker.endpoints[index % 2])
            client.status()
            client.close()
            broker.clients.clear()

    connect(50)
    until(lambda: process.num_fds() < 60)
    before, memory = footprint(process), process.memory_info().rss
    connect(500)
    until(lambda: footprint(process) <= before)
    assert process.memory_info().rss - memory < 16 * 2**20


@pytest.mark.slow
def test_many_clients_at_once_lose_no_job_and_double_none(broker, folder):
    """A smaller run of the load test: 40 clients, 400 jobs, a queue of 64."""
    broker.start(queue_jobs=64, policy={"client_jobs": 64})
    ended, waits, faults = [], [], []

    def work(number):
        client = broker.client(hello=False)
        client.hello(pid=10_000 + number)
        for index in range(10):
            key = f"c{number}-{index}"
            while True:
                answer = client.submit(key, priority="interactive" if index % 3 else "batch")
                if isinstance(answer, m.Accepted):
                    break
                waits.append(answer.retry_after_s)
                client.receive(min(answer.retry_after_s, 0.05))
            ended.append((key, type(client.end_of(key, 60)).__name__))

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert faults == []
    assert sorted(ended) == sorted((f"c{n}-{i}", "Done") for n in range(40) for i in range(10))
