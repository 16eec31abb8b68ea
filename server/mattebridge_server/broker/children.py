"""Child processes that speak engine/wire.py: engines and the path helper. Threads read and write their pipes.

Each child has three threads, so that a child which does not read, or writes without end, never blocks the broker's
loop. What arrives is handed to the loop in order; the death of the child is the last thing that is. What it says on its
standard error becomes lines of the server's log, with its name. A child ends itself when its input closes, so the
broker's own death, however sudden, leaves none behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, cast

import msgspec

from ..engine.wire import pack, read_body

log = logging.getLogger("mattebridge.broker")

Receive = Callable[[msgspec.Struct], None]
Died = Callable[[str], None]


class Child:
    """One running child. ``receive`` and ``died`` are called on the loop; ``died`` exactly once, with the reason."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        decoder: msgspec.msgpack.Decoder[Any],
        receive: Receive,
        died: Died,
        keep: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._decoder = decoder
        self._receive, self._died = receive, died
        self._loop = asyncio.get_running_loop()
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=tuple(keep))
        self._threads = [
            threading.Thread(target=target, name=f"{name} {what}", daemon=True)
            for what, target in (("read", self._read), ("write", self._write), ("log", self._log))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: msgspec.Struct) -> None:
        """Queue one message; to a dead child it has no effect."""
        self._out.put(pack(message))

    def kill(self) -> None:
        """End the child at once, also one that is stopped or hangs in the kernel's reach."""
        self._process.kill()

    def close(self) -> None:
        """Close its input: it ends by itself."""
        self._out.put(None)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False when it still lives after ``timeout_s``."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self._process.wait, timeout_s), timeout_s + 1.0)
        except (subprocess.TimeoutExpired, TimeoutError):
            return False
        return True

    def _write(self) -> None:
        pipe = cast(BinaryIO, self._process.stdin)
        try:
            while (data := self._out.get()) is not None:
                pipe.write(data)
                pipe.flush()
        except (OSError, ValueError):
            pass  # it died; the reader tells
        finally:
            with contextlib.suppress(OSError):
                pipe.close()

    def _read(self) -> None:
        pipe = cast(BinaryIO, self._process.stdout)
        fault = ""
        try:
            while (body := read_body(pipe)) is not None:
                self._hand_over(self._receive, self._decoder.decode(body))
        except (OSError, ValueError, msgspec.DecodeError) as error:
            fault = f"it wrote what is no message: {error}"
            self._process.kill()
        code = self._process.wait()
        pipe.close()
        self._out.put(None)
        self._hand_over(self._died, fault or end_of(code))

    def _log(self) -> None:
        with cast(BinaryIO, self._process.stderr) as pipe:
            for line in pipe:
                log.info("%s", line.decode("utf-8", "replace").rstrip(), extra={"device": self.name})

    def _hand_over(self, call: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the broker is going
            self._loop.call_soon_threadsafe(call, value)


def end_of(code: int) -> str:
    """A process's end in words."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} (the system may have been out of memory)" if name == "SIGKILL" else name
