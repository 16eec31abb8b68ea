"""A Nuke plug-in folder that stands on its own: our packages, the gizmo, and pyzmq and msgpack for every Nuke.

    mattebridge-plugin/
        init.py menu.py gizmos/ icons/          what Nuke looks for
        mattebridge/ mattebridge_nuke/          our packages
        vendor/zmq vendor/msgpack               third-party, put at the end of sys.path when a button is pressed
        server_python.txt                       the Python that can run a server, where one is known

One folder serves Python 3.9, 3.10 and 3.11 on Linux, Windows and macOS: extension modules carry interpreter and
platform in their names, and all else in the wheels is the same up to line ends, which is checked while merging. msgpack
goes in without its extension: its pure Python is fast enough for headers and fits every interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Optional

from ..errors import InputError, OutputFailed

FOLDER = "mattebridge-plugin"
PYZMQ, MSGPACK = "pyzmq==27.3.0", "msgpack==1.1.2"
PYTHONS = ("3.9", "3.10", "3.11")
PLATFORMS = {
    "linux": ("manylinux2014_x86_64", "manylinux_2_26_x86_64", "manylinux_2_28_x86_64"),
    "windows": ("win_amd64",),
    "macos": ("macosx_10_15_universal2", "macosx_11_0_arm64"),
}
EXTENSIONS = (".so", ".pyd", ".dylib", ".dll")
LEFT_OUT = ("RECORD", "WHEEL", "INSTALLER", "REQUESTED", "top_level.txt")
HEADERS = (".h", ".c", ".pxd", ".pxi", ".pyx")


def build(target: Path, platforms: Sequence[str], wheels: Optional[Path] = None, server_python: str = "") -> Path:
    """Fill ``target`` (made, or emptied of an older build). Raises `InputError`, `OutputFailed`.

    ``wheels`` is a folder of wheels to use instead of downloading them.
    """
    if target.exists() and not is_ours(target):
        raise OutputFailed(
            "the folder exists and is not a MatteBridge plug-in", file=str(target), remedy="Name another folder."
        )
    with tempfile.TemporaryDirectory() as scratch:
        found = pick(wheels, platforms) if wheels is not None else download(Path(scratch), platforms)
        try:
            _clear(target)
            _copy_ours(target)
            for wheel in found:
                merge(wheel, target / "vendor")
            if server_python:
                (target / "server_python.txt").write_text(server_python + "\n", "utf-8")
        except OSError as reason:
            raise OutputFailed(f"the plug-in cannot be written: {reason}", file=str(target)) from reason
    return target


def is_ours(folder: Path) -> bool:
    """Whether a folder is an earlier build, or empty."""
    if not folder.is_dir():
        return False
    return (folder / "gizmos" / "MatteBridge.gizmo").exists() or not any(folder.iterdir())


def clear(folder: Path) -> None:
    """Remove an earlier build. Raises `OutputFailed` for a folder that is not one."""
    if not is_ours(folder):
        raise OutputFailed("there is no MatteBridge plug-in", file=str(folder), remedy="Name the folder it is in.")
    _clear(folder)
    folder.rmdir()


def pack(folder: Path, archive: Path) -> Path:
    """A zip of the folder for a pipeline's package store. Raises `OutputFailed`."""
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    out.write(path, f"{FOLDER}/{path.relative_to(folder).as_posix()}")
    except OSError as reason:
        raise OutputFailed(f"the archive cannot be written: {reason}", file=str(archive)) from reason
    return archive


# -- wheels ----------------------------------------------------------------------------------------------------------


def download(target: Path, platforms: Sequence[str]) -> list[Path]:
    """Every wheel that a build needs, fetched by pip. Raises `InputError`."""
    orders = [[MSGPACK]]
    for platform in platforms:
        flags = [flag for tag in PLATFORMS[platform] for flag in ("--platform", tag)]
        orders += [[PYZMQ, "--python-version", python, "--implementation", "cp", *flags] for python in PYTHONS]
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(lambda order: _pip(order, target), orders))
    return sorted(target.glob("*.whl"))


def _pip(arguments: list[str], target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), *arguments]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if ended.returncode:
        said = ended.stdout.decode("utf-8", "replace").strip().splitlines()
        raise InputError(
            f"pip could not get {arguments[0]}: {said[-1] if said else ended.returncode}",
            remedy="Connect to your package index, or download the wheels elsewhere and pass --wheels FOLDER.",
        )


def pick(folder: Path, platforms: Sequence[str]) -> list[Path]:
    """The wheels that a build needs from a folder of wheels. Raises `InputError` naming the first that is not there."""
    found = [_one(folder, f"{MSGPACK.replace('==', '-')}-", ("",), "msgpack")]
    for platform in platforms:
        for python in PYTHONS:
            stem = f"{PYZMQ.replace('==', '-')}-cp{python.replace('.', '')}-"
            found.append(_one(folder, stem, PLATFORMS[platform], f"pyzmq for Python {python} on {platform}"))
    return found


def _one(folder: Path, stem: str, tags: Sequence[str], what: str) -> Path:
    for path in sorted(folder.glob(f"{stem}*.whl")):
        if any(tag in path.name for tag in tags):
            return path
    raise InputError(
        f"there is no wheel of {what} ({stem}*.whl)", file=str(folder), remedy="Download it, or leave --wheels out."
    )


def merge(wheel: Path, vendor: Path) -> None:
    """Add one wheel to the merged folder. Raises `InputError` when two wheels disagree about a file."""
    pure = wheel.name.startswith("msgpack-")
    with zipfile.ZipFile(wheel) as archive:
        for name, data in _members(archive, pure):
            target = vendor / name
            if target.exists() and target.read_bytes() != data:
                raise InputError(
                    f"two wheels disagree about {name}", file=str(wheel), remedy="Build from clean wheels."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _members(archive: zipfile.ZipFile, pure: bool) -> Iterator[tuple[str, bytes]]:
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if info.is_dir() or path.is_absolute() or ".." in path.parts:
            continue
        native = path.suffix in EXTENSIONS or ".so." in path.name
        if path.name in LEFT_OUT or path.suffix in HEADERS or "tests" in path.parts or (native and pure):
            continue
        data = archive.read(info)
        yield info.filename, data if native else data.replace(b"\r\n", b"\n")


# -- our own files -----------------------------------------------------------------------------------------------------


def plugin_root() -> Path:
    """Where init.py, menu.py and gizmos/ are: beside the packages in a checkout, inside one when installed.

    Raises `InputError` where they are in neither place.
    """
    packages = Path(__file__).resolve().parents[2]
    for root in (packages, packages / "mattebridge_nuke" / "plugin"):
        if (root / "gizmos" / "MatteBridge.gizmo").exists():
            return root
    raise InputError("this installation has no plug-in files", remedy="Install mattebridge again from its wheel.")


def _copy_ours(target: Path) -> None:
    root, packages = plugin_root(), Path(__file__).resolve().parents[2]
    for name in ("init.py", "menu.py"):
        _copy(root / name, target / name)
    for folder in ("gizmos", "icons"):
        for path in sorted((root / folder).glob("*.*")):
            _copy(path, target / folder / path.name)
    for package in ("mattebridge", "mattebridge_nuke"):
        for path in sorted((packages / package).rglob("*.py")):
            inside = path.relative_to(packages / package)
            if inside.parts[0] != "plugin":
                _copy(path, target / package / inside)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def _clear(folder: Path) -> None:
    """Empty the folder, bottom up; links are removed, never followed."""
    if not folder.exists():
        return
    for path in sorted(folder.rglob("*"), key=lambda one: len(one.parts), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
