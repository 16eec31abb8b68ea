"""A small model hub on the loopback address: the part of the protocol that huggingface_hub's client uses for a file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """``files`` by "org/repo/path". ``gated`` repositories answer 403. ``stall`` after so many bytes, once, if set.

    ``store``: another host that files are sent from, as large ones are; ``tokens`` are who was told the user's token.
    """

    files: dict[str, bytes]
    gated: set[str] = field(default_factory=set)
    stall_after: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    endpoint: str = ""
    store: str = ""
    tokens: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serves ``hub`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            parts = self.path.lstrip("/").split("?")[0].split("/", 4)
            if len(parts) < 5 or parts[2] != "resolve":
                hub.asked.append((self.command, self.path, ""))
                self._refuse(404, "NotServedHere")
                return
            org, repo, _, _, path = parts
            hub.asked.append((self.command, f"{org}/{repo}/{path}", self.headers.get("Range", "")))
            if self.headers.get("Authorization"):
                hub.tokens.append((self.command, self.headers.get("Host", "").partition(":")[0]))
            content = hub.files.get(f"{org}/{repo}/{path}")
            if f"{org}/{repo}" in hub.gated:
                self._refuse(403, "GatedRepo")
            elif content is None:
                known = any(name.startswith(f"{org}/{repo}/") for name in hub.files)
                self._refuse(404, "EntryNotFound" if known else "RepoNotFound")
            elif hub.store and not body:
                self.send_response(302)
                self.send_header("Location", f"http://{hub.store}:{server.server_address[1]}{self.path}")
                self.send_header("X-Linked-Size", str(len(content)))
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send(content, body)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes, body: bool) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return
            if hub.stall_after and not hub.stalled.is_set():
                self.wfile.write(content[start : hub.stall_after])
                self.wfile.flush()
                hub.stalled.set()
                hub.go_on.wait(60)
                self.close_connection = True
                return
            self.wfile.write(content[start:])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
