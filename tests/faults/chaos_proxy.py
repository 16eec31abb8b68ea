"""A TCP proxy between client and server that cuts, swallows or records what passes, when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading


class ChaosProxy:
    """``tcp://127.0.0.1:port`` in front of ``target``. `swallow` drops everything without a word; `cut` closes."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._swallowing = False
        self._cut_after: int | None = None
        self.connections = 0
        self.cuts = 0
        self.sent = bytearray()
        """Everything that went from clients to the server."""
        self._run(self._accept)

    def swallow(self, on: bool) -> None:
        """From now on (or no longer) bytes vanish while the connections stay up: a dead switch, no RST."""
        self._swallowing = on

    def cut_after(self, down_bytes: int | None) -> None:
        """Cut the connection once so many bytes more have gone from the server to the client."""
        self._cut_after = down_bytes

    def cut(self) -> None:
        """Close every connection now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _run(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._pairs.append((near, far))
            self._run(self._pump, near, far, False)
            self._run(self._pump, far, near, True)

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        try:
            while data := source.recv(65536):
                if self._swallowing:
                    continue
                if not down:
                    self.sent += data
                if down and self._cut_after is not None:
                    if len(data) >= self._cut_after:
                        sink.sendall(data[: self._cut_after])
                        self._cut_after = None
                        sink.shutdown(socket.SHUT_WR)  # not a close: what was sent before it has to arrive
                        source.shutdown(socket.SHUT_RDWR)
                        self.cuts += 1
                        return
                    self._cut_after -= len(data)
                sink.sendall(data)
        except OSError:
            pass
