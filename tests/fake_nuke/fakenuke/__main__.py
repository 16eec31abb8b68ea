"""`python -m fakenuke -t FILE ARGUMENTS`: `nuke -t` with our plug-in, for programs that call Nuke."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from . import FakeNuke

PLUGIN = Path(__file__).resolve().parents[3] / "nuke_plugin"


def main(words: list[str]) -> None:
    if words[0] != "-t":
        raise SystemExit(f"the fake knows only nuke -t FILE, not {words}")
    sys.path.append(str(PLUGIN))
    sys.argv = words[1:]
    with FakeNuke(gui=False, plugin_folders=[PLUGIN / "gizmos"]) as fake:
        runpy.run_path(str(PLUGIN / "init.py"))
        try:
            runpy.run_path(words[1], run_name="__main__")
        finally:
            print(*fake.session.printed, sep="\n", flush=True)


main(sys.argv[1:])
