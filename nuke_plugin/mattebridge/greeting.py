"""Who listens at an endpoint, asked without ZeroMQ: whether anybody does, and with which security mechanism.

A failed handshake does not always tell why: whether the side without CURVE manages to say so before the other hangs up
is a race. The greeting (RFC 23, ZMTP 3: signature, version, mechanism in 20 bytes, role, filler) is sent in clear.
"""

from __future__ import annotations

import socket

TIMEOUT_S = 1.0
GREETING_BYTES = 64
_OURS = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)


def mechanism_of(endpoint: str) -> str:
    """``CURVE``, ``NULL`` or ``PLAIN``; empty where no ZMTP 3 peer answers within `TIMEOUT_S`."""
    try:
        with _connected(endpoint, TIMEOUT_S) as peer:
            peer.sendall(_OURS)
            greeting = b""
            while len(greeting) < GREETING_BYTES:
                received = peer.recv(GREETING_BYTES - len(greeting))
                if not received:
                    return ""
                greeting += received
    except (OSError, ValueError):
        return ""
    if greeting[:1] != b"\xff" or greeting[9:10] != b"\x7f":
        return ""
    return greeting[12:32].rstrip(b"\0").decode("ascii", "replace")


def somebody_listens(endpoint: str, timeout_s: float) -> bool:
    """False where the system refuses a connection; a server that is too busy to answer still listens."""
    try:
        _connected(endpoint, timeout_s).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _connected(endpoint: str, timeout_s: float) -> socket.socket:
    scheme, _, place = endpoint.partition("://")
    if scheme == "tcp":
        host, _, port = place.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout_s)
    if scheme == "ipc" and hasattr(socket, "AF_UNIX"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(timeout_s)
        try:
            peer.connect(place)
        except OSError:
            peer.close()
            raise
        return peer
    raise ValueError(endpoint)
