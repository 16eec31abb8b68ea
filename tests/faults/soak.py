"""A long run with random faults: ``python tests/faults/soak.py [--minutes 30] [--clients 6] [--seed 1] [--sweep]``.

Clients submit, cancel, vanish and come back while the server and the engine are killed, stopped, cut off and fed with
noise. Every job that ends is checked: one terminal event, numbered events without a gap, every file whole and right.
``--sweep`` kills at every named point and every frame of a 24-frame job instead. Prints a tally; exit status 1 where a
promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import psutil
from controllable_engine import content
from fault_bench import Broker, Client

from mattebridge import messages as m

POINTS = ("window-before", "temporary-before", "rename-before", "rename-after")
JOURNAL = ("journal-before-commit", "journal-after-commit", "event-before-send")


class Soak:
    """One broker, its clients and its misfortunes."""

    def __init__(self, folder: Path, seed: int, clients: int) -> None:
        self.folder, self.seed = folder, seed
        self.broker = Broker(folder)
        self.tally: Counter[str] = Counter()
        self.broken: list[str] = []
        self.over = threading.Event()
        self.up = threading.Lock()
        self.threads = [threading.Thread(target=self.guard, args=(self.client, n)) for n in range(clients)]

    def run(self, minutes: float) -> None:
        self.broker.start(
            policy={
                "attempts": 50,
                "start_attempts": 50,
                "engine_lost_s": 3.0,
                "cancel_grace_s": 2.0,
                "client_jobs": 64,
            },
            limits={"beat_s": 1.0},
            config={"lease_s": 20.0, "most_losses": 10_000},
        )
        for thread in self.threads:
            thread.start()
        end = time.monotonic() + minutes * 60
        chance = random.Random(self.seed)
        told = time.monotonic()
        while time.monotonic() < end and not self.broken:
            time.sleep(chance.uniform(0.5, 4.0))
            fault = chance.choice([self.kill_server, self.crash_server, self.kill_engine, self.stop_engine, self.noise])
            self.guard(fault, chance)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                self.tell()
        self.over.set()
        for thread in self.threads:
            thread.join(120)
        self.tally["threads left"] = sum(thread.is_alive() for thread in self.threads)
        process = psutil.Process(self.broker.pid)
        self.tally["server file descriptors at the end"] = process.num_fds()
        self.tally["server memory at the end, MiB"] = process.memory_info().rss >> 20
        if self.broker.stop() != 0:
            self.broken.append("the server did not stop cleanly")
        self.tally["temporary files left by killed engines"] = len(list(self.folder.glob("out*/.*.tmp")))

    def tell(self) -> None:
        print(", ".join(f"{name}: {count}" for name, count in sorted(self.tally.items())), flush=True)

    def guard(self, work: Any, *args: Any) -> None:
        try:
            work(*args)
        except BaseException as error:
            self.broken.append(f"{getattr(work, '__name__', work)}: {type(error).__name__}: {error}")
            self.over.set()

    # -- misfortunes -----------------------------------------------------------------------------------------------

    def kill_server(self, chance: random.Random) -> None:
        with self.up:
            self.broker.kill()
            self.broker.again()
        self.tally["server killed"] += 1

    def crash_server(self, chance: random.Random) -> None:
        """Start it so that it dies by itself at a named point, a while from now, and then bring it back."""
        point = f"{chance.choice(JOURNAL)}:{chance.randrange(5, 200)}"
        with self.up:
            self.broker.kill()
            self.broker.again({"MATTEBRIDGE_CRASH_AT": point})
        end = time.monotonic() + 15
        while self.broker.process is not None and self.broker.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        with self.up:
            self.broker.kill()
            self.broker.again()
        self.tally["server crashed at a named point"] += 1

    def kill_engine(self, chance: random.Random) -> None:
        for child in self.broker.children("controllable_engine"):
            child.send_signal(chance.choice([signal.SIGKILL, signal.SIGSEGV]))
            self.tally["engine killed"] += 1

    def stop_engine(self, chance: random.Random) -> None:
        for child in self.broker.children("controllable_engine"):
            child.suspend()
            self.tally["engine stopped"] += 1

    def noise(self, chance: random.Random) -> None:
        client = self.broker.client(hello=chance.random() < 0.5) if self.alive() else None
        for _ in range(200 if client else 0):
            tag = chance.choice([*m.MESSAGES, chance.randbytes(5)])
            client.socket.send_multipart([tag, chance.randbytes(chance.randrange(80))])
            self.tally["hostile messages"] += 1
        if client:
            client.close()

    def alive(self) -> bool:
        return self.broker.process is not None and self.broker.process.poll() is None

    # -- clients ---------------------------------------------------------------------------------------------------

    def client(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        count = 0
        while not self.over.is_set():
            count += 1
            self.job(chance, f"c{number}-{count}")

    def job(self, chance: random.Random, key: str) -> None:
        first = chance.randrange(1, 9000)
        frames = range(first, first + chance.randrange(1, 25))
        out = self.folder / f"out-{key}"
        fields = {
            "frames": f"{frames[0]}-{frames[-1]}",
            "out": f"{out}/m.####.exr",
            "priority": "batch",
            "params": {"step_s": chance.choice([0.0, 0.0, 0.01, 0.05])},
        }
        events: dict[int, Any] = {}
        cancel = chance.random() < 0.15
        while not (events and isinstance(events[max(events)], m.TERMINAL)):
            self.follow(chance, key, fields, events, cancel)
        self.check(key, frames, out, events)
        shutil.rmtree(out, ignore_errors=True)

    def follow(self, chance: random.Random, key: str, fields: Any, events: dict[int, Any], cancel: bool) -> None:
        """One connection's worth of a job: it may be cut short by the server's death or by the client's own mood."""
        client = None
        try:
            with self.up:
                client = Client(self.broker, self.broker.endpoints[0])
            client.send(m.Hello(m.PROTOCOL_MAJOR, m.PROTOCOL_MINOR, "soak", key, "here", os.getpid()))
            client.boot_id = client.expect(m.Welcome, timeout_s=3.0).boot_id
            answer = client.submit(key, **fields)
            if isinstance(answer, m.Busy):
                self.tally["told busy"] += 1
                time.sleep(min(answer.retry_after_s, 1.0))
                return
            if not isinstance(answer, m.Accepted):
                return
            client.ask(m.Resume, key=key, after=max(events, default=0), timeout_s=3.0)
            if cancel:
                client.ask(m.Cancel, key=key, timeout_s=3.0)
            self.listen(client, key, events, chance.uniform(0.2, 8.0))
        except AssertionError:
            self.tally["connections lost"] += 1
        finally:
            if client is not None:
                for message, _ in client.kept:
                    self.keep(message, key, events)
                client.close()

    def listen(self, client: Client, key: str, events: dict[int, Any], patience_s: float) -> None:
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            received = client.receive(0.5)
            if received is not None:
                self.keep(received[0], key, events)
                if isinstance(received[0], (*m.TERMINAL, m.NeedHello)):
                    return
        self.tally["clients that left and came back"] += 1

    def keep(self, message: Any, key: str, events: dict[int, Any]) -> None:
        if isinstance(message, m.EVENTS) and message.key == key:
            known = events.setdefault(message.seq, message)
            if known != message:
                self.broken.append(f"{key}: event {message.seq} was {known} and is {message}")

    def check(self, key: str, frames: range, out: Path, events: dict[int, Any]) -> None:
        last = events[max(events)]
        terminals = [one for one in events.values() if isinstance(one, m.TERMINAL)]
        if len(terminals) != 1 or sorted(events) != list(range(1, max(events) + 1)):
            self.broken.append(f"{key}: events {sorted(events)}, {len(terminals)} terminal")
        for path in out.glob("m.*"):
            if path.read_bytes() != content(int(path.name.split(".")[1])):
                self.broken.append(f"{key}: {path.name} is not whole")
            self.tally["frames verified"] += 1
        if isinstance(last, m.Done):
            told = sorted(one.frame for one in events.values() if isinstance(one, m.FrameDone))
            there = sorted(int(path.name.split(".")[1]) for path in out.glob("m.*"))
            if told != list(frames) or there != list(frames):
                self.broken.append(f"{key}: told {told}, on disk {there}, wanted {frames}")
        if isinstance(last, m.Failed):
            self.broken.append(f"{key}: failed: {last.error.message}")
        self.tally[f"jobs {type(last).__name__.lower().removesuffix('event')}"] += 1


def sweep(folder: Path) -> Soak:
    """Every named point at every frame, and every journal write and event of a 24-frame job."""
    soak = Soak(folder, 0, 0)
    cases = [f"{point}@{frame}" for point in POINTS for frame in range(1001, 1025)]
    cases += [f"{point}:{count}" for point in JOURNAL for count in range(1, 40)]
    for number, case in enumerate(cases):
        key, out = f"sweep{number}", folder / f"out{number}"
        fields = {"frames": "1001-1024", "out": f"{out}/m.####.exr", "priority": "batch"}
        soak.broker.orders or soak.broker.start(policy={"attempts": 10_000}).kill()
        soak.broker.again({"MATTEBRIDGE_CRASH_AT": case})
        events: dict[int, Any] = {}
        soak.follow(random.Random(number), key, fields, events, False)
        soak.broker.kill()
        soak.broker.again()
        while not (events and isinstance(events[max(events)], m.TERMINAL)):
            soak.follow(random.Random(), key, fields, events, False)
        soak.check(key, range(1001, 1025), out, events)
        soak.tally["points swept"] += 1
        soak.broker.kill()
    return soak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sweep", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    begin = time.monotonic()
    try:
        if args.sweep:
            soak = sweep(folder)
        else:
            soak = Soak(folder, args.seed, args.clients)
            soak.run(args.minutes)
        soak.tell()
        print(f"{time.monotonic() - begin:.0f} s, {len(soak.broken)} promises broken")
        for one in soak.broken[:20]:
            print("BROKEN", one)
        return 1 if soak.broken else 0
    finally:
        soak.broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
