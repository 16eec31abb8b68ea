"""A config that came by content: a set of files under logical names, laid out in a folder that OCIO can load.

The names are those of the client's file list: ``config.ocio`` or ``config.ocioz``, and ``search/<index>/<name>`` for
what the config found in its search path of that index. The loader replaces the config's search paths by those folders.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .failure import ColourError

_MAIN_NAMES = ("config.ocio", "config.ocioz")
_LOOK_UP_NAME = re.compile(r"search/\d{1,3}/.+")


def unpack_bundle(blobs: Mapping[str, bytes], digest: str, store: Path) -> Path:
    """Write the files of an uploaded config to ``store/<digest>`` and return that folder; present already, it is kept.

    The caller has compared ``digest`` with the digest of ``blobs`` before. The folder appears whole or not at all.
    Raises `ColourError` ("bundle_unsafe") for a name that leaves the folder or is not of a config.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ColourError("bundle_unsafe", "an uploaded OCIO config needs its SHA-256 digest in hex")
    if sum(name in _MAIN_NAMES for name in blobs) != 1:
        raise ColourError("bundle_unsafe", "an uploaded OCIO config needs one config.ocio or config.ocioz")
    for name in blobs:
        _check_name(name)
    folder = store / digest
    if folder.is_dir():
        return folder
    store.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".incoming-", dir=store))
    try:
        for name, blob in blobs.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(blob)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another thread has put the same files there in the meantime
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def search_folders(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    """The config file of an unpacked bundle, and its search folders in order (absent ones included)."""
    main = next((folder / name for name in _MAIN_NAMES if (folder / name).is_file()), None)
    if main is None:
        raise ColourError("config_missing", "the folder holds no config.ocio or config.ocioz", file=str(folder))
    search = folder / "search"
    if main.suffix == ".ocioz" or not search.is_dir():
        return main, ()
    last = max((int(child.name) for child in search.iterdir() if child.name.isdigit()), default=-1)
    return main, tuple(search / str(index) for index in range(last + 1))


def _check_name(name: str) -> None:
    parts = name.split("/")
    unsafe = "\\" in name or ":" in name or "\0" in name or bool({"", ".", ".."} & set(parts))
    if unsafe or not (name in _MAIN_NAMES or _LOOK_UP_NAME.fullmatch(name)):
        raise ColourError("bundle_unsafe", f"an uploaded OCIO config cannot hold a file named '{name}'")
