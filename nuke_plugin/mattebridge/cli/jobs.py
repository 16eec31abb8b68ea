"""``status``, ``jobs`` and ``cancel``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from typing import Any

from ..client import Client
from ..errors import UsageError
from ..messages import EngineInfo, JobInfo, StatusReport
from .connection import connect
from .job_flags import add_connection_flags
from .matte import Screen, follow
from .output import counted, duration, frames, size

JOBS_EXAMPLES = """\
examples:
  mattebridge jobs                     what waits and what runs
  mattebridge jobs --finished          ended jobs too, the newest first
  mattebridge jobs --follow 4fa9b9     a job's events from its first; Ctrl-C cancels it
"""
SHORT_KEY = 8


def add_parser(subparsers: Any) -> None:
    status = subparsers.add_parser("status", help="what the server is doing")
    jobs = subparsers.add_parser(
        "jobs", help="list jobs", epilog=JOBS_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs.add_argument("--finished", action="store_true", help="ended jobs too")
    jobs.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many ended ones")
    jobs.add_argument("--follow", default="", metavar="KEY", help="show a job's events to its end")
    cancel = subparsers.add_parser("cancel", help="stop jobs; finished frames are kept")
    cancel.add_argument("keys", nargs="+", metavar="KEY", help="a job's key, or the beginning of it")
    for parser in (status, jobs, cancel):
        add_connection_flags(parser)
        parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run(args: argparse.Namespace) -> int:
    with connect(args) as client:
        if args.command == "cancel":
            return _cancel(client, args)
        if args.command == "jobs" and args.follow:
            screen = Screen(args.json)
            done = follow(client.attach(full_key(client, args.follow)), screen)
            if not args.json:
                print(f"done: {frames(done.written)} written, {done.kept} kept")
            return 0
        finished = args.command == "jobs" and args.finished
        report = client.status(finished, args.limit if finished else 0)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    elif args.command == "status":
        _print_status(report)
    elif report.jobs:
        _print_jobs(report.jobs)
    else:
        print("no jobs")
    return 0


def full_key(client: Client, prefix: str) -> str:
    """The one job whose key begins with ``prefix``. Raises `UsageError` for none or several."""
    keys = {job.key for job in client.status(finished=True, limit=1000).jobs}
    if prefix in keys:
        return prefix
    found = sorted(key for key in keys if key.startswith(prefix))
    if len(found) != 1:
        what = "no job has a key that begins with" if not found else f"{len(found)} jobs have keys that begin with"
        raise UsageError(f"{what} {prefix}", remedy="See `mattebridge jobs --finished`.")
    return found[0]


def _cancel(client: Client, args: argparse.Namespace) -> int:
    for prefix in args.keys:
        key = full_key(client, prefix)
        state = client.cancel(key)
        print(json.dumps({"key": key, "state": state}) if args.json else f"{key[:SHORT_KEY]}  {state}")
    return 0


def _print_status(report: StatusReport) -> None:
    print(
        f"mattebridge {report.version} on {report.host}, process {report.pid}, {report.state}"
        f" for {duration(report.uptime_s)}"
    )
    for engine in report.engines:
        print("  " + _engine_line(engine))
    waiting = sum(job.state == "queued" for job in report.jobs)
    print(f"{counted(len(report.jobs), 'job')}, {waiting} of them waiting")
    _print_jobs(report.jobs)


def _engine_line(engine: EngineInfo) -> str:
    parts = [f"{engine.device:<8}{engine.state:<10}"]
    if engine.job:
        parts.append(f"job {engine.job[:SHORT_KEY]}, step of {engine.busy_s:.0f} s")
    if engine.loaded:
        parts.append(f"loaded: {', '.join(engine.loaded)}")
    if engine.memory_budget_bytes:
        parts.append(f"{size(engine.memory_used_bytes)} of {size(engine.memory_budget_bytes)}")
    if engine.restarts:
        parts.append(counted(engine.restarts, "restart"))
    return "  ".join(parts)


def _print_jobs(jobs: tuple[JobInfo, ...]) -> None:
    for job in jobs:
        progress = f"{job.frames_done}/{job.frames_total}" if job.frames_total else "-"
        ahead = f" ({job.position} ahead)" if job.state == "queued" and job.position else ""
        since = time.strftime("%H:%M:%S", time.localtime(job.submitted_at)) if job.submitted_at else ""
        who = f"{job.user or '?'}@{job.host or '?'}"
        print(
            f"{job.key[:SHORT_KEY]:<9} {job.state + ahead:<18} {progress:>11} {job.model:<12} {job.priority:<11}"
            f" {since:<8} {who} {job.label or job.out}"
        )
        if job.error is not None:
            print(f"{'':<9} {job.error.code}: {job.error.message}")
