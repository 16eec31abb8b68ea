"""A long run with random faults: ``python tests/faults/soak.py [--minutes 30] [--clients 6] [--seed 1]``.

Clients submit, cancel, vanish and come back while the server and the engine are killed, stopped, cut off and fed with
noise. Every job that ends is checked: one terminal event, numbered events without a gap, every file whole and right.
A second server makes real pictures of a shot that is damaged meanwhile. Prints a tally; exit status 1 where a promise
was broken.
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
from real_shot import damages, make_shot, start_real

from mattebridge import messages as m

PATIENCE_S = 30.0
CROWD = 24
BROKER_POINTS = ("journal-before-commit", "journal-after-commit", "event-before-send", "event-after-send")


class Soak:
    """One broker, its clients and its misfortunes."""

    def __init__(self, folder: Path, seed: int, clients: int) -> None:
        self.folder, self.seed = folder, seed
        self.broker = Broker(folder)
        self.tally: Counter[str] = Counter()
        self.broken: list[str] = []
        self.begun = time.monotonic()
        self.over = threading.Event()
        self.moved = threading.Event()
        self.up = threading.Lock()
        self.threads = [threading.Thread(target=self.guard, args=(self.client, n)) for n in range(clients)]
        if clients:
            self.threads.append(threading.Thread(target=self.guard, args=(self.pictures,)))

    def run(self, minutes: float) -> None:
        self.broker.start(
            policy={
                "attempts": 50,
                "start_attempts": 50,
                "engine_lost_s": 3.0,
                "engine_start_s": 20.0,
                "cancel_grace_s": 2.0,
                "backoff_longest_s": 1.0,
                "client_jobs": 64,
            },
            limits={"beat_s": 1.0},
            config={"lease_s": 20.0, "most_losses": 10_000},
            queue_jobs=CROWD // 2,
        )
        for thread in self.threads:
            thread.start()
        end = time.monotonic() + minutes * 60
        chance = random.Random(self.seed)
        told = time.monotonic()
        while time.monotonic() < end and not self.broken:
            self.moved.clear()
            self.moved.wait(PATIENCE_S)  # a fault strikes a server that works, however slow the machine is
            self.over.wait(chance.uniform(0.2, 3.0))
            fault = chance.choice(
                [self.kill_server, self.crash_server, self.kill_engine, self.stop_engine, self.noise, self.crowd]
            )
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

    def verdict(self) -> int:
        """Print how it went; the exit status."""
        self.tell()
        print(f"{time.monotonic() - self.begun:.0f} s, {len(self.broken)} promises broken")
        for one in self.broken[:20]:
            print("BROKEN", one)
        return 1 if self.broken else 0

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
        point = f"{chance.choice(BROKER_POINTS)}:{chance.randrange(5, 200)}"
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

    def crowd(self, chance: random.Random) -> None:
        """More jobs at once than there are places: each is taken or told to come back, and what is taken is ended."""
        with self.up:
            client = self.broker.client(hello=False)
        try:
            client.hello()
            keys = [f"crowd{chance.randrange(1 << 40)}" for _ in range(CROWD)]
            answers = [client.submit(key, params={"step_s": 0.01}, timeout_s=5.0) for key in keys]
            self.tally["told busy"] += sum(isinstance(answer, m.Busy) for answer in answers)
            taken = [answer.key for answer in answers if isinstance(answer, m.Accepted)]
            for key in taken:
                client.ask(m.Cancel, key=key, timeout_s=5.0)
            self.tally["crowds"] += 1
        except AssertionError:
            self.tally["connections lost"] += 1
        finally:
            client.close()

    def alive(self) -> bool:
        return self.broker.process is not None and self.broker.process.poll() is None

    # -- pictures --------------------------------------------------------------------------------------------------

    def pictures(self) -> None:
        """A second server with the program's own engine: damaged pictures, and kills while real results are made."""
        chance, home = random.Random(f"{self.seed}/pictures"), Path(tempfile.mkdtemp(prefix="mb"))
        broker = Broker(home)
        try:
            job = make_shot(home / "shot", range(1001, 1013))
            client = start_real(broker, policy={"attempts": 50, "backoff_longest_s": 1.0})
            client.submit("good", **job)
            assert isinstance(client.end_of("good", PATIENCE_S * 4), m.Done), "the undisturbed run failed"
            good = {path.name: path.read_bytes() for path in (home / "shot" / "out").iterdir()}
            while not self.over.is_set():
                self.picture_job(chance, broker, client, job, good)
        finally:
            broker.close()
            shutil.rmtree(home, ignore_errors=True)

    def picture_job(self, chance: random.Random, broker: Broker, client: Client, job: Any, good: Any) -> None:
        """One shot: with a damaged plate it fails by name or succeeds, without one its bits are those of the first."""
        self.tally["picture jobs"] += 1
        key, frame = f"p{self.tally['picture jobs']}", chance.randrange(1001, 1013)
        out, plate = broker.folder / key, Path(job["plate"].replace("####", str(frame)))
        whole = plate.read_bytes()
        damage, damaged = chance.choice([("", whole), *damages(whole).items()])
        plate.write_bytes(damaged)
        client.submit(key, **{**job, "out": f"{out}/matte.####.exr"})
        if chance.random() < 0.3:
            time.sleep(chance.uniform(0.0, 0.5))
            for child in broker.children("mattebridge_server.engine"):
                child.kill()
                self.tally["picture engines killed"] += 1
        ended = client.end_of(key, PATIENCE_S * 4)
        client.kept.clear()
        plate.write_bytes(whole)
        if damage and isinstance(ended, m.Failed):
            if (ended.error.code, ended.error.frame) != ("BAD_FRAME", frame):
                self.broken.append(f"{key}: {damage} at {frame}: {ended.error}")
            self.tally["damaged pictures named"] += 1
        elif not isinstance(ended, m.Done):
            self.broken.append(f"{key}: {ended}")
        else:
            made = {path.name: path.read_bytes() for path in out.glob("matte.*")}
            if set(made) != set(good) or (not damage and made != good):
                self.broken.append(f"{key}: its results are not those of the undisturbed run")
            self.tally["real frames verified"] += len(made)
        shutil.rmtree(out, ignore_errors=True)

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
        while not ended(events):
            self.follow(key, fields, events, cancel, chance.uniform(0.2, 8.0))
        self.check(key, frames, out, events)
        shutil.rmtree(out, ignore_errors=True)

    def follow(
        self, key: str, fields: Any, events: dict[int, Any], cancel: bool = False, patience_s: float = 1.0
    ) -> None:
        """One connection's worth of a job: it may be cut short by the server's death or by the client's own mood."""
        client = None
        try:
            with self.up:
                client = Client(self.broker, self.broker.endpoints[0])
            client.send(m.Hello(m.PROTOCOL_MAJOR, m.PROTOCOL_MINOR, "soak", key, "here", os.getpid()))
            client.boot_id = client.expect(m.Welcome, timeout_s=3.0).boot_id
            answer = client.submit(key, timeout_s=3.0, **fields)
            if isinstance(answer, m.Busy):
                self.tally["told busy"] += 1
                time.sleep(min(answer.retry_after_s, 1.0))
                return
            if not isinstance(answer, m.Accepted):
                return
            client.ask(m.Resume, key=key, after=max(events, default=0), timeout_s=3.0)
            if cancel:
                client.ask(m.Cancel, key=key, timeout_s=3.0)
            self.listen(client, key, events, patience_s)
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
            elif not self.alive():
                return
        self.tally["clients that left and came back"] += 1

    def keep(self, message: Any, key: str, events: dict[int, Any]) -> None:
        if isinstance(message, m.EVENTS) and message.key == key:
            self.moved.set()
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


def ended(events: dict[int, Any]) -> bool:
    return bool(events) and isinstance(events[max(events)], m.TERMINAL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    soak = Soak(folder, args.seed, args.clients)
    try:
        soak.run(args.minutes)
        return soak.verdict()
    finally:
        soak.broker.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
