"""200 clients at once, 2,000 jobs: ``python tests/faults/load.py [--clients 200] [--jobs 2000]``. Prints what it found.

None lost, none twice, BUSY told with a time, the broker's answers while the engine is saturated, and what the server's
process holds before and after. Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import psutil
import zmq
from fault_bench import Broker, Client, request, until

from mattebridge import codec
from mattebridge import messages as m


class Caller:
    """One of many clients, driven by one loop: one question under way, one job at a time."""

    def __init__(self, client: Client, name: str, jobs: int) -> None:
        self.client, self.name = client, name
        self.left = deque(f"{name}-{index}" for index in range(jobs))
        self.asked = 0.0
        self.later = 0.0
        self.running = ""

    def submit(self) -> None:
        key = self.left[0]
        priority = "interactive" if int(key.rpartition("-")[2]) % 4 == 0 else "batch"
        job = request(priority=priority, params={"step_s": 0.002})
        self.asked = time.perf_counter()
        self.client.send(m.Submit(1, key, job, self.client.boot_id))


def run(broker: Broker, clients: int, jobs: int) -> tuple[Counter[str], list[float], list[str]]:
    callers = []
    for number in range(clients):
        client = broker.client(hello=False)
        client.hello(pid=100_000 + number)
        callers.append(Caller(client, f"c{number}", jobs // clients))
    poller = zmq.Poller()
    owner = {}
    for caller in callers:
        poller.register(caller.client.socket, zmq.POLLIN)
        owner[caller.client.socket] = caller
        caller.submit()
    tally: Counter[str] = Counter()
    answers: list[float] = []
    ends: Counter[str] = Counter()
    while sum(ends.values()) < jobs // clients * clients:
        for socket, _ in poller.poll(20):
            caller = owner[socket]
            message, _ = codec.decode(socket.recv_multipart())
            take(caller, message, tally, answers, ends)
        now = time.monotonic()
        for caller in callers:
            if caller.later and now >= caller.later:
                caller.later = 0.0
                caller.submit()
    broken = [f"{key} ended {count} times" for key, count in ends.items() if count != 1]
    return tally, answers, broken


def take(caller: Caller, message: Any, tally: Counter[str], answers: list[float], ends: Counter[str]) -> None:
    if isinstance(message, m.Ping):
        caller.client.send(m.Pong(message.number))
    elif isinstance(message, (m.Accepted, m.Busy)):
        answers.append(time.perf_counter() - caller.asked)
        tally[type(message).__name__] += 1
        if isinstance(message, m.Busy):
            caller.later = time.monotonic() + min(message.retry_after_s, 0.5)
        else:
            caller.left.popleft()
    elif isinstance(message, m.TERMINAL):
        ends[message.key] += 1
        tally[type(message).__name__] += 1
        if caller.left:
            caller.submit()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2000)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    broker = Broker(folder)
    try:
        broker.start(queue_jobs=128, limits={"beat_s": 1.0})
        broker.client().models_up()
        process = psutil.Process(broker.pid)
        before = (process.num_fds(), process.num_threads(), len(process.children(recursive=True)))
        begin = time.monotonic()
        tally, answers, broken = run(broker, args.clients, args.jobs)
        spent = time.monotonic() - begin
        for client in broker.clients:
            client.close()
        broker.clients.clear()
        until(lambda: process.num_fds() <= before[0] + 2)
        after = (process.num_fds(), process.num_threads(), len(process.children(recursive=True)))
        answers.sort()
        print(f"{args.clients} clients, {args.jobs} jobs in {spent:.1f} s: {dict(tally)}")
        half, late = (answers[int(len(answers) * share)] * 1e3 for share in (0.5, 0.99))
        print(f"answer p50 {half:.1f} ms, p99 {late:.1f} ms")
        print(f"descriptors, threads, processes: {before}, then {after}; {process.memory_info().rss >> 20} MiB")
        for one in broken:
            print("BROKEN", one)
        return 1 if broken else 0
    finally:
        broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
