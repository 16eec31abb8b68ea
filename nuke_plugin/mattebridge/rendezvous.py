"""How a client finds the server that this user runs on this host: one small JSON file in the runtime folder.

The server writes it when its socket is bound and removes it when it stops. A server that was killed leaves it behind,
so a reader asks whether the process is alive, and whether somebody listens there (the process id may have been given to
another program), before it believes the file; the boot id in WELCOME settles the rest.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Optional

from .greeting import somebody_listens
from .settings import private_folder

PROBE_S = 0.5


@dataclass(frozen=True)
class Rendezvous:
    """``protocol`` is "major.minor", ``started_at`` seconds since the epoch; an empty ``server_key`` means no CURVE."""

    endpoint: str
    server_key: str
    pid: int
    host: str
    protocol: str
    boot_id: str
    version: str
    started_at: float


def path_of(runtime_dir: Path, host: str = "") -> Path:
    """The file for ``host`` (this one by default); the name carries the host because the folder may be shared."""
    return runtime_dir / f"server.{host or socket.gethostname()}.json"


def write(runtime_dir: Path, rendezvous: Rendezvous) -> Path:
    """Put the file in place in one step, mode 0600, in a folder of this user's only."""
    private_folder(runtime_dir)
    path = path_of(runtime_dir, rendezvous.host)
    handle, temporary = tempfile.mkstemp(prefix=".server.", dir=str(runtime_dir))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(rendezvous), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink()
        raise
    return path


def read(runtime_dir: Path, host: str = "") -> Optional[Rendezvous]:
    """What the file says; None when there is none, or when it is not one of ours."""
    try:
        data = json.loads(path_of(runtime_dir, host).read_text(encoding="utf-8"))
        types = {"pid": int, "started_at": (int, float)}
        known = {item.name: data[item.name] for item in fields(Rendezvous)}
        if not all(isinstance(value, types.get(name, str)) for name, value in known.items()):  # type: ignore[arg-type]
            return None
        return Rendezvous(**known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_alive(runtime_dir: Path) -> Optional[Rendezvous]:
    """The server of this user on this host, if its process is there."""
    found = read(runtime_dir)
    return None if found is None or is_stale(found) else found


def is_stale(rendezvous: Rendezvous) -> bool:
    """True when the process is gone, or its id is another program's by now: then nobody listens at the address.

    About another host nothing can be known, so that is never stale.
    """
    if rendezvous.host != socket.gethostname():
        return False
    return not (process_alive(rendezvous.pid) and somebody_listens(rendezvous.endpoint, PROBE_S))


def remove(runtime_dir: Path, boot_id: str) -> None:
    """Take the file away if it is still the one of ``boot_id``: a successor's stays."""
    found = read(runtime_dir)
    if found is not None and found.boot_id == boot_id:
        path_of(runtime_dir, found.host).unlink(missing_ok=True)


def process_alive(pid: int) -> bool:
    """Whether a process of that id runs on this host (another user's counts as running)."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _windows_process_alive(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b") ")[2][:1] == b"Z"


def _windows_process_alive(pid: int) -> bool:
    import ctypes  # os.kill(pid, 0) would end the process there

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
    if not handle:
        return bool(kernel.GetLastError() == 5)  # ERROR_ACCESS_DENIED: it exists
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == 0x102)  # WAIT_TIMEOUT: not ended
    finally:
        kernel.CloseHandle(handle)
