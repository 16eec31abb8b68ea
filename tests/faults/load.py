"""200 clients at once, 2,000 jobs: ``python tests/faults/load.py [--clients 200] [--jobs 2000]``. Prints what it found.

None lost, none twice, BUSY told with a time, order and priority as promised, the broker's answers while the engine is
saturated, and what the server's process holds before and after. Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
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
from mattebridge_server.broker.decode import decode_event, decode_request

ANSWER_MS = 50.0
GROWTH_BYTES = 16 * 2**20


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
        size = 1 + int(key.rpartition("-")[2]) % 3
        job = request(priority=priority, frames=f"1-{size}", params={"step_s": 0.002})
        self.asked = time.perf_counter()
        self.client.send(m.Submit(1, key, job, self.client.boot_id))


def run(broker: Broker, clients: int, jobs: int, name: str = "warm") -> tuple[Counter[str], list[float], list[str]]:
    """Every client submits its share of the jobs, one after the other; what came, how long answers took, what broke."""
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


def out_of_order(state_dir: Path) -> list[str]:
    """What the journal of a server that has ended tells against the promise of order.

    In a class the first STARTED events come in the order of submission; and when an engine became free, no person's job
    was waiting while a batch job was started. (No job here waits as long as ageing takes.)
    """
    path = next(state_dir.glob("*/journal.sqlite3"))
    with contextlib.closing(sqlite3.connect(path)) as db:
        jobs = {
            key: (number, decode_request(body))
            for key, number, body in db.execute("SELECT key, number, body FROM jobs")
        }
        events = [(key, decode_event(tag, body)) for key, tag, body in db.execute("SELECT key, tag, body FROM events")]
    events.sort(key=lambda one: one[1].at)
    started: dict[str, float] = {}
    free: dict[str, float] = {}
    queued: dict[str, float] = {}
    ended_at = 0.0
    for key, event in events:
        if isinstance(event, m.Queued):
            queued.setdefault(key, event.at)
        elif isinstance(event, m.Started) and key not in started:
            started[key], free[key] = event.at, ended_at
        elif isinstance(event, (*m.TERMINAL,)):
            ended_at = event.at
    people = [key for key in started if jobs[key][1].priority == "interactive"]
    batch = [key for key in started if jobs[key][1].priority == "batch"]
    wrong = [
        f"{a} was started before {b}" for keys in (people, batch) for a, b in pairwise(keys) if jobs[a][0] > jobs[b][0]
    ]
    for key in batch:
        for person in people:
            if queued[person] < free[key] and started[person] > started[key]:
                wrong.append(f"{key} was started although {person} waited")
    return wrong


def footprint(process: psutil.Process) -> tuple[int, int, int]:
    """Descriptors, threads, processes."""
    return process.num_fds(), process.num_threads(), len(process.children(recursive=True))


def loaded(broker: Broker, clients: int, jobs: int, share: float = 0.99) -> tuple[str, list[str]]:
    """The whole test on a broker that is not started yet: what there is to tell, and which promises were broken.

    ``share`` of the answers have to come within `ANSWER_MS`.
    """
    broker.start(queue_jobs=clients * 5 // 8, limits={"beat_s": 1.0}, config={"keep_jobs": 10 * jobs})
    broker.client().models_up()
    process = psutil.Process(broker.pid)
    run(broker, clients, clients)  # whatever grows once has grown
    hang_up(broker)
    before, memory = footprint(process), process.memory_info().rss
    begin = time.monotonic()
    tally, answers, broken = run(broker, clients, jobs, "job")
    spent = time.monotonic() - begin
    hang_up(broker)
    after = settled(process, before)
    grown = process.memory_info().rss - memory
    answers.sort()
    half, late, judged = (answers[int(len(answers) * part)] * 1e3 for part in (0.5, 0.99, share))
    if after > before:
        broken.append(f"descriptors, threads and processes were {before} and are {after}")
    if grown > GROWTH_BYTES:
        broken.append(f"memory grew by {grown / 2**20:.1f} MiB")
    if not tally["Busy"]:
        broken.append("nobody was told BUSY: the server was not loaded")
    if judged >= ANSWER_MS:
        broken.append(f"answers took {judged:.1f} ms (share {share:g})")
    broker.stop()
    broken += out_of_order(broker.folder / "s")
    told = (
        f"{clients} clients, {jobs} jobs in {spent:.1f} s: {dict(tally)}",
        f"answer p50 {half:.1f} ms, p99 {late:.1f} ms",
        f"descriptors, threads, processes: {before}, then {after}; memory {grown / 2**20:+.1f} MiB",
    )
    return "\n".join(told), broken


def hang_up(broker: Broker) -> None:
    """Close every client, and wait until the server has noticed."""
    for client in broker.clients:
        client.close()
    broker.clients.clear()
    until(lambda: broker.metrics()["mattebridge_clients"] == 0)


def settled(process: psutil.Process, wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    """What the process holds once it has let go of what it will let go of."""
    with contextlib.suppress(AssertionError):
        until(lambda: footprint(process) <= wanted)
    return footprint(process)


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
