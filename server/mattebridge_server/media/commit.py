"""The atomic step from a temporary file to a result: a file under its final name is always whole.

The temporary lies in the folder of the result, so that the rename stays within one file system, and is flushed to the
disk before the rename; then the folder is flushed too. A process that dies in between leaves a temporary, never half a
result; `remove_stale_temporaries` clears those away.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mattebridge.errors import OutputFailed

from ..crashpoints import reach

TEMPORARY_PREFIX = ".mattebridge-"
TEMPORARY_SUFFIX = ".tmp"
_FILE, _FOLDER = 0o666, 0o777
_umask: int | None = None
_group: int | None = None

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file would be larger than allowed",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "the folder does not exist",
    errno.ENOTDIR: "the folder is a file",
    errno.EISDIR: "a folder is in the way",
}


def share_results(umask: int | None, group: int | None) -> None:
    """Give results, and folders made for them, this umask's mode and this group; None leaves it as for any file.

    Holds for the process, and for results alone: what libraries keep for themselves is not opened to a team.
    """
    global _umask, _group
    _umask, _group = umask, group


def share(path: Path, mode: int = _FILE) -> None:
    """Give one file or folder what `share_results` named. Raises `OSError`."""
    if sys.platform == "win32":
        return
    if _group is not None:
        os.chown(path, -1, _group)
    if _umask is not None:
        path.chmod(mode & ~_umask | path.stat().st_mode & stat.S_ISGID)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents where they are missing. Raises `OSError`."""
    for each in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        with suppress(FileExistsError):  # another process made it meanwhile, and it is that one's to share
            each.mkdir()
            share(each, _FOLDER)
    folder.mkdir(parents=True, exist_ok=True)


def commit(path: str, frame: int, write: Callable[[str], None]) -> None:
    """Have ``write(temporary)`` fill a new file and give it the name ``path``, replacing what was there.

    The file's mode and group are those of `share_results`, else as for any new file. ``write`` raises `OSError` or
    `OutputFailed`; whatever it raises, the temporary is removed and ``path`` is as it was. `OutputFailed` names
    file and frame.
    """
    target = Path(path)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        # Made here, exclusively: a link planted under that name is not followed.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE))
        try:
            reach("temporary-before", frame)
            write(str(temporary))
            share(temporary)
            _flush(temporary, os.O_RDWR)
            reach("rename-before", frame)
            os.replace(temporary, target)
            reach("rename-after", frame)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        with suppress(OSError):
            # Network file systems and Windows cannot flush a folder; the file itself is on the disk by now.
            _flush(target.parent, os.O_RDONLY)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = _REASONS.get(number or 0) or (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise output_failed(path, frame, reason, certain=number in _REASONS) from error


def output_failed(path: str, frame: int, reason: str, *, certain: bool = False) -> OutputFailed:
    """`OutputFailed` for ``path``, with what the disk has left: some writers do not say why they failed.

    ``certain``: the reason is the system's own, so that nothing is guessed from the space that is left.
    """
    details: dict[str, bool | int | float | str] = {}
    with suppress(OSError, ValueError, AttributeError):
        disk = os.statvfs(Path(path).parent)
        free = disk.f_bavail * disk.f_frsize
        details["free_bytes"] = free
        if free < 1 << 20 and not certain:
            reason = f"the disk is full ({reason})"
    return OutputFailed(f"frame {frame} could not be written: {reason}", file=path, frame=frame, details=details)


def remove_stale_temporaries(folder: str, older_than_s: float = 3600.0) -> int:
    """Remove what dead processes left in ``folder``; returns how many. Younger files may belong to a living one.

    Their age is by the disk's own clock: a share's may be hours from this host's, and other hosts write there now.
    """
    removed = 0
    with suppress(OSError):
        names = [entry for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY_PREFIX)]
        ours = [entry for entry in names if entry.name.endswith(TEMPORARY_SUFFIX)]
        limit = _disk_time(folder) - older_than_s if ours else 0.0
        for entry in ours:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < limit:
                    Path(entry.path).unlink()
                    removed += 1
    return removed


def _disk_time(folder: str) -> float:
    """The time that a file written now gets. Raises `OSError`."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY_PREFIX, suffix=TEMPORARY_SUFFIX) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
