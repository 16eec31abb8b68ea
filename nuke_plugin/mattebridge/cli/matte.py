"""``matte`` and ``plan``: submit a job (or run it in this process), show it, and say where the files are."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from ..errors import Cancelled, MatteBridgeError, OutputFailed, UsageError
from ..job import Job
from ..messages import TERMINAL, Done, JobRequest
from ..plan_file import agreed_plan, with_request
from ..settings import Settings
from . import NO_SERVER, need, write_line
from .connection import settings_of, works_alone
from .job_flags import add_connection_flags, add_job_flags, add_output_flags, request_of
from .output import Teller, as_json, summary

MATTE_EXAMPLES = """\
examples:
  mattebridge matte --plate plate.####.exr --mask roto.####.exr --out alpha.####.exr --plate-space ACEScg
  mattebridge matte --plate p.%04d.exr --mask m.%04d.png --out "v/{version}/a.%04d.exr" --frames 1001-1100 \\
      --fgr fgr.%04d.exr --model edge --param reach=160
  mattebridge matte ... --server tcp://render01:17890 --delivery exr      no disk is shared: pixels travel
  mattebridge matte ... --shot 1001-1100 --frames 1042 --plan shot.json   one frame that equals the range's
  mattebridge matte ... --json | jq .event                                one event per line

Ctrl-C or SIGTERM cancels the job and waits for its end; the second one leaves at once. Finished frames are kept.
"""
PLAN_EXAMPLES = """\
examples:
  mattebridge plan --plate plate.####.exr --mask roto.####.exr --shot 1001-1100 --out shot.json
  mattebridge matte --plate plate.####.exr --mask roto.####.exr --out alpha.####.exr --plan shot.json --frames 1001-1025
"""


def add_parser(subparsers: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    matte = subparsers.add_parser(
        "matte", help="plate and mask in, alpha out", formatter_class=raw, epilog=MATTE_EXAMPLES
    )
    add_job_flags(matte)
    add_output_flags(matte)
    matte.add_argument("--plan", default=None, metavar="FILE", help="obey a plan made by `mattebridge plan`")
    add_connection_flags(matte, local=True)
    matte.add_argument("--detach", action="store_true", help="submit as a batch job, print the key and leave")
    matte.add_argument("--json", action="store_true", help="events as JSON lines on standard output, nothing else")
    plan = subparsers.add_parser("plan", help="freeze a shot's plan", formatter_class=raw, epilog=PLAN_EXAMPLES)
    add_job_flags(plan)
    add_connection_flags(plan, local=True)
    plan.add_argument("--out", dest="plan_out", default="-", metavar="FILE", help="default: printed")
    plan.add_argument("--json", action="store_true", help="events as JSON lines on standard output, nothing else")
    plan.set_defaults(detach=False, plan=None)


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    kind = str(args.command)
    request = request_of(args, kind)
    frozen = agreed_plan(request, args.plan)
    if kind == "plan" and args.json and args.plan_out == "-":
        raise UsageError("with --json the plan needs a file", remedy="Add --out FILE.")
    screen = Screen(args.json)
    began = time.monotonic()
    if works_alone(settings):
        if args.detach:
            raise UsageError(
                "there is no server to leave the job with", remedy="Start one: mattebridge serve --detach."
            )
        done, plan = _run_here(request, frozen, settings, screen)
    else:
        finished = _run_there(request, frozen, settings, args, screen)
        if finished is None:
            return 0
        done, plan = finished
    if kind == "plan":
        _keep_plan(with_request(plan, request), args.plan_out)
    elif not args.json:
        print(summary(done, request, time.monotonic() - began, screen.teller.warnings))
    return 0


class Screen:
    """Shows events as they come: to a person through a `Teller`, or as JSON lines. ``ended``: a terminal one was."""

    def __init__(self, json_lines: bool) -> None:
        self.json_lines = json_lines
        self.teller = Teller()
        self.ended = False

    def __call__(self, event: Any) -> None:
        self.ended = self.ended or isinstance(event, TERMINAL)
        if self.json_lines:
            write_line(sys.stdout, as_json(event))
        else:
            self.teller.event(event)


def follow(job: Job, screen: Screen) -> Done:
    """Show a job's events to its end; the first Ctrl-C cancels it. Raises what it ended with."""
    with _ctrl_c(job.cancel, screen.teller):
        return _told(lambda: _shown(job, screen), screen)


def _shown(job: Job, screen: Screen) -> Done:
    for event in job.events():
        screen(event)
    return job.wait()


def _run_there(
    request: JobRequest,
    plan: bytes,
    settings: Settings,
    args: argparse.Namespace,
    screen: Screen,
) -> Optional[tuple[Done, bytes]]:
    from ..client import Client

    with Client.connect(settings=settings) as client:
        if args.detach and request.delivery != "files":
            raise UsageError("--detach needs --delivery files: otherwise this process carries the pixels")
        if args.detach:  # an interactive job would end soon after this process
            request = dataclasses.replace(request, priority="batch")
        job = client.submit(request, plan, args.key)
        if args.detach:
            print(json.dumps({"event": "ACCEPTED", "key": job.key}) if args.json else job.key)
            return None
        return follow(job, screen), job.plan


def _run_here(request: JobRequest, plan: bytes, settings: Settings, screen: Screen) -> tuple[Done, bytes]:
    local = need("mattebridge_server.engine.local", NO_SERVER)
    site = need("mattebridge_server.site").find_site(settings.site_file, {})
    stop: list[bool] = []
    here = dataclasses.replace(request, delivery="files")
    with _ctrl_c(lambda: stop.append(True), screen.teller):
        done = _told(lambda: local.run_local(here, plan, screen, lambda: bool(stop), site=site), screen)
    return done, str(done.facts.get("plan", "")).encode()


def _told(run_job: Callable[[], Done], screen: Screen) -> Done:
    """Run it; an end that was shown as an event is not printed by `--json` once more."""
    try:
        return run_job()
    except MatteBridgeError as error:
        if screen.ended:
            error.details["told"] = True
        raise


def _keep_plan(plan: bytes, where: str) -> None:
    if where == "-":
        sys.stdout.write(plan.decode() + "\n")
        return
    from ..download import write_whole

    try:
        write_whole(Path(where), plan)
    except OSError as error:
        raise OutputFailed(f"the plan cannot be written: {error.strerror or error}", file=where) from None
    sys.stderr.write(f"plan: {where}\n")


def _ctrl_c(cancel: Callable[[], None], teller: Teller) -> AbstractContextManager[Any]:
    """The first Ctrl-C or SIGTERM cancels the job, the second leaves."""
    try:
        return _Interrupts(cancel, teller)
    except ValueError:  # not the main thread: there are no signals here
        return nullcontext()


class _Interrupts(AbstractContextManager["_Interrupts"]):
    def __init__(self, cancel: Callable[[], None], teller: Teller) -> None:
        self._cancel, self._teller = cancel, teller
        self._count = 0
        self._before = {number: signal.signal(number, self._pressed) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pressed(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._count += 1
        if self._count > 1:
            raise Cancelled(
                "left while the job was being cancelled",
                remedy="Finished frames are kept; a server goes on cancelling it: see `mattebridge jobs`.",
            )
        self._cancel()
        self._teller.note("cancelling; press Ctrl-C again to leave at once")
