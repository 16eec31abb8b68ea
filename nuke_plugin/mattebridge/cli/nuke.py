"""`mattebridge nuke install | uninstall | selftest`: the node in a buyer's own Nuke.

mattebridge nuke install                      into ~/.nuke, with a line in its init.py
mattebridge nuke install --zip node.zip       for a pipeline's package store; put the folder on NUKE_PATH
mattebridge nuke selftest --nuke /opt/Nuke15.1v3/Nuke15.1
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputFailed, UsageError
from . import nuke_folder
from .nuke_folder import FOLDER, PLATFORMS

BEGIN = "# mattebridge: begin (written by `mattebridge nuke install`)"
END = "# mattebridge: end"
BLOCK = f'{BEGIN}\nimport nuke\n\nnuke.pluginAddPath("./{FOLDER}")\n{END}\n'


def add_parser(subparsers: Any) -> None:
    """Add `nuke` and its three commands to the command line."""
    parser: argparse.ArgumentParser = subparsers.add_parser("nuke", help="install, remove or test the node in Nuke")
    commands = parser.add_subparsers(dest="nuke_command", required=True, metavar="COMMAND")
    install = commands.add_parser("install", help="build the plug-in folder and register it")
    _nuke_dir(install)
    install.add_argument("--zip", metavar="FILE", help="write a zip of the folder instead")
    install.add_argument(
        "--platform", action="append", choices=sorted(PLATFORMS), help="only for this platform (may be repeated)"
    )
    install.add_argument("--wheels", metavar="FOLDER", help="take the wheels from here instead of the package index")
    install.add_argument("--server-python", metavar="PATH", help="the Python that starts a server for the node")
    _nuke_dir(commands.add_parser("uninstall", help="remove what install made"))
    selftest = commands.add_parser("selftest", help="run the checklist in a real Nuke's terminal mode")
    selftest.add_argument("--nuke", required=True, metavar="PATH", help="the Nuke program")
    selftest.add_argument("--plugin", metavar="FOLDER", help="a built plug-in folder (default: the installed one)")
    _nuke_dir(selftest)


def _nuke_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nuke-dir", metavar="DIR", help="the folder with Nuke's own init.py (default: ~/.nuke)")


def run(args: argparse.Namespace) -> int:
    """Exit status. Errors of the tree are raised: the command line prints them."""
    command = {"install": _install, "uninstall": _uninstall, "selftest": _selftest}[args.nuke_command]
    return command(args)


def _install(args: argparse.Namespace) -> int:
    platforms = tuple(args.platform or PLATFORMS)
    wheels = Path(args.wheels) if args.wheels else None
    if args.zip:
        with tempfile.TemporaryDirectory() as scratch:
            folder = nuke_folder.build(Path(scratch) / FOLDER, platforms, wheels, args.server_python or "")
            print(f"wrote {nuke_folder.pack(folder, Path(args.zip))}; unpack it and put {FOLDER} on NUKE_PATH")
        return 0
    home = _home(args)
    server_python = args.server_python or own_python()
    folder = nuke_folder.build(home / FOLDER, platforms, wheels, server_python)
    register(home / "init.py")
    print(f"installed {folder}\nregistered in {home / 'init.py'}")
    print(f"server: {server_python or 'none known here; start one with `mattebridge serve`'}")
    return 0


def _uninstall(args: argparse.Namespace) -> int:
    home = _home(args)
    unregister(home / "init.py")
    nuke_folder.clear(home / FOLDER)
    print(f"removed {home / FOLDER}")
    return 0


def _selftest(args: argparse.Namespace) -> int:
    """Nuke's own exit status; the steps are printed by Nuke."""
    plugin = Path(args.plugin) if args.plugin else _home(args) / FOLDER
    script = plugin / "mattebridge_nuke" / "selftest.py"
    if not script.exists():
        raise InputError("there is no plug-in here", file=str(plugin), remedy="Run `mattebridge nuke install` first.")
    if not Path(args.nuke).exists():
        raise InputError("there is no such program", file=args.nuke, remedy="Give the path of Nuke's own program.")
    environment = {**os.environ, "NUKE_PATH": os.pathsep.join(_nuke_path(plugin))}
    words = ["1001-1003", "Write1", "made", "comp.nk"]  # as those of a comp task; a step sees whether they arrive
    return subprocess.run([args.nuke, "-t", str(script), *words], env=environment, check=False).returncode


def _nuke_path(plugin: Path) -> list[str]:
    return [str(plugin), *filter(None, [os.environ.get("NUKE_PATH", "")])]


def _home(args: argparse.Namespace) -> Path:
    try:
        return Path(args.nuke_dir or "~/.nuke").expanduser()
    except RuntimeError:
        raise UsageError("this user has no home folder", remedy="Name the folder: --nuke-dir DIR.") from None


def own_python() -> str:
    """This interpreter, where the server is installed beside us; empty where it is not."""
    return sys.executable if importlib.util.find_spec("mattebridge_server") is not None else ""


def register(init: Path) -> None:
    """Have Nuke's init.py load the folder; once, however often it is called. Raises `OutputFailed`."""
    try:
        text = init.read_text("utf-8") if init.exists() else ""
        kept = _without_block(text)
        separator = "" if not kept or kept.endswith("\n") else "\n"
        init.parent.mkdir(parents=True, exist_ok=True)
        init.write_text(f"{kept}{separator}{BLOCK}", "utf-8")
    except OSError as reason:
        raise OutputFailed(f"Nuke's init.py cannot be written: {reason}", file=str(init)) from reason


def unregister(init: Path) -> None:
    """Take our lines out again; the file goes when nothing else was in it."""
    if not init.exists():
        return
    kept = _without_block(init.read_text("utf-8"))
    if kept.strip():
        init.write_text(kept, "utf-8")
    else:
        init.unlink()


def _without_block(text: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return text
    _, end, after = rest.partition(END)
    return before + after.lstrip("\n") if end else text
