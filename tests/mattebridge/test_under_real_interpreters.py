"""The built wheel, installed alone, under each Python that Nuke and farms bring: 3.9, 3.10, 3.11 and 3.13.

Static checks miss what only an old interpreter refuses, so `thin_side_check.py` runs in each. Dependencies are fetched
once and kept in pytest's cache; an interpreter that this machine lacks is skipped, and says so.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
VERSIONS = ("3.9", "3.10", "3.11", "3.13")
DEPENDENCIES = ("pyzmq==27.3.0", "msgpack==1.1.2")


def interpreter(version):
    """A working Python of that version: by name on PATH, or one of pyenv's; None where there is none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(root.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0 and asked.stdout.split("\n")[0] == version:
            return asked.stdout.split("\n")[1]
    return None


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this tree, unpacked: the package is pure Python, so that is what an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("mattebridge-*-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture(scope="session")
def dependencies(request, tmp_path_factory):
    """A folder with pyzmq and msgpack for an interpreter, fetched once per version."""

    def folder_for(python, version):
        name, cache = f"thin-{version}-{'-'.join(DEPENDENCIES)}", getattr(request.config, "cache", None)
        folder = Path(cache.mkdir(name)) if cache is not None else tmp_path_factory.mktemp(name)
        if not (folder / "complete").exists():
            command = [python, "-m", "pip", "install", "-q", "--target", str(folder), "--upgrade", *DEPENDENCIES]
            fetched = subprocess.run(command, capture_output=True, text=True, check=False)
            if fetched.returncode != 0:
                pytest.skip(f"pip could not fetch the dependencies for Python {version}: {fetched.stderr[-300:]}")
            (folder / "complete").touch()
        return folder

    return folder_for


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_thin_side_works_from_its_wheel(version, wheel, dependencies, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MATTEBRIDGE"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(wheel), str(dependencies(python, version))])
    environment["WHEEL"] = str(wheel)
    script = [python, "-W", "error", str(HERE / "thin_side_check.py")]
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") >= 9
    pure = {**environment, "MSGPACK_PUREPYTHON": "1"}
    done = subprocess.run([*script, "message", "client"], env=pure, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("ok ") == 2, done.stdout + done.stderr
