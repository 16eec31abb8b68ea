"""The folder that `mattebridge nuke install` builds stands on its own, in every Python that Nuke has."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakenuke import tcl
from fakenuke.local_server import LocalServer, running_server

from mattebridge.cli import main, nuke_folder
from mattebridge.cli import nuke as command
from mattebridge.errors import InputError, OutputFailed
from mattebridge.keys import load_or_create

PYTHONS = ("3.9", "3.10", "3.11")
EXPECTED = {
    "linux": "_zmq.cpython-{tag}-x86_64-linux-gnu.so",
    "windows": "_zmq.cp{tag}-win_amd64.pyd",
    "macos": "_zmq.cpython-{tag}-darwin.so",
}

IMPORT = """
import sys
sys.path.append({folder!r})
import types
nuke = types.ModuleType("nuke")
nuke.Node = nuke.Knob = nuke.Group = object
sys.modules["nuke"] = nuke
import importlib, pkgutil
import mattebridge_nuke
for module in pkgutil.iter_modules(mattebridge_nuke.__path__):
    if module.name != "selftest":
        importlib.import_module("mattebridge_nuke." + module.name)
assert "zmq" not in sys.modules and "msgpack" not in sys.modules
from mattebridge_nuke import bridge
bridge.ready()
import zmq, msgpack
assert sys.path[-1] == {folder!r} + "/vendor", sys.path
assert zmq.__file__.startswith({folder!r}) and zmq.has("curve")
assert msgpack.Packer.__module__ == "msgpack.fallback"
import mattebridge
client = mattebridge.Client.connect({server!r})
print(sys.version_info[:2], client.status().state, [info.name for info in client.models()])
client.close()
"""


def interpreter(version: str) -> str:
    """A real CPython of that version: the running one, one of pyenv's, or ``python3.9`` on PATH. Empty without."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = sorted(root.glob(f"versions/{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}") or ""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every wheel, downloaded once by pip."""
    folder = tmp_path_factory.mktemp("wheels")
    try:
        nuke_folder.download(folder, tuple(nuke_folder.PLATFORMS))
    except InputError as reason:
        pytest.skip(f"no package index can be reached: {reason}")
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """A `.nuke` folder with somebody else's init.py, and us installed."""
    home = tmp_path_factory.mktemp("home") / ".nuke"
    home.mkdir()
    (home / "init.py").write_text("import os\nSTUDIO = os.name")
    assert main(["nuke", "install", "--nuke-dir", str(home), "--wheels", str(wheels)]) == 0
    return home


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[LocalServer]:
    """A server on loopback tcp: always CURVE."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with running_server("--bind", endpoint, "--root", str(Path(__file__).parent)) as server:
        server.tcp_endpoint = endpoint
        yield server


def test_the_folder_holds_what_nuke_looks_for(home: Path) -> None:
    plugin = home / nuke_folder.FOLDER
    for name in ("init.py", "menu.py", "gizmos/MatteBridge.gizmo", "icons/MatteBridge.png", "mattebridge/client.py"):
        assert (plugin / name).exists(), name
    tcl.parse_script((plugin / "gizmos" / "MatteBridge.gizmo").read_text("utf-8"))
    assert not list(plugin.rglob("__pycache__"))


@pytest.mark.parametrize("platform", sorted(EXPECTED))
def test_every_platform_and_python_has_its_extension(home: Path, platform: str) -> None:
    names = {path.name for path in (home / nuke_folder.FOLDER / "vendor" / "zmq" / "backend" / "cython").iterdir()}
    assert {EXPECTED[platform].format(tag=version.replace(".", "")) for version in PYTHONS} <= names


def test_msgpack_goes_in_without_its_extension(home: Path) -> None:
    names = {path.name for path in (home / nuke_folder.FOLDER / "vendor" / "msgpack").iterdir()}
    assert "fallback.py" in names
    assert not [name for name in names if not name.endswith(".py")]


@pytest.mark.parametrize("version", PYTHONS)
def test_a_clean_interpreter_imports_it_and_talks_curve(home: Path, tcp_server: LocalServer, version: str) -> None:
    python = interpreter(version)
    if not python:
        pytest.skip(f"this machine has no Python {version}")
    folder = str(home / nuke_folder.FOLDER)
    script = IMPORT.format(folder=folder, server=tcp_server.tcp_endpoint)
    ended = subprocess.run(
        [python, "-I", "-S", "-c", script],
        env={**os.environ, **tcp_server.environment, "MATTEBRIDGE_SERVER_KEY": server_key(tcp_server)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "gated" in ended.stdout


def test_a_wrong_server_key_is_refused(home: Path, tcp_server: LocalServer) -> None:
    script = IMPORT.format(folder=str(home / nuke_folder.FOLDER), server=tcp_server.tcp_endpoint)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        env={**os.environ, **tcp_server.environment, "MATTEBRIDGE_SERVER_KEY": "A" * 40},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "AuthRefused" in ended.stderr


def server_key(server: LocalServer) -> str:
    return load_or_create(server.settings.server_key_file).public


def test_nuke_s_own_init_keeps_what_was_in_it(home: Path) -> None:
    text = (home / "init.py").read_text()
    assert text.startswith("import os\nSTUDIO = os.name\n")
    assert text.count("pluginAddPath") == 1
    command.register(home / "init.py")
    assert (home / "init.py").read_text() == text


def test_uninstall_takes_away_what_install_made_and_no_more(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / ".nuke"
    shutil.copytree(home, copy)
    assert main(["nuke", "uninstall", "--nuke-dir", str(copy)]) == 0
    assert [path.name for path in copy.iterdir()] == ["init.py"]
    assert (copy / "init.py").read_text() == "import os\nSTUDIO = os.name\n"
    assert main(["nuke", "uninstall", "--nuke-dir", str(copy)]) == OutputFailed.exit_status


def test_a_folder_that_is_not_ours_is_never_emptied(tmp_path: Path, wheels: Path) -> None:
    mine = tmp_path / nuke_folder.FOLDER
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(OutputFailed, match="not a MatteBridge plug-in"):
        nuke_folder.build(mine, ("linux",), wheels)
    assert (mine / "thesis.txt").exists()


def test_a_zip_for_a_package_store_holds_the_folder_and_touches_no_nuke(
    home: Path, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    archive = tmp_path / "node.zip"
    assert main(["nuke", "install", "--zip", str(archive), "--wheels", str(wheels)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["node.zip"]
    installed = home / nuke_folder.FOLDER
    files = {path for path in installed.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    wanted = {f"{nuke_folder.FOLDER}/{path.relative_to(installed).as_posix()}": path for path in files}
    del wanted[f"{nuke_folder.FOLDER}/server_python.txt"]  # of the machine that installed it
    with zipfile.ZipFile(archive) as packed:
        assert set(packed.namelist()) == set(wanted)
        assert all(packed.read(name) == path.read_bytes() for name, path in wanted.items())


NUKE = """#!{python}
import os, runpy, sys
plugin = os.environ["NUKE_PATH"].split(os.pathsep)[0]
os.chdir(plugin)
sys.path[:0] = [plugin, {fake!r}]
assert sys.argv[1] == "-t", sys.argv
from fakenuke import FakeNuke
with FakeNuke(gui=False) as fake:
    runpy.run_path("init.py")
    try:
        runpy.run_path(sys.argv[2], run_name="__main__")
    finally:
        print("\\n".join(fake.session.printed))
"""


def test_the_selftest_runs_the_installed_folder_in_nuke_s_terminal(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "Nuke15.1"
    fake = str(Path(__file__).resolve().parents[1] / "fake_nuke")
    program.write_text(NUKE.format(python=sys.executable, fake=fake))
    program.chmod(0o755)
    order = ["nuke", "selftest", "--nuke", str(program), "--nuke-dir", str(home)]
    assert main(order) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1].startswith("MatteBridge selftest: ")
    assert lines[-1].endswith("steps as expected")
    assert not [line for line in lines if "FAILED" in line]
    gizmo = home / nuke_folder.FOLDER / "gizmos" / "MatteBridge.gizmo"
    text = gizmo.read_text("utf-8")
    gizmo.write_text(text.replace("$gui", "1"), "utf-8")  # as if a terminal could not be told from an interface
    try:
        assert main(order) == 1
    finally:
        gizmo.write_text(text, "utf-8")
    assert "[FAILED] without a matte a render is refused" in capfd.readouterr().out


def test_a_nuke_that_is_not_there_is_said(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "Nuke99")
    assert main(["nuke", "selftest", "--nuke", missing, "--nuke-dir", str(home)]) == InputError.exit_status
    assert missing in capsys.readouterr().err
    empty = ["nuke", "selftest", "--nuke", sys.executable, "--nuke-dir", str(tmp_path)]
    assert main(empty) == InputError.exit_status
    assert "mattebridge nuke install" in capsys.readouterr().err


def test_two_wheels_that_disagree_are_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        with zipfile.ZipFile(tmp_path / f"pyzmq-{number}.whl", "w") as wheel:
            wheel.writestr("zmq/same.py", "a\r\n" if number == 1 else "a\n")
            wheel.writestr("zmq/other.py", f"{number}\n")
    nuke_folder.merge(tmp_path / "pyzmq-1.whl", tmp_path / "vendor")
    with pytest.raises(InputError, match=r"disagree about zmq/other\.py"):
        nuke_folder.merge(tmp_path / "pyzmq-2.whl", tmp_path / "vendor")


def test_missing_wheels_and_a_missing_index_are_said_with_its_remedy(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no wheel of msgpack"):
        nuke_folder.build(tmp_path / "p", ("linux",), empty)
    with pytest.raises(InputError, match="pip could not get nothing-at-all") as caught:
        nuke_folder._pip(["nothing-at-all==0", "--no-index"], empty)
    assert "--wheels" in caught.value.remedy
