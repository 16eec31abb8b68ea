"""``doctor``: this machine step by step, each with what was found and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

from ..client import Client
from ..errors import MatteBridgeError
from ..extras import install_command
from ..messages import PROTOCOL_MAJOR, PROTOCOL_MINOR
from ..rendezvous import is_stale, path_of, read
from ..settings import Settings, private_folder
from .connection import settings_of
from .job_flags import add_connection_flags
from .output import size

THIN = ("pyzmq", "msgpack")
SERVER = ("numpy", "opencv-python-headless", "OpenImageIO", "opencolorio", "msgspec", "numba")
MODELS = ("torch", "diffusers", "transformers", "safetensors")
LITTLE_DISK_BYTES = 5 * 1024**3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One step. ``state``: OK, WARN, FAIL."""

    step: str
    state: str
    found: str
    remedy: str = ""


def add_parser(subparsers: Any) -> None:
    doctor = subparsers.add_parser("doctor", help="check this machine step by step")
    add_connection_flags(doctor)
    doctor.add_argument("--config", default=None, metavar="URI", help="OCIO config to look at (default: $OCIO)")
    doctor.add_argument("--json", action="store_true", help="JSON on standard output")


def run(args: argparse.Namespace) -> int:
    findings = []
    for finding in examine(settings_of(args), args.config):
        findings.append(finding)
        if not args.json:
            print(f"{finding.state:<5} {finding.step:<12} {finding.found}")
            if finding.remedy and finding.state != "OK":
                print(f"{'':<18} → {finding.remedy}")
    if args.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    return 4 if any(finding.state == "FAIL" for finding in findings) else 0


def examine(settings: Settings, config: Optional[str]) -> Iterator[Finding]:
    """Every step, in the order in which one stands on another."""
    yield _python()
    yield from _packages()
    yield from _guarded("runtime", lambda: _folder("runtime", settings.runtime_dir))
    yield from _guarded("keys", lambda: _keys(settings))
    yield _rendezvous(settings)
    yield from _server(settings)
    yield from _disk(settings)
    yield from _guarded("colour", lambda: _colour(os.environ.get("OCIO", "") if config is None else config))


def _guarded(step: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield check()
    except MatteBridgeError as error:
        yield Finding(step, "FAIL", error.message, error.remedy)
    except OSError as error:
        yield Finding(step, "FAIL", str(error), "Look at the folder's owner, permissions and disk.")


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if tuple(sys.version_info) >= (3, 11):
        return Finding("python", "OK", f"{version} ({sys.executable})")
    return Finding("python", "WARN", f"{version}: enough for clients", "A server needs Python 3.11 or later.")


def _packages() -> Iterator[Finding]:
    for step, names, state, remedy in (
        ("packages", THIN, "FAIL", install_command()),
        ("server side", SERVER, "WARN", f"{install_command('server')}, where a server is to run"),
        ("networks", MODELS, "WARN", f"{install_command('models')}, for models that need torch"),
    ):
        missing = [name for name in names if _version(name) is None]
        versions = ", ".join(f"{name} {_version(name)}" for name in names if name not in missing)
        if missing:
            yield Finding(step, state, f"not installed: {', '.join(missing)}", remedy)
        else:
            yield Finding(step, "OK", versions)


def _version(package: str) -> Optional[str]:
    from importlib import metadata  # slow to import, and only this command needs it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _folder(step: str, folder: Path) -> Finding:
    private_folder(folder)
    probe = folder / f".doctor.{os.getpid()}"
    probe.write_bytes(b"")
    probe.unlink()
    return Finding(step, "OK", str(folder))


def _keys(settings: Settings) -> Finding:
    from ..keys import load_or_create

    load_or_create(settings.client_key_file)
    return Finding(
        "keys", "OK", f"{settings.client_key_file} (give {settings.client_key_file.with_suffix('.pub').name})"
    )


def _rendezvous(settings: Settings) -> Finding:
    found = read(settings.runtime_dir)
    path = path_of(settings.runtime_dir)
    if found is None:
        return Finding("rendezvous", "WARN", "no server of yours runs here", "Start one: mattebridge serve --detach.")
    if is_stale(found):
        return Finding("rendezvous", "WARN", f"{path} is left over from process {found.pid}", "Start a server again.")
    return Finding("rendezvous", "OK", f"{found.endpoint}, process {found.pid}, protocol {found.protocol}")


def _server(settings: Settings) -> Iterator[Finding]:
    if settings.server == "local" or (settings.server == "auto" and read(settings.runtime_dir) is None):
        return
    try:
        with Client.connect(settings=settings) as client:
            report = client.status()
            models = client.models()
    except MatteBridgeError as error:
        step = {"AUTH_REFUSED": "auth", "PROTOCOL": "protocol"}.get(error.code, "server")
        yield Finding(step, "FAIL", error.message, error.remedy)
        return
    yield Finding("server", "OK", f"mattebridge {report.version} on {report.host}, {report.state}")
    yield Finding("protocol", "OK", f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}")
    for engine in report.engines:
        well = engine.state in ("idle", "busy", "starting")
        yield Finding(
            "device",
            "OK" if well else "FAIL",
            f"{engine.device} {engine.state}, {engine.restarts} restarts",
            "Look at the server's log.",
        )
    ready = [model.name for model in models if model.installed]
    yield Finding(
        "models", "OK" if ready else "FAIL", f"ready: {', '.join(ready) or 'none'}", "See `mattebridge models`."
    )


def _disk(settings: Settings) -> Iterator[Finding]:
    for folder in (settings.runtime_dir, settings.state_dir):
        there = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
        free = shutil.disk_usage(there).free
        little = folder == settings.state_dir and free < LITTLE_DISK_BYTES
        yield Finding("disk", "WARN" if little else "OK", f"{size(free)} free for {folder}", "Free some space.")


def _colour(config: str) -> Finding:
    from ..config_digest import config_files

    if not config:
        return Finding("colour", "OK", "no $OCIO: jobs use the server's pinned ACES config")
    digest = config_files(config).digest()
    return Finding("colour", "OK", f"{config} [{digest[:12]}]")
