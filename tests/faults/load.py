"""200 clients at once, 2,000 jobs: ``python tests/faults/load.py [--clients 200] [--jobs 2000]``. Prints what it found.

None lost, none twice, BUSY told with a time, order and priority as promised, the broker's answers while the engine is
saturated, and what the server's process holds before and after. Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, deque
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import psutil
import zmq
from fault_bench import Broker, Client, request, until

from mattebridge import codec
from mattebridge import messages as m

ANSWER_MS = 50.0
GROWTH_BYTES = 12 * 2**20


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
        priority = "interactive" if interactive(key) else "batch"
        size = 1 + int(key.rpartition("-")[2]) % 3
        job = request(priority=priority, frames=f"1-{size}", params={"step_s": 0.002})
        self.asked = time.perf_counter()
        self.client.send(m.Submit(1, key, job, self.client.boot_id))


def run(
    broker: Broker, clients: int, jobs: int, name: str = "warm"
) -> tuple[Counter[str], list[float], list[str], list[Any]]:
    """Every client submits its share of the jobs, one after the other.

    What came, how long answers took, what broke, and the events of all jobs.
    """
    callers = []
    for number in range(clients):
        client = broker.client(hello=False)
        client.hello(pid=100_000 + number)
        callers.append(Caller(client, f"{name}{number}", jobs // clients))
    poller = zmq.Poller()
    owner = {}
    for caller in callers:
        poller.register(caller.client.socket, zmq.POLLIN)
        owner[caller.client.socket] = caller
    due = deque(callers)
    tally: Counter[str] = Counter()
    answers: list[float] = []
    ends: Counter[str] = Counter()
    events: list[Any] = []
    while sum(ends.values()) < jobs // clients * clients:
        if due:  # one at a time, so that no answer lies unread while the others are sent
            due.popleft().submit()
        for socket, _ in poller.poll(0 if due else 20):
            caller = owner[socket]
            message, _ = codec.decode(socket.recv_multipart())
            if take(caller, message, tally, answers, ends):
                due.append(caller)
            if isinstance(message, m.EVENTS):
                events.append(message)
        now = time.monotonic()
        for caller in callers:
            if caller.later and now >= caller.later:
                caller.later = 0.0
                due.append(caller)
    broken = [f"{key} ended {count} times" for key, count in ends.items() if count != 1]
    return tally, answers, broken, events


def take(caller: Caller, message: Any, tally: Counter[str], answers: list[float], ends: Counter[str]) -> bool:
    """Note what came. Whether the caller is to submit its next job."""
    if isinstance(message, m.Ping):
        caller.client.send(m.Pong(message.number))
    elif isinstance(message, (m.Accepted, m.Busy)):
        answers.append(time.perf_counter() - caller.asked)
        tally[type(message).__name__] += 1
        if isinstance(message, m.Busy):
            caller.later = time.monotonic() + message.retry_after_s
        else:
            caller.left.popleft()
    elif isinstance(message, m.TERMINAL):
        ends[message.key] += 1
        tally[type(message).__name__] += 1
        return bool(caller.left)
    return False


def interactive(key: str) -> bool:
    return int(key.rpartition("-")[2]) % 4 == 0


def out_of_order(events: list[Any]) -> list[str]:
    """What the events of all jobs tell against the promise of order.

    In a class jobs were started in the order of their submission; and when the engine became free, no person's job
    waited while a batch job was started. (No job here waits as long as ageing takes.)
    """
    queued: dict[str, float] = {}
    started: dict[str, float] = {}
    free: dict[str, float] = {}
    ended_at = 0.0
    for event in sorted(events, key=lambda one: one.at):
        if isinstance(event, m.Queued):
            queued.setdefault(event.key, event.at)
        elif isinstance(event, m.Started) and event.key not in started:
            started[event.key], free[event.key] = event.at, ended_at
        elif isinstance(event, m.TERMINAL):
            ended_at = event.at
    people, batch = ([key for key in started if interactive(key) is wanted] for wanted in (True, False))
    wrong = []
    for one, after in (pair for keys in (people, batch) for pair in pairwise(keys)):
        if queued[one] > queued[after]:
            wrong.append(f"{one} was started before {after}, which came first")
    for key in batch:
        late = [one for one in people if queued[one] < free[key] and started[one] > started[key]]
        wrong += [f"{key} was started although {one} waited" for one in late]
    return wrong


def footprint(process: psutil.Process) -> tuple[int, int, int]:
    """Descriptors, threads, processes."""
    return process.num_fds(), process.num_threads(), len(process.children(recursive=True))


def settled(process: psutil.Process, before: tuple[int, int, int]) -> str:
    """What the process holds more than ``before``, once it has let go of what it will let go of; empty: nothing.

    The threads of asyncio's pool are started when all are busy, and stay: as many as it may have do not count.
    """
    pool = (os.cpu_count() or 1) + 4

    def flat() -> bool:
        files, threads, children = (now - then for now, then in zip(footprint(process), before, strict=True))
        return files <= 0 and threads <= pool and children <= 0

    with contextlib.suppress(AssertionError):
        until(flat)
    return "" if flat() else f"descriptors, threads and processes were {before} and are {footprint(process)}"


def loaded(broker: Broker, clients: int, jobs: int, share: float = 0.99) -> tuple[str, list[str]]:
    """The whole test on a broker that is not started yet: what there is to tell, and which promises were broken.

    ``share`` of the answers have to come within `ANSWER_MS`.
    """
    broker.start(queue_jobs=clients * 5 // 8, limits={"beat_s": 1.0}, config={"keep_jobs": 100, "prune_every_s": 1.0})
    broker.client().models_up()
    process = psutil.Process(broker.pid)
    run(broker, clients, clients)  # whatever grows once has grown
    hang_up(broker)
    before, memory = footprint(process), process.memory_info().rss
    begin = time.monotonic()
    tally, answers, broken, events = run(broker, clients, jobs, "job")
    spent = time.monotonic() - begin
    hang_up(broker)
    more = settled(process, before)
    grown = process.memory_info().rss - memory
    answers.sort()
    half, late, judged = (answers[int(len(answers) * part)] * 1e3 for part in (0.5, 0.99, share))
    if more:
        broken.append(more)
    if grown > GROWTH_BYTES:
        broken.append(f"memory grew by {grown / 2**20:.1f} MiB")
    if not tally["Busy"]:
        broken.append("nobody was told BUSY: the server was not loaded")
    if judged >= ANSWER_MS:
        broken.append(f"answers took {judged:.1f} ms (share {share:g})")
    broken += out_of_order(events)
    told = (
        f"{clients} clients, {jobs} jobs in {spent:.1f} s: {dict(tally)}",
        f"answer p50 {half:.1f} ms, p99 {late:.1f} ms",
        f"descriptors, threads, processes: {before}, then {footprint(process)}; memory {grown / 2**20:+.1f} MiB",
    )
    return "\n".join(told), broken


def hang_up(broker: Broker) -> None:
    """Close every client, and wait until the server has noticed."""
    for client in broker.clients:
        client.close()
    broker.clients.clear()
    until(lambda: broker.metrics()["mattebridge_clients"] == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2000)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    broker = Broker(folder)
    try:
        told, broken = loaded(broker, args.clients, args.jobs)
        print(told)
        for one in broken[:20]:
            print("BROKEN", one)
        return 1 if broken else 0
    finally:
        broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
