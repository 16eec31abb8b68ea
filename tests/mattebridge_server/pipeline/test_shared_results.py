"""A studio says once how result files are made, and so they are."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable

import pytest

from mattebridge.errors import InputError
from mattebridge_server.engine.local import run_local
from mattebridge_server.media import share_results

from .conftest import SmallShot

if sys.platform == "win32":
    pytest.skip("modes and groups are POSIX's", allow_module_level=True)

import grp


def test_results_and_their_folders_have_the_mode_and_the_group_that_the_site_names(
    shot_of: Callable[..., SmallShot],
) -> None:
    shot = shot_of(range(1, 3))
    allowed = [entry for entry in grp.getgrall() if os.geteuid() == 0 or entry.gr_gid in os.getgroups()]
    group = next((entry for entry in allowed if entry.gr_gid != os.getegid()), grp.getgrgid(os.getegid()))
    site = f'[output]\numask = "0027"\ngroup = "{group.gr_name}"'
    (shot.folder / "v001").mkdir()
    (shot.folder / "v001").chmod(0o2755)  # what is made in such a folder inherits the bit, and keeps it
    try:
        run_local(shot.request("v001/a/b/a.####.exr"), b"", shot.events.append, lambda: False, site=site)
    finally:
        share_results(None, None)
    for name, mode in (("v001/a", 0o2750), ("v001/a/b", 0o2750), ("v001/a/b/a.0001.exr", 0o640)):
        made = (shot.folder / name).stat()
        assert (name, stat.S_IMODE(made.st_mode), made.st_gid) == (name, mode, group.gr_gid)


def test_a_group_that_this_machine_does_not_have_is_refused_before_any_work(shot_of: Callable[..., SmallShot]) -> None:
    shot = shot_of(range(1, 3))
    with pytest.raises(InputError, match="no group 'no-such-group'"):
        run_local(shot.request(), b"", shot.events.append, lambda: False, site='[output]\ngroup = "no-such-group"')
    assert not (shot.folder / "out").exists()
