"""CURVE keys: made on first use, kept in files that only their owner can read.

A *key file* is JSON with ``public`` and ``secret``, each 40 characters of Z85. Beside ``NAME.key`` lies ``NAME.pub``,
the public half as one line of text that may be sent around. An *allow-list* has one client a line:

    Z85-PUBLIC-KEY  name of whose it is  [admin]

``admin`` as the last word lets that client stop the server. A comment begins with ``# `` (a key may begin with ``#``).
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .errors import AuthRefused, UsageError
from .settings import private_folder

_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")


@dataclass(frozen=True)
class KeyPair:
    """Both halves in Z85; the secret is left out of ``repr``."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class AllowedKey:
    """One line of an allow-list."""

    public: str
    name: str = ""
    admin: bool = False


def is_key(text: str) -> bool:
    """Whether ``text`` has the form of a CURVE key in Z85."""
    return _Z85_KEY.match(text) is not None


def load_or_create(path: Path) -> KeyPair:
    """The pair in ``path``, made first if there is none. Safe when two processes come at once: both get the same.

    Raises `AuthRefused` when others can read the file (POSIX), or it is no key file.
    """
    if not path.exists():
        _create(path)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise AuthRefused(
            "the key file can be read by others, so its secret may be known",
            file=str(path),
            remedy=f"Run `chmod 600 {path}`, or delete it to have a new key made, and allow the new key on servers.",
        )
    return _read_pair(path)


def read_public(text_or_path: str) -> str:
    """A public key given as Z85, or as a file: a `.pub`, or a key file. Raises `UsageError` for anything else."""
    if is_key(text_or_path):
        return text_or_path
    allowed = read_allowed(text_or_path)
    if len(allowed) != 1:
        raise UsageError("expected one public key", file=text_or_path, remedy="Give the server's `server.pub` file.")
    return allowed[0].public


def read_allowed(text_or_path: str) -> tuple[AllowedKey, ...]:
    """Keys given as one Z85 string, a `.pub` or allow-list file, or a key file. Raises `UsageError`."""
    if is_key(text_or_path):
        return (AllowedKey(text_or_path),)
    path = Path(text_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"neither a key nor a readable key file: {error}",
            file=text_or_path,
            remedy="Give 40 characters of Z85, or the path of a `.pub` or allow-list file.",
        ) from None
    if text.lstrip().startswith('{"public"') or path.suffix == ".key":
        return (AllowedKey(_read_pair(path).public),)
    return tuple(_allowed_lines(text.splitlines(), path))


def known_server_key(path: Path, endpoint: str) -> Optional[str]:
    """The public key that the known-servers file has for ``endpoint``; None where it has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == endpoint and is_key(words[1]):
            return words[1]
    return None


def _allowed_lines(lines: Iterable[str], path: Path) -> Iterable[AllowedKey]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("# ") or line.strip() == "#":
            continue
        if not is_key(words[0]):
            raise UsageError(
                f"line {number} does not begin with a key", file=str(path), remedy="A line is: KEY NAME [admin]."
            )
        admin = len(words) > 1 and words[-1] == "admin"
        yield AllowedKey(words[0], " ".join(words[1:-1] if admin else words[1:]), admin)


def _read_pair(path: Path) -> KeyPair:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        pair = KeyPair(data["public"], data["secret"])
        if is_key(pair.public) and is_key(pair.secret):
            return pair
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise AuthRefused("not a key file", file=str(path), remedy="Delete it to have a new key made.")


def _create(path: Path) -> None:
    import zmq

    private_folder(path.parent)
    public, secret = (half.decode("ascii") for half in zmq.curve_keypair())
    handle, temporary = tempfile.mkstemp(prefix=".key.", dir=str(path.parent))  # mode 0600 from the start
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump({"public": public, "secret": secret}, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # unlike a rename, this never replaces the key of who came first
    except FileExistsError:
        return
    except OSError:  # a file system without links
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    path.with_suffix(".pub").write_text(public + "\n", encoding="ascii")
