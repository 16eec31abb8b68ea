"""What Nuke's start pays for us: two small files, no library, nothing that can stop it. And one door to `nuke`."""

from __future__ import annotations

import ast
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from fakenuke import FakeNuke

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "nuke_plugin"
MODULES = sorted((PLUGIN / "mattebridge_nuke").glob("*.py"))

START = """
import json, sys, time
sys.path[:0] = {paths}
from fakenuke import FakeNuke
with FakeNuke(gui=True) as fake:
    import nuke, importlib.util
    before = set(sys.modules)
    clock = time.process_time()
    for name in ("init.py", "menu.py"):
        source = open({plugin!r} + "/" + name).read()
        exec(compile(source, name, "exec"), {{"__name__": "__main__"}})
    took_s = time.process_time() - clock
    started = sorted(set(sys.modules) - before)
    import mattebridge_nuke
    node = nuke.nodes.Grade()
    imported = sorted(name for name in sys.modules if name.split(".")[0] in ("zmq", "msgpack"))
    print(json.dumps([started, imported, fake.session.printed, took_s]))
"""


def test_starting_nuke_imports_nothing_of_ours_and_takes_no_time() -> None:
    paths = [str(PLUGIN), str(ROOT / "tests" / "fake_nuke")]
    script = START.format(paths=paths, plugin=str(PLUGIN))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    started, imported, printed, took_s = json.loads(ended.stdout)
    assert [name for name in started if not name.startswith(("importlib", "_"))] == []
    assert imported == []
    assert printed == []
    assert took_s < 0.02


def test_a_new_node_and_its_callbacks_load_no_socket_library(fake: FakeNuke, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("zmq", "msgpack")]:
        monkeypatch.delitem(sys.modules, name)
    node = fake.module.nodes.MatteBridge()
    node["range"].setValue("custom")
    fake.press(node, "matte_range")
    assert "not connected" in fake.session.messages[-1], "the button ran"
    assert [name for name in sys.modules if name.split(".")[0] in ("zmq", "msgpack")] == []


def test_the_menu_offers_the_node_and_never_raises(fake: FakeNuke, terminal: FakeNuke) -> None:
    sys.modules["nuke"] = fake.module
    runpy.run_path(str(PLUGIN / "menu.py"))
    (path, command), *others = fake.session.menu_commands.items()
    assert (path, others) == ("Nodes/Keyer/MatteBridge", [])
    exec(command, {"nuke": fake.module})
    assert fake.module.toNode("MatteBridge1").Class() == "MatteBridge"
    sys.modules["nuke"] = terminal.module
    runpy.run_path(str(PLUGIN / "menu.py"))
    (line,) = terminal.session.printed
    assert "not in GUI mode" in line
    assert "Error:" not in line


def test_a_button_without_the_package_says_what_to_install(fake: FakeNuke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mattebridge_nuke", None)
    node = fake.module.nodes.MatteBridge()
    node["range"].setValue("custom")
    fake.press(node, "matte_range")
    (message,) = fake.session.messages
    assert "mattebridge nuke install" in message


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_only_the_host_module_imports_nuke(module: Path) -> None:
    names = set()
    tree = ast.parse(module.read_text("utf-8"))
    typing_only = {
        id(inner)
        for item in ast.walk(tree)
        if isinstance(item, ast.If) and ast.unparse(item.test) == "TYPE_CHECKING"
        for inner in ast.walk(item)
    }
    for item in [item for item in ast.walk(tree) if id(item) not in typing_only]:
        if isinstance(item, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.level == 0:
            names.add(str(item.module).partition(".")[0])
    assert ("nuke" in names) == (module.stem == "host")
    allowed = set(sys.stdlib_module_names) | {"mattebridge", "nuke", "__future__"}
    late = {"zmq", "msgpack"} if module.stem in ("bridge", "troubleshoot", "selftest") else set()
    assert names <= allowed | late | ({"mattebridge_nuke"} if module.stem == "selftest" else set())


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_module_is_python_3_9(module: Path) -> None:
    ast.parse(module.read_text("utf-8"), feature_version=(3, 9))
