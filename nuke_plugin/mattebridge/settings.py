"""Where the thin side keeps its files and how long it waits: one value, made at the edge, passed inward.

    runtime folder   rendezvous file, ipc socket, server log   MATTEBRIDGE_RUNTIME, else XDG_RUNTIME_DIR/mattebridge,
                                                               else a folder of this user's only
    config folder    CURVE keys, known servers                 MATTEBRIDGE_CONFIG, else XDG_CONFIG_HOME/mattebridge
    state folder     the server's journal                      MATTEBRIDGE_STATE, else XDG_STATE_HOME/mattebridge

Below the command line nothing else in this package takes a setting from the environment.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .errors import Refused, UsageError

_OWN_FOLDERS = "Set MATTEBRIDGE_RUNTIME, MATTEBRIDGE_CONFIG and MATTEBRIDGE_STATE to folders of your own."


@dataclass(frozen=True)
class Settings:
    """Folders and times of one client (or of a server, for its folders). Times are seconds.

    ``connect_timeout_s``  until a first WELCOME, then the server counts as unreachable
    ``lost_timeout_s``     how long a cut may last before jobs and requests fail with `ServerError`
    ``busy_timeout_s``     how long a submit waits for a place in a full queue
    ``answer_timeout_s``   until an answer on a connection that is alive (CHECK reads headers on a slow disk)
    """

    runtime_dir: Path
    config_dir: Path
    state_dir: Path
    server: str = "auto"
    server_key: str = ""
    server_python: str = ""
    site_file: str = ""
    user: str = ""
    host: str = field(default_factory=socket.gethostname)
    connect_timeout_s: float = 5.0
    lost_timeout_s: float = 60.0
    busy_timeout_s: float = 600.0
    answer_timeout_s: float = 120.0

    @classmethod
    def from_environment(cls, environment: Optional[Mapping[str, str]] = None) -> Settings:
        """Read ``MATTEBRIDGE_*`` and the platform's folders.

        Raises `UsageError` for a time that is no number, and where a folder would lie in a home that there is not.
        """
        env = os.environ if environment is None else environment
        return cls(
            runtime_dir=_runtime_dir(env),
            config_dir=_folder(env, "MATTEBRIDGE_CONFIG", "XDG_CONFIG_HOME", "APPDATA", ".config"),
            state_dir=_folder(env, "MATTEBRIDGE_STATE", "XDG_STATE_HOME", "LOCALAPPDATA", ".local/state"),
            server=env.get("MATTEBRIDGE_SERVER") or "auto",
            server_key=env.get("MATTEBRIDGE_SERVER_KEY", ""),
            server_python=env.get("MATTEBRIDGE_SERVER_PYTHON", ""),
            site_file=env.get("MATTEBRIDGE_SITE", ""),
            user=env.get("USER") or env.get("LOGNAME") or env.get("USERNAME") or "",
            connect_timeout_s=_seconds(env, "MATTEBRIDGE_CONNECT_TIMEOUT", cls.connect_timeout_s),
            lost_timeout_s=_seconds(env, "MATTEBRIDGE_LOST_TIMEOUT", cls.lost_timeout_s),
            busy_timeout_s=_seconds(env, "MATTEBRIDGE_BUSY_TIMEOUT", cls.busy_timeout_s),
        )

    @property
    def client_key_file(self) -> Path:
        return self.config_dir / "client.key"

    @property
    def server_key_file(self) -> Path:
        return self.config_dir / "server.key"

    @property
    def known_servers_file(self) -> Path:
        """Lines ``ENDPOINT KEY``: public keys of servers that are not this user's own."""
        return self.config_dir / "known_servers"

    @property
    def server_log(self) -> Path:
        """Where a server that was started in the background writes."""
        return self.runtime_dir / "server.log"


def private_folder(folder: Path) -> Path:
    """Make ``folder`` if needed, readable for this user only. Raises `Refused` if it cannot be, or is another's."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"the folder cannot be made: {error.strerror or error}", file=str(folder), remedy=_OWN_FOLDERS
        ) from None
    if os.name == "posix":
        info = folder.stat()
        if info.st_uid != os.getuid():
            raise Refused(
                "the folder belongs to another user",
                file=str(folder),
                remedy=_OWN_FOLDERS,
            )
        if stat.S_IMODE(info.st_mode) & 0o077:
            folder.chmod(0o700)
    return folder


def _runtime_dir(env: Mapping[str, str]) -> Path:
    if env.get("MATTEBRIDGE_RUNTIME"):
        return Path(env["MATTEBRIDGE_RUNTIME"])
    if env.get("XDG_RUNTIME_DIR"):
        return Path(env["XDG_RUNTIME_DIR"]) / "mattebridge"
    if os.name == "posix":
        return Path(env.get("TMPDIR") or "/tmp") / f"mattebridge-{os.getuid()}"
    return Path(env.get("LOCALAPPDATA") or _home()) / "mattebridge" / "runtime"


def _folder(env: Mapping[str, str], ours: str, xdg: str, windows: str, below_home: str) -> Path:
    if env.get(ours):
        return Path(env[ours])
    if sys.platform == "win32":
        return Path(env.get(windows) or _home()) / "mattebridge"
    if env.get(xdg):
        return Path(env[xdg]) / "mattebridge"
    return Path(env.get("HOME") or _home()) / below_home / "mattebridge"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("this user has no home folder", remedy=_OWN_FOLDERS) from None


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{name} is {text!r}, not a number of seconds", remedy=f"Unset {name} or correct it."
        ) from None
