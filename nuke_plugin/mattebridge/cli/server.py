"""``serve`` and ``stop``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..errors import ServerError
from ..settings import Settings
from . import need
from .connection import connect, settings_of
from .job_flags import add_connection_flags

SERVE_EXAMPLES = """\
examples:
  mattebridge serve                                       for you, on this host; Ctrl-C drains and stops
  mattebridge serve --detach --idle-exit 3600             in the background, gone after an hour without work
  mattebridge serve --device cuda:0 --device cuda:1       one engine for each device
  mattebridge serve --bind tcp://0.0.0.0:17890 --root /shows --allow-client clients.pub

A server on the network needs the folders it may touch (--root) and the keys of those who may use it (--allow-client:
a file with one `KEY NAME [admin]` a line; a client's key is in its `client.pub`).
"""
STOP_TIMEOUT_S = 90.0


def add_parser(subparsers: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    serve = subparsers.add_parser("serve", help="run the server", formatter_class=raw, epilog=SERVE_EXAMPLES)
    serve.add_argument("--bind", action="append", default=[], metavar="ENDPOINT", help="listen on tcp too; repeatable")
    serve.add_argument("--root", action="append", default=[], metavar="DIR", help="folders it may touch; repeatable")
    serve.add_argument("--allow-client", action="append", default=[], metavar="FILE|KEY", help="who may use it")
    serve.add_argument("--site", default="", metavar="FILE", help="the studio's site.toml (default: $MATTEBRIDGE_SITE)")
    serve.add_argument("--device", action="append", default=[], metavar="cpu:0|cuda:0", help="repeatable (cpu:0)")
    serve.add_argument("--threads", type=int, default=0, metavar="N", help="threads of each engine")
    serve.add_argument("--models-dir", action="append", default=[], metavar="DIR", help="weights; repeatable")
    serve.add_argument("--state-dir", default="", metavar="DIR", help="journal and spool; a disk of this host")
    serve.add_argument("--queue-jobs", type=int, default=0, metavar="N", help="jobs it admits (default: 256)")
    serve.add_argument("--idle-exit", type=float, default=0.0, metavar="S", help="stop after so long without work")
    serve.add_argument("--metrics-port", type=int, default=None, metavar="N", help="Prometheus metrics on this port")
    serve.add_argument("--log", default="", metavar="FILE", help="structured log (default: in the runtime folder)")
    serve.add_argument("--owner-pid", action="append", type=int, default=[], metavar="N", help="end with this process")
    serve.add_argument("--owner-folder", default="", metavar="DIR", help="end when this folder is gone")
    serve.add_argument("--detach", action="store_true", help="run in the background; returns when it can be reached")
    stop = subparsers.add_parser("stop", help="stop the running server; its queue is kept")
    stop.add_argument("--now", action="store_true", help="do not wait for the frames it is working on")
    add_connection_flags(stop)


def run(args: argparse.Namespace) -> int:
    return _stop(args) if args.command == "stop" else _serve(args)


def _serve(args: argparse.Namespace) -> int:
    if not args.detach:
        status: int = need("mattebridge_server.broker.main").run(args)
        return status
    need("mattebridge_server")
    from ..launch import serve_detached
    from ..rendezvous import read_alive

    settings = settings_of(args)
    found = read_alive(settings.runtime_dir)
    if found is not None:
        print(f"already running: {found.endpoint} (process {found.pid})")
        return 0
    found = serve_detached(settings, serve_arguments(args))
    print(f"running: {found.endpoint} (process {found.pid}, log: {settings.server_log})")
    return 0


def serve_arguments(args: argparse.Namespace) -> list[str]:
    """The command line of ``serve`` again, without ``--detach``."""
    words: list[str] = []
    for name in ("bind", "root", "allow_client", "site", "device", "threads", "models_dir", "state_dir", "queue_jobs"):
        words += _flag(name, getattr(args, name))
    for name in ("idle_exit", "metrics_port", "log", "owner_pid", "owner_folder"):
        words += _flag(name, getattr(args, name))
    return words


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, list):
        return [word for item in value for word in (flag, str(item))]
    return [flag, str(value)] if value not in (None, "", 0, 0.0) else []


def _stop(args: argparse.Namespace) -> int:
    from ..rendezvous import read_alive

    settings = settings_of(args)
    running = read_alive(settings.runtime_dir) if settings.server == "auto" else None
    if settings.server == "auto" and running is None:
        print("no server of yours is running here")
        return 0
    try:
        with connect(args) as client:
            client.stop(args.now)
    except ServerError:
        if running is None:  # of our own server we can see below whether it has stopped
            raise
    if running is not None:
        _wait_until_gone(settings, running.pid)
    print("stopped" if running is not None else "stopping")
    return 0


def _wait_until_gone(settings: Settings, pid: int) -> None:
    from ..rendezvous import process_alive

    deadline = time.monotonic() + STOP_TIMEOUT_S
    while process_alive(pid):
        if time.monotonic() > deadline:
            raise ServerError(
                f"the server (process {pid}) did not stop within {STOP_TIMEOUT_S:.0f} s",
                remedy=f"Try `mattebridge stop --now`, and look at {settings.server_log}.",
            )
        time.sleep(0.05)
