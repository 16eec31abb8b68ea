"""`mattebridge serve`: from arguments and environment to a running broker, and from signals to its end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import zmq

from mattebridge import __version__, keys, rendezvous
from mattebridge.errors import Refused, ServerError, UsageError
from mattebridge.messages import PROTOCOL_MAJOR, PROTOCOL_MINOR, Limits
from mattebridge.settings import Settings, private_folder

from ..engine import wire
from ..site import Site, find_site
from .auth import AllowList
from .config import Config
from .journal import network_file_system
from .lock import DYING_S, FileLock, Holder, broker_lock, device_lock
from .logs import set_up_logging
from .owner import Process, Watch, owner_of
from .scheduling import Policy
from .service import Service
from .sockets import is_loopback, local_endpoint

log = logging.getLogger("mattebridge.broker")

SWITCH_S = 0.0005
"""How long a thread may keep Python to itself: a commit of many statements otherwise waits 5 ms for each under load."""

OPEN_FILES = 65536
"""How many files and connections this process may have open, where the system lets it; 1024 are the usual limit."""


@dataclass(frozen=True)
class Arguments:
    """The command line of `serve`, typed. Empty values mean the defaults."""

    bind: tuple[str, ...] = ()
    root: tuple[str, ...] = ()
    allow_client: tuple[str, ...] = ()
    site: str = ""
    device: tuple[str, ...] = ("cpu:0",)
    threads: int = 0
    idle_exit: float = 0.0
    metrics_port: int | None = None
    log: str = ""
    state_dir: str = ""
    models_dir: tuple[str, ...] = ()
    queue_jobs: int = 0
    owner_pid: tuple[int, ...] = ()
    owner_folder: str = ""

    @classmethod
    def of(cls, args: argparse.Namespace) -> Arguments:
        """From argparse; a single string stands for a list of one, None and missing for the default."""
        given: dict[str, Any] = {}
        for item in fields(cls):
            value = getattr(args, item.name, None)
            if value is not None and value != []:
                many = isinstance(item.default, tuple)
                given[item.name] = (
                    (value,) if many and isinstance(value, (str, int)) else tuple(value) if many else value
                )
        return cls(**given)


def run(args: argparse.Namespace, adjust: Callable[[Config], Config] = lambda config: config) -> int:
    """Serve until stopped. Returns the exit status; raises `MatteBridgeError` for what the caller should print.

    ``args`` has the attributes of `Arguments`, all optional. ``adjust`` changes the configuration before it is used.
    """
    settings, arguments = Settings.from_environment(), Arguments.of(args)
    starter, owner = Process.of(os.getppid()), owner_of(arguments.owner_pid, arguments.owner_folder)
    if why := owner.gone():
        raise ServerError(f"the owner of this server is gone already: {why}")
    holder = Holder(os.getpid(), socket.gethostname())
    lock = broker_lock(settings.runtime_dir)
    with _folders_can_be_used():
        private_folder(settings.runtime_dir)
        _only_one(lock, holder)
    watch = Watch(owner, starter)
    sys.setswitchinterval(SWITCH_S)
    _allow_open_files()
    try:
        with _folders_can_be_used():
            config = adjust(configure(arguments, settings))
            set_up_logging(config.log_file)
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as loop:  # Windows' usual loop cannot watch ZeroMQ
            return loop.run(_serve(config, settings, lock, holder, watch))
    finally:
        watch.end()
        lock.release()


def _allow_open_files() -> None:
    """Raise this process's limit of open files as far as the system lets it: every connection is one.

    libzmq ends the process when an ipc client connects and no more files can be opened.
    """
    if sys.platform == "win32":
        return
    import resource

    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if usual != resource.RLIM_INFINITY and usual < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not give
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _only_one(lock: FileLock, holder: Holder) -> None:
    try:
        lock.acquire(holder, DYING_S)
    except Refused:
        raise Refused(
            f"a server of this user already runs here: {lock.holder()}",
            remedy="Use it, or stop it first with `mattebridge stop`.",
        ) from None


@contextlib.contextmanager
def _folders_can_be_used() -> Iterator[None]:
    """Turns what the disk says against our own folders into an error that names the file and the way out."""
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the server cannot use one of its own files or folders: {error.strerror or error}",
            remedy="Name places that you can write to: --state-dir, --log, MATTEBRIDGE_RUNTIME, MATTEBRIDGE_CONFIG.",
            file=str(error.filename or ""),
        ) from error


def configure(args: Arguments, settings: Settings) -> Config:
    """The typed configuration. Raises `UsageError` or `Refused` for what may not be."""
    _refuse_nonsense(args)
    site_file = args.site or settings.site_file
    site_text = find_site(site_file, {})
    site = Site.parse(site_text, site_file)
    site.output.group_id(site_file)  # refused here, and not by every engine
    roots = tuple(str(Path(root).resolve()) for root in args.root)
    if roots:
        site = replace(site, roots=roots)
    own = keys.load_or_create(settings.client_key_file)
    allowed = AllowList(own.public, args.allow_client)
    allowed.load()
    binds = tuple(_endpoint(bind) for bind in args.bind)
    _refuse_open_door(binds, site, allowed)
    queue_jobs = args.queue_jobs or Policy.queue_jobs
    policy = Policy(queue_jobs=queue_jobs, client_jobs=min(Policy.client_jobs, queue_jobs))
    state_dir = _state_dir(args.state_dir, settings)
    return Config(
        state_dir=state_dir,
        local=local_endpoint(settings.runtime_dir),
        keys=keys.load_or_create(settings.server_key_file),
        allowed=allowed,
        boot_id=secrets.token_hex(8),
        pid=os.getpid(),
        version=__version__,
        engine_command=(sys.executable, "-m", "mattebridge_server.engine"),
        helper_command=(sys.executable, "-m", "mattebridge_server.checker"),
        log_file=Path(args.log) if args.log else settings.runtime_dir / "server.jsonl",
        binds=binds,
        devices=args.device,
        device_locks={device: device_lock(settings.runtime_dir, device) for device in args.device},
        setup=wire.Setup(
            threads=args.threads or min(os.cpu_count() or 1, 8),
            folders=tuple(str(Path(folder).resolve()) for folder in args.models_dir),
            site=site_text,
            roots=roots,
            spool=str(state_dir / "spool"),
        ),
        site=site,
        policy=policy,
        limits=Limits(queue_jobs=policy.queue_jobs, client_jobs=policy.client_jobs),
        idle_exit_s=args.idle_exit,
        metrics_port=args.metrics_port,
    )


async def _serve(config: Config, settings: Settings, lock: FileLock, holder: Holder, watch: Watch) -> int:
    service = Service(config, watch.heard)
    try:
        endpoints = await service.bind()
    except (zmq.ZMQError, OSError) as error:
        raise UsageError(f"cannot listen: {error}", remedy="Choose another --bind or --metrics-port.") from error
    service.recover()
    lock.describe(replace(holder, endpoint=endpoints[0]))
    server_key = "" if endpoints[0].startswith("ipc://") else config.keys.public
    rendezvous.write(
        settings.runtime_dir,
        rendezvous.Rendezvous(
            endpoint=endpoints[0],
            server_key=server_key,
            pid=config.pid,
            host=holder.host,
            protocol=f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
            boot_id=config.boot_id,
            version=config.version,
            started_at=time.time(),
        ),
    )
    _on_signals(service)
    _say(f"mattebridge {config.version} listens on {', '.join(endpoints)} (log: {config.log_file})")
    try:
        await service.run()
    finally:
        rendezvous.remove(settings.runtime_dir, config.boot_id)
    return 0


def _on_signals(service: Service) -> None:
    """SIGTERM and Ctrl-C drain; the second one does not wait for the step that runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, service.stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(service.stop))


def _refuse_nonsense(args: Arguments) -> None:
    for flag, value, most in (
        ("--threads", args.threads, math.inf),
        ("--queue-jobs", args.queue_jobs, math.inf),
        ("--idle-exit", args.idle_exit, math.inf),
        ("--metrics-port", args.metrics_port or 0, 65535),
    ):
        if not 0 <= value <= most:
            raise UsageError(f"{flag} cannot be {value:g}")
    for device in args.device:
        if not re.fullmatch(r"(cpu|cuda)(:\d+)?", device):
            raise UsageError(f"a device is cpu:N or cuda:N, not {device!r}")


def _refuse_open_door(binds: Sequence[str], site: Site, allowed: AllowList) -> None:
    if all(is_loopback(bind) for bind in binds):
        return
    if not site.roots:
        raise UsageError(
            "a server that other hosts can reach needs to know which folders it may touch",
            remedy="Name them: --root DIR, or roots in the site file.",
        )
    if len(allowed) < 2:
        raise UsageError(
            "a server that other hosts can reach needs a list of the clients that may use it",
            remedy="Name their public keys: --allow-client FILE.",
        )


def _endpoint(bind: str) -> str:
    endpoint = bind if "://" in bind else f"tcp://{bind}"
    _, colon, port = endpoint.removeprefix("tcp://").rpartition(":")
    known = port == "*" or (port.isdecimal() and int(port) < 65536)  # ZeroMQ takes a larger one modulo 65,536
    if not endpoint.startswith("tcp://") or not colon or not known:
        raise UsageError(
            f"'{bind}' is not an address to listen on", remedy="Write tcp://ADDRESS:PORT, with a port up to 65535."
        )
    return endpoint


def _state_dir(given: str, settings: Settings) -> Path:
    """Where journal and spool lie. A home on the network falls back to the host's own disk, unless it was asked for."""
    if given:
        return private_folder(Path(given).resolve())
    usual = settings.state_dir / socket.gethostname()
    if network_file_system(settings.state_dir) and hasattr(os, "getuid"):
        usual = Path("/var/tmp") / f"mattebridge-{os.getuid()}"
    return private_folder(usual)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
