"""A config that came by content: a set of files under logical names, laid out in a folder that OCIO can load.

The names are those of the client's file list: ``config.ocio`` or ``config.ocioz``, and ``search/<index>/<name>`` for
what the config found in its search path of that index. The loader replaces the config's search paths by those folders.
"""

from __future__ import annotations

from pathlib import Path

from .failure import ColourError

_MAIN_NAMES = ("config.ocio", "config.ocioz")


def search_folders(folder: Path) -> tuple[Path, tuple[Path, ...]]:
    """The config file of such a folder, and its search folders in order (absent ones included)."""
    main = next((folder / name for name in _MAIN_NAMES if (folder / name).is_file()), None)
    if main is None:
        raise ColourError("config_missing", "the folder holds no config.ocio or config.ocioz", file=str(folder))
    search = folder / "search"
    if main.suffix == ".ocioz" or not search.is_dir():
        return main, ()
    last = max((int(child.name) for child in search.iterdir() if child.name.isdigit()), default=-1)
    return main, tuple(search / str(index) for index in range(last + 1))
