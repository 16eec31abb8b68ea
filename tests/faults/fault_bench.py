"""What every test of a promise works with: a real broker in a process of its own, and a client that obeys the test."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import zmq

from mattebridge import codec, keys, rendezvous
from mattebridge import messages as m
from mattebridge.rendezvous import process_alive
from mattebridge.settings import Settings

HERE = Path(__file__).parent
ENGINE = [sys.executable, str(HERE / "controllable_engine.py")]
HELPER = [sys.executable, str(HERE / "controllable_helper.py")]
Answer = TypeVar("Answer")
PATIENCE_S = 40.0
"""How long a test waits before it fails. No promise: those have times of their own, and a busy machine is slow."""


class Broker:
    """One broker on folders of its own. ``start`` may be called again after it has ended, and finds its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "MATTEBRIDGE_RUNTIME": str(folder / "r"),
            "MATTEBRIDGE_CONFIG": str(folder / "c"),
            "MATTEBRIDGE_STATE": str(folder / "s"),
        }
        self.settings = Settings.from_environment(self.environment)
        self.process: subprocess.Popen[str] | None = None
        self.clients: list[Client] = []
        self.orders: dict[str, Any] = {}

    def start(
        self,
        *,
        policy: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        setup: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        wait: bool = True,
        **args: Any,
    ) -> Broker:
        self.orders = {
            "args": {"metrics_port": free_port(), **args},
            "policy": {"backoff_s": 0.02, **(policy or {})},
            "limits": limits or {},
            "setup": setup or {},
            "config": {"engine_command": ENGINE, "helper_command": HELPER, **(config or {})},
        }
        return self._launch(environment or {}, wait)

    def again(self, environment: dict[str, str] | None = None) -> Broker:
        """Start once more with the same orders."""
        return self._launch(environment or {}, True)

    def _launch(self, environment: dict[str, str], wait: bool) -> Broker:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "serve_broker.py"), json.dumps(self.orders)],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if "listens on" not in line:
                raise AssertionError(f"the broker did not start: {self.process.communicate()[1]}")
            self.endpoints = line.partition("listens on ")[2].partition(" (log")[0].strip().split(", ")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def serves(self) -> bool:
        """Whether its process is there and not stopped."""
        running = self.process is not None and self.process.poll() is None
        return running and psutil.Process(self.pid).status() != psutil.STATUS_STOPPED

    def children(self, word: str = "") -> list[psutil.Process]:
        return [child for child in psutil.Process(self.pid).children() if word in " ".join(child.cmdline())]

    def engine(self) -> psutil.Process:
        return until(lambda: next(iter(self.children("controllable_engine")), None))

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        self.process.communicate(timeout=timeout_s)
        return self.process.returncode

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the metrics port."""
        url = f"http://127.0.0.1:{self.orders['args']['metrics_port']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Every figure by name, labels included as they are written."""
        lines = [line for line in self.page("/metrics")[1].splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def restarts(self, client: Client) -> int:
        """How often engines died so far."""
        return sum(engine.restarts for engine in client.status().engines)

    def log(self) -> str:
        path = self.folder / "r" / "server.jsonl"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def client(self, endpoint: str = "", hello: bool = True, **options: Any) -> Client:
        client = Client(self, endpoint or self.endpoints[0], **options)
        self.clients.append(client)
        if hello:
            client.hello()
        return client

    def close(self) -> None:
        """End it by SIGKILL, its children too where they are stopped; and see that the others end by themselves."""
        for client in self.clients:
            client.close()
        if self.process is None:
            return
        children = []
        if self.process.poll() is None:
            children = psutil.Process(self.pid).children(recursive=True)
            self.kill()
        self.process.communicate()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.status() == psutil.STATUS_STOPPED:
                    child.kill()
        left = outliving(children, PATIENCE_S)
        for child in left:
            child.kill()
        assert not left, f"these outlived the server: {left}"


class Client:
    """A DEALER that sends what it is told and keeps all that comes, in order."""

    def __init__(self, broker: Broker, endpoint: str, pair: keys.KeyPair | None = None, server_key: str = "") -> None:
        self.broker = broker
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        if endpoint.startswith("tcp://"):
            pair = pair or keys.load_or_create(broker.settings.client_key_file)
            server_key = server_key or keys.load_or_create(broker.settings.server_key_file).public
            self.socket.curve_publickey = pair.public.encode()
            self.socket.curve_secretkey = pair.secret.encode()
            self.socket.curve_serverkey = server_key.encode()
        self.socket.connect(endpoint)
        self.kept: list[tuple[Any, tuple[bytes, ...]]] = []
        self.boot_id = ""
        self.number = 0
        self.blobs: tuple[bytes, ...] = ()
        self.credit: dict[str, int] = {}

    def send(self, message: Any, *blobs: bytes) -> None:
        self.socket.send_multipart(codec.encode(message, blobs))

    def hello(self, major: int = m.PROTOCOL_MAJOR, pid: int = 0) -> m.Welcome:
        self.send(m.Hello(major, m.PROTOCOL_MINOR, "bench", "ann", "here", pid or os.getpid()))
        welcome = self.expect(m.Welcome)
        self.boot_id = welcome.boot_id
        return welcome

    def receive(self, timeout_s: float = 10.0) -> tuple[Any, tuple[bytes, ...]] | None:
        """The next message from the socket; None when there is none in time. Pings are answered."""
        end = time.monotonic() + timeout_s
        while True:
            left = end - time.monotonic()
            if not self.socket.poll(max(left, 0) * 1000):
                return None
            message, blobs = codec.decode(self.socket.recv_multipart())
            if isinstance(message, m.Ping):
                self.send(m.Pong(message.number))
                continue
            return message, blobs

    def expect(
        self,
        kind: type[Answer] | tuple[type[Any], ...],
        where: Callable[[Any], bool] = lambda message: True,
        timeout_s: float = PATIENCE_S,
    ) -> Answer:
        """The next message of a kind, from those kept or from the socket; the others are kept."""
        for index, (message, blobs) in enumerate(self.kept):
            if isinstance(message, kind) and where(message):
                del self.kept[index]
                self.blobs = blobs
                return message  # type: ignore[return-value]
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            received = self.receive(left)
            if received is None:
                break
            if isinstance(received[0], kind) and where(received[0]):
                self.blobs = received[1]
                return received[0]  # type: ignore[return-value]
            self.kept.append(received)
        raise AssertionError(f"no {kind} within {timeout_s} s; came: {[message for message, _ in self.kept]}")

    def ask(
        self, message_type: type[Any], *blobs: bytes, kind: Any = None, timeout_s: float = PATIENCE_S, **fields: Any
    ) -> Any:
        """Send a request with the next number and return its answer."""
        self.number += 1
        number = self.number
        self.send(message_type(request=number, **fields), *blobs)
        answers = kind or (
            m.Accepted, m.Busy, m.Rejected, m.Conflict, m.Cancelling, m.Stopping, m.Checked, m.Described, m.StatusReport
        )  # fmt: skip
        return self.expect(answers, lambda message: message.request == number, timeout_s)

    def submit(self, key: str = "", plan: bytes = b"", *, timeout_s: float = PATIENCE_S, **fields: Any) -> Any:
        job = request(**fields)
        blobs = (plan,) if plan else ()
        key = key or secrets.token_hex(8)
        return self.ask(m.Submit, *blobs, timeout_s=timeout_s, key=key, job=job, boot_id=self.boot_id)

    def end_of(self, key: str, timeout_s: float = 2 * PATIENCE_S) -> Any:
        """The job's terminal event."""
        return self.expect(m.TERMINAL, lambda message: message.key == key, timeout_s)

    def status(self, finished: bool = True) -> m.StatusReport:
        report: m.StatusReport = self.ask(m.Status, finished=finished, limit=10_000)
        return report

    def models_up(self, timeout_s: float = 2 * PATIENCE_S) -> tuple[m.ModelInfo, ...]:
        """Wait until an engine has told its models."""
        described: m.Described = self.ask(m.Describe, timeout_s=timeout_s)
        return described.models

    def state(self, key: str) -> str:
        return next((job.state for job in self.status().jobs if job.key == key), "")

    def events(self) -> list[Any]:
        """Numbered events among what was kept."""
        return [message for message, _ in self.kept if isinstance(message, m.EVENTS)]

    def close(self) -> None:
        self.socket.close()


def outliving(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run after so long; empty as soon as none does. One that ended may wait for init to notice."""
    watched = list(processes)
    with contextlib.suppress(AssertionError):
        until(lambda: not any(process_alive(one.pid) for one in watched), patience_s)
    return [one for one in watched if process_alive(one.pid)]


def request(**fields: Any) -> m.JobRequest:
    """A job of one frame that writes nothing, unless said otherwise."""
    known: dict[str, Any] = {"plate": "/plate.####.exr", "frames": "1001", "priority": "batch"}
    known.update(fields)
    return m.JobRequest(**known)


def until(ask: Callable[[], Answer | None], timeout_s: float = PATIENCE_S, every_s: float = 0.01) -> Answer:
    """Ask until there is an answer that is true; the test fails when there is none in time."""
    end = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError("it did not come to pass in time")
        time.sleep(every_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ran(steps: Path) -> list[tuple[str, int]]:
    """Every frame that an engine computed, in order: (job, frame)."""
    path = steps / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def served(folder: Path) -> rendezvous.Rendezvous | None:
    return rendezvous.read(folder / "r")


__all__ = ["Broker", "Client", "Iterator", "free_port", "ran", "request", "served", "until"]
