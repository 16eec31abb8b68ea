"""The ``mattebridge`` command. One module per family of commands, imported only when one of its commands is run.

A family module has ``add_parser(subparsers)``, which adds its commands, and ``run(args) -> int``, the exit status. The
status of an error belongs to its class (see `mattebridge.errors`): 0 done, 2 usage, 3 bad input, 4 server unreachable
or lost, 5 out of memory, 6 cancelled, 7 refused.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional, TextIO

from ..errors import Cancelled, InputError, MatteBridgeError, UsageError

FAMILIES = {
    "demo": ("evaluation", "make a shot with known truth, matte it through a server and show how well it went"),
    "matte": ("matte", "plate and mask in, alpha out"),
    "plan": ("matte", "freeze what a shot needs to know, so that chunks of it give the same bits"),
    "serve": ("server", "run the server in this terminal, or in the background"),
    "stop": ("server", "stop the running server"),
    "status": ("jobs", "what the server is doing"),
    "jobs": ("jobs", "list jobs, or follow one"),
    "cancel": ("jobs", "stop a job; finished frames are kept"),
    "models": ("models", "list models; fetch, verify and find their weights"),
    "describe": ("models", "a model's parameters, presets and licence"),
    "doctor": ("doctor", "check this machine step by step and say what to mend"),
    "eval": ("evaluation", "score an alpha against the truth"),
    "nuke": ("nuke", "install the plug-in for Nuke and check it"),
    "farm": ("farm", "job bundles for a render farm"),
}
"""Command → the module of its family, and one line about it."""

KEY_FLAGS = ("--server-key", "--allow-client")
KEY_CHARACTERS = 40
FRAME_FLAGS = ("--frames", "--shot", "--point", "--box")
NO_SERVER = "Or start a server (no server of yours runs here), or name one: --server tcp://HOST:PORT."
"""What else helps where a command would have worked through a server."""

EXAMPLES = """\
examples:
  mattebridge demo                                     a first result in minutes, with nothing of your own
  mattebridge matte --plate plate.####.exr --mask roto.####.exr --out alpha.####.exr --plate-space ACEScg
  mattebridge serve --detach                           keep models loaded between jobs
  mattebridge matte ... --frames 1001-1100 --json      one event per line, for scripts
  mattebridge doctor                                   what is wrong here, and what to do

exit status: 0 done, 2 usage, 3 bad input, 4 server unreachable or lost, 5 out of memory, 6 cancelled, 7 refused
"""


class Parser(argparse.ArgumentParser):
    """Usage errors go the way of every other error: to `main`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"See `{self.prog} --help`.")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _values_joined(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks must not end the command
            stream.reconfigure(errors="backslashreplace")
    try:
        args, left = _parser(arguments).parse_known_args(arguments)
        if left:
            raise _unknown(args, left)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except MatteBridgeError as error:
        return _tell(error, as_json)
    except KeyboardInterrupt:
        return _tell(
            Cancelled("interrupted", remedy="Jobs that were submitted go on; see `mattebridge jobs`."), as_json
        )
    except BrokenPipeError:  # the reader of our output went away
        silence(sys.stdout)
        return 0
    except OSError as error:
        return _tell(_of_the_system(error), as_json)
    except ImportError as error:
        return _tell(_missing(error), as_json)
    except Exception as error:  # a fault of ours: still one line and a status that means what it says
        ours = MatteBridgeError(
            f"an unexpected failure: {type(error).__name__}: {error}",
            remedy="Run it again with MATTEBRIDGE_DEBUG=1 and report what it prints.",
        )
        return _tell(ours, as_json)


def _unknown(args: argparse.Namespace, left: Sequence[str]) -> UsageError:
    """For words that are no argument of the command. File names among them are what a shell makes of ``*``."""
    shown = " ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    remedy = f"See `mattebridge {args.command} --help`."
    if all(Path(word).suffix and not word.startswith("-") for word in left):
        remedy = (
            f"A shell puts file names in place of *: name a sequence by a pattern, --plate 'plate.####.exr'. {remedy}"
        )
    return UsageError(f"unrecognized arguments: {shown}", remedy=remedy)


def write_line(stream: TextIO, line: str) -> None:
    """A line on ``stream``; nothing where its reader went away: what the command does and ends with stays as it is."""
    try:
        stream.write(line + "\n")
        stream.flush()
    except BrokenPipeError:
        silence(stream)


def _open_what_is_closed() -> None:
    """Output that a scheduler or service closed goes nowhere: Python has no stream there, and every command writes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def silence(stream: TextIO) -> None:
    """What is written to ``stream`` from now on goes nowhere: its reader went away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _values_joined(words: Sequence[str]) -> list[str]:
    """``--server-key KEY`` as ``--server-key=KEY``: a key in Z85 may begin with a minus, and is no flag then.

    ``--frames -5--1`` likewise: a frame before 0 begins with one too.
    """
    joined: list[str] = []
    for word in words:
        flag = joined[-1] if joined else ""
        key = flag in KEY_FLAGS and len(word) == KEY_CHARACTERS
        if key or (flag in FRAME_FLAGS and re.match("-[0-9]", word)):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def need(module: str, otherwise: str = "") -> Any:
    """Import a module of the server side. Raises `UsageError` with the remedy where it is not installed.

    ``otherwise`` is what else would help: a sentence.
    """
    if sys.version_info < (3, 11):
        from ..extras import install_command

        version = ".".join(str(part) for part in sys.version_info[:3])
        raise UsageError(
            f"this command needs Python 3.11 or later, and this is {version}",
            remedy=f"Install the server side into a Python of 3.11 or later ({install_command('server')}), and run it "
            f"there. {otherwise}".strip(),
        )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(error, otherwise) from None


def _missing(error: ImportError, otherwise: str = "") -> UsageError:
    from ..extras import install_command

    install = f"Run {install_command('server')} (Python 3.11 or later), with [models] for networks."
    return UsageError(
        f"this command needs a package that is not installed: {error.name or error}",
        remedy=f"{install} {otherwise}".strip(),
    )


def _of_the_system(error: OSError) -> InputError:
    try:
        sys.stdout.flush()
    except OSError:  # it is the output itself that cannot be written
        silence(sys.stdout)
    return InputError(
        f"the system refused: {error.strerror or error}",
        file=str(error.filename or ""),
        remedy="Look at the file's or folder's permissions and the disk's free space.",
    )


def _parser(arguments: Sequence[str]) -> Parser:
    from .. import __version__

    parser = Parser(
        prog="mattebridge",
        description="Plate and rough mask in, linear-light alpha out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mattebridge {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    if wanted in FAMILIES:
        family = importlib.import_module(f".{FAMILIES[wanted][0]}", __name__)
        family.add_parser(subparsers)
        for name in subparsers.choices:
            subparsers.choices[name].set_defaults(command=name)
            if subparsers.choices[name].get_default("run") is None:
                subparsers.choices[name].set_defaults(run=family.run)
    else:
        for name, (_, summary) in FAMILIES.items():
            subparsers.add_parser(name, help=summary)
    return parser


def _tell(error: MatteBridgeError, as_json: bool) -> int:
    if as_json and not error.details.get("told"):
        import json

        line = json.dumps({"event": "ERROR", "exit_status": error.exit_status, **error.to_wire()})
        write_line(sys.stdout, line)
    with contextlib.suppress(OSError):  # a log on a full disk: the status has to tell
        write_line(sys.stderr, f"mattebridge: {error}")
    if os.environ.get("MATTEBRIDGE_DEBUG"):
        import traceback

        traceback.print_exc()
    return error.exit_status
