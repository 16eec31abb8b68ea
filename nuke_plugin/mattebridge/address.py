"""Which server is meant: "auto" by the rendezvous file, an endpoint by its known key."""

from __future__ import annotations

from typing import Optional

from .errors import AuthRefused, UsageError
from .keys import known_server_key, read_public
from .rendezvous import read_alive
from .settings import Settings
from .transport import Address

SCHEMES = ("tcp://", "ipc://", "inproc://")


def find_address(settings: Settings, server: str) -> Optional[Address]:
    """Where ``server`` is now. None for "auto" when no server of this user runs on this host.

    Raises `UsageError` for what is no endpoint, `AuthRefused` for a tcp endpoint whose key nobody told.
    """
    found = read_alive(settings.runtime_dir)
    if server == "auto":
        return None if found is None else Address(found.endpoint, found.server_key)
    endpoint = _endpoint(server)
    if endpoint.startswith("ipc://") and not settings.server_key:
        return Address(endpoint, found.server_key if found is not None and found.endpoint == endpoint else "")
    if settings.server_key:
        return Address(endpoint, read_public(settings.server_key))
    if found is not None and found.endpoint == endpoint:
        return Address(endpoint, found.server_key)
    key = known_server_key(settings.known_servers_file, endpoint)
    if key is None:
        raise AuthRefused(
            f"the key of {endpoint} is not known here",
            remedy=f"Give its `server.pub`: --server-key FILE, or add a line to {settings.known_servers_file}.",
            details={"whose": "server"},
        )
    return Address(endpoint, key)


def _endpoint(server: str) -> str:
    if server.startswith(SCHEMES):
        return server
    host, colon, port = server.rpartition(":")
    if colon and host and port.isdigit():
        return f"tcp://{server}"
    raise UsageError(f"{server!r} is no server", remedy="Use auto, local, or an endpoint such as tcp://render01:17890.")
