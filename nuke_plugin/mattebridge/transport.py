"""The one thread that owns a client's sockets: it feeds the session and does what the session says.

Other threads hand it calls through a deque and wake it with a byte on a socket pair (ZeroMQ sockets must not cross
threads). A monitor on the DEALER tells what ZeroMQ keeps from the application: a handshake that fails for a wrong key
is silent on the socket itself, and the three ways in which it fails become three different errors.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from . import codec
from .errors import AuthRefused, MatteBridgeError, ProtocolError, UsageError
from .greeting import mechanism_of
from .keys import KeyPair
from .messages import BLOB_BYTES, ErrorInfo, Rejected
from .session import ClientSession, Instruction, Reopen, Send

if TYPE_CHECKING:
    import zmq

RECONNECT_MS = 100
RECONNECT_LONGEST_MS = 500
LINGER_MS = 500
MESSAGES_PER_TURN = 200
HANDSHAKES_UNTIL_REFUSED = 3
_EVENT = struct.Struct("=HI")


@dataclass(frozen=True)
class Address:
    """Where a server is. An empty ``server_key`` means no CURVE (ipc, guarded by the folder's permissions)."""

    endpoint: str
    server_key: str = ""


Call = Callable[[ClientSession, float], Iterable[Instruction]]


class Transport:
    """Runs a `ClientSession` on a DEALER socket. `call` is safe from any thread; ``handle`` runs on the IO thread.

    ``resolve`` gives the server's address each time a connection is looked for, so that a server which came back
    elsewhere is found; None means that nothing is known and the last address stays.
    """

    def __init__(
        self,
        session: ClientSession,
        resolve: Callable[[], Optional[Address]],
        keys: Callable[[], KeyPair],
        handle: Callable[[Instruction], None],
    ) -> None:
        import zmq  # noqa: F401  where it is not installed, the caller hears of it, and not a thread

        self._session = session
        self._resolve = resolve
        self._keys = keys
        self._handle = handle
        self._calls: deque[Call] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._closing = False
        self._address: Optional[Address] = None
        self._socket: Optional[zmq.Socket[bytes]] = None
        self._monitor: Optional[zmq.Socket[bytes]] = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="mattebridge-io", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, function: Call) -> None:
        """Have ``function(session, now)`` run on the IO thread; its instructions are performed there."""
        self._calls.append(function)
        self._wake()

    def close(self) -> None:
        """Send what is queued (for at most `LINGER_MS`), close the sockets and end the thread. Safe to call twice."""
        self._closing = True
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full means that it will wake anyway; closed means that nobody listens
            self._wake_in.send(b"\0")

    # -- the IO thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        import zmq

        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._open(context)
            while not self._closing:
                self._turn(context)
            self._perform(self._run_calls(), context)
        except Exception as error:  # whatever it is, nobody may be left waiting for an answer
            self._refuse_everybody(error)
        finally:
            self._drop_socket()
            context.term()
            self._wake_in.close()
            self._wake_out.close()

    def _refuse_everybody(self, error: Exception) -> None:
        """The connection cannot work: everybody who waits is told, and whoever comes later, until `close`."""
        why = error
        if not isinstance(why, MatteBridgeError):
            why = MatteBridgeError(f"the client's connection failed: {type(error).__name__}: {error}")
        for instruction in self._session.refuse(why, time.monotonic()):
            self._handle(instruction)
        self._wake_out.setblocking(True)
        while not self._closing:
            for instruction in self._run_calls():
                self._handle(instruction)
            self._wake_out.recv(4096)

    def _turn(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        import zmq

        poller = zmq.Poller()
        poller.register(self._wake_out.fileno(), zmq.POLLIN)
        for each in (self._socket, self._monitor):
            if each is not None:
                poller.register(each, zmq.POLLIN)
        poller.poll(int(self._session.wake_in_s() * 1000))
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass
        self._perform(self._watch(), context)
        self._perform(self._receive(), context)
        self._perform(self._run_calls(), context)
        self._perform(self._session.tick(time.monotonic()), context)

    def _run_calls(self) -> Iterable[Instruction]:
        while self._calls:
            yield from self._calls.popleft()(self._session, time.monotonic())

    def _perform(self, instructions: Iterable[Instruction], context: zmq.Context[zmq.Socket[bytes]]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Send):
                self._perform(self._send(instruction), context)
            elif isinstance(instruction, Reopen):
                self._reopen(context, instruction.force)
            else:
                self._handle(instruction)

    def _send(self, send: Send) -> Iterable[Instruction]:
        import zmq

        try:
            parts = codec.encode(send.message, send.blobs, self._session.limits)
        except UsageError as error:
            return self._unsendable(send.message, error)
        if self._socket is None:
            return []
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK, copy=True)
        except zmq.Again:  # no connection at this moment; the session sends it again on the next one
            return [*self._session.disconnected(time.monotonic()), Reopen(force=True)]
        return []

    def _unsendable(self, message: Any, error: MatteBridgeError) -> Iterable[Instruction]:
        if not hasattr(message, "request"):
            return self._session.refuse(error, time.monotonic())
        return self._session.received(Rejected(message.request, ErrorInfo.of(error)), (), time.monotonic())

    def _receive(self) -> Iterable[Instruction]:
        import zmq

        for _ in range(MESSAGES_PER_TURN):
            if self._socket is None:
                return
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            now = time.monotonic()
            try:
                message, blobs = codec.decode(parts)
            except ProtocolError as error:
                yield from self._session.refuse(error, now)
                return
            yield from self._session.received(message, blobs, now)

    # -- the socket's life -----------------------------------------------------------------------------------------

    def _reopen(self, context: zmq.Context[zmq.Socket[bytes]], force: bool) -> None:
        address = self._resolve()
        if force or self._socket is None or (address is not None and address != self._address):
            self._drop_socket()
            self._open(context, address)

    def _open(self, context: zmq.Context[zmq.Socket[bytes]], address: Optional[Address] = None) -> None:
        import zmq

        self._address = address or self._resolve() or self._address
        if self._address is None:
            return
        self._socket = opened = context.socket(zmq.DEALER)  # at once: whatever goes wrong below, it will be closed
        for option, value in (
            (zmq.LINGER, LINGER_MS),
            # Not ZMQ_IMMEDIATE: with it a DEALER drops what it received last when the other side hangs up.
            (zmq.SNDHWM, 0),  # credits bound what is under way
            (zmq.RCVHWM, 0),
            (zmq.MAXMSGSIZE, BLOB_BYTES),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_LONGEST_MS),
            (zmq.IPV6, 1),
        ):
            opened.setsockopt(option, value)
        if self._address.server_key:
            pair = self._keys()
            opened.setsockopt(zmq.CURVE_SERVERKEY, self._address.server_key.encode("ascii"))
            opened.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode("ascii"))
            opened.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode("ascii"))
        self._monitor = opened.get_monitor_socket(_monitored())
        opened.connect(self._address.endpoint)

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close()
        if self._monitor is not None and not self._monitor.closed:
            self._monitor.close(0)
        self._socket = self._monitor = None

    # -- what the monitor tells ------------------------------------------------------------------------------------

    def _watch(self) -> Iterable[Instruction]:
        import zmq

        while self._monitor is not None:
            try:
                frame = self._monitor.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                return
            event, value = _EVENT.unpack(frame[: _EVENT.size])
            if event == zmq.EVENT_DISCONNECTED:  # what came before the end counts: a server's last word, for example
                yield from self._receive()
            yield from self._told(event, value)

    def _told(self, event: int, value: int) -> Iterable[Instruction]:
        import zmq

        now = time.monotonic()
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._failures = 0
            return self._session.connected(now)
        if event == zmq.EVENT_DISCONNECTED:
            return self._session.disconnected(now)
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return self._session.refuse(_client_key_refused(self._address, value), now)
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return self._session.refuse(_mechanisms_differ(self._address), now)
        if event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            return []
        # The other side hung up half way. It may just have died; if it goes on doing so, its greeting tells why.
        self._failures += 1
        if self._failures < HANDSHAKES_UNTIL_REFUSED:
            return [*self._session.disconnected(now, "it hangs up in the handshake, as for a wrong key"), Reopen()]
        same = self._address is not None and mechanism_of(self._address.endpoint) == "CURVE"
        why = _server_key_differs(self._address) if same else _mechanisms_differ(self._address)
        return self._session.refuse(why, now)


def _monitored() -> int:
    import zmq

    return int(
        zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_DISCONNECTED
    )


def _name(address: Optional[Address]) -> str:
    return address.endpoint if address else "the server"


def _client_key_refused(address: Optional[Address], status: int) -> AuthRefused:
    return AuthRefused(
        f"{_name(address)} refused this client's key ({status})",
        remedy="Have the key in your `client.pub` added there: `mattebridge serve --allow-client FILE`.",
        details={"whose": "client"},
    )


def _server_key_differs(address: Optional[Address]) -> AuthRefused:
    return AuthRefused(
        f"{_name(address)} does not hold the key that this client expects of it",
        remedy="Ask whoever runs it for its `server.pub` and give that: --server-key FILE.",
        details={"whose": "server"},
    )


def _mechanisms_differ(address: Optional[Address]) -> ProtocolError:
    return ProtocolError(
        f"{_name(address)} does not speak CURVE as this client does, or is not a mattebridge server",
        remedy="Check the port; a server that asks for keys needs --server-key FILE, one without must not have it.",
    )
