"""Lets the kernel hold a process to the allowed folders, whatever library opens a file and whatever a link points to.

Linux has Landlock for this (5.13 and later, no privileges needed): after `confine`, an open outside the named folders
fails with "permission denied", also when a symlink is swapped between a check and the open. It cannot be undone, and
threads and children that are started later have it too. Source: Linux, Documentation/userspace-api/landlock.rst.

Where the kernel has no Landlock, `paths.resolve` before each job is all there is; docs/reliability.md says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = 0b1_1111_1111 << 4
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

SYSTEM_FOLDERS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc", "/opt", "/proc", "/sys", "/run")
DEVICE_FOLDERS = ("/dev",)


def confine(readable: Iterable[str | Path], writable: Iterable[str | Path]) -> bool:
    """Keep this thread and all that it starts to these folders, the system's libraries and its devices.

    Folders that do not exist are left out. Returns False where the kernel cannot do it, and then changes nothing.
    """
    level = _abi()
    if level < 1:
        return False
    read = _EXECUTE | _READ_FILE | _READ_DIR
    write = read | _WRITE_FILE | _REMOVE_AND_MAKE | (_REFER if level >= 2 else 0) | (_TRUNCATE if level >= 3 else 0)
    call = _libc().syscall
    attributes = struct.pack("<Q", write)
    ruleset = call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        python = (sys.prefix, sys.base_prefix, *(entry for entry in sys.path if entry))
        for folder in (*SYSTEM_FOLDERS, *python, *readable):
            _allow(ruleset, folder, read)
        for folder in (*DEVICE_FOLDERS, *writable):
            _allow(ruleset, folder, write)
        if _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(call(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, folder: str | Path, rights: int) -> None:
    with contextlib.suppress(OSError):  # it does not exist, so there is nothing to allow
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            granted = rights if Path(folder).is_dir() else rights & _FILE_RIGHTS
            rule = struct.pack("<Qi", granted, descriptor)
            _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)


def _abi() -> int:
    """Landlock's version in the running kernel; 0 or less where there is none."""
    platform: str = sys.platform
    if platform != "linux":
        return 0
    return int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
