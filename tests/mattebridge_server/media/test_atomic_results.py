"""A file under its final name is always whole; what cannot be written leaves nothing behind and says why."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mattebridge.errors import OutputFailed
from mattebridge_server.media import commit as commit_module
from mattebridge_server.media import read_mask, remove_stale_temporaries, write_alpha, write_planes
from mattebridge_server.media.commit import commit
from mattebridge_server.media.exr_check import is_complete

ALPHA = np.random.default_rng(0).random((270, 480), np.float32)


@pytest.fixture
def plate(plate_header):
    return plate_header(480, 270)


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def temporaries(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".mattebridge-")]


def run_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=60
    )


# Writes one alpha under a limit on the size of a file, as a full disk would; then once more without the limit.
FULL_DISK = """
import json, resource, signal, sys
import numpy as np
from mattebridge.errors import OutputFailed
from mattebridge_server.media import FrameHeader, Window, write_alpha, write_planes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
window = Window(0, 0, 480, 270)
like = FrameHeader("p.exr", 7, "openexr", window, window)
alpha = np.random.default_rng(0).random((270, 480), np.float32)
for limit in map(int, sys.argv[2:]):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    path = f"{sys.argv[1]}/alpha.{limit}.exr"
    try:
        write_alpha(path, alpha, like=like, frame=7)
        print(json.dumps([limit, "written", "", 7]))
    except OutputFailed as error:
        print(json.dumps([limit, error.code, error.file, error.frame]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
write_alpha(f"{sys.argv[1]}/after.exr", alpha, like=like, frame=8)
"""


def test_a_full_disk_is_an_error_at_whatever_byte_it_strikes(tmp_path, plate):
    whole = tmp_path / "whole.exr"
    write_alpha(str(whole), ALPHA, like=plate, frame=7)
    size = whole.stat().st_size
    near_the_end = [size - missing for missing in (20_000, 8193, 8192, 5000, 4097, 4096, 4000, 500, 100, 8, 1)]
    limits = [0, 1, 100, 300, 1000, 4096, size // 3, size // 2, *near_the_end, size, size + 1]
    child = run_child(FULL_DISK, str(tmp_path), *map(str, limits))
    assert child.returncode == 0, child.stderr
    reports = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(reports) == len(limits)
    for limit, outcome, file, frame in reports:
        path = tmp_path / f"alpha.{limit}.exr"
        if limit < size:
            assert (outcome, file, frame) == ("OUTPUT_FAILED", str(path), 7), limit
            assert not path.exists()
        else:
            assert outcome == "written", limit
            assert path.read_bytes() == whole.read_bytes()
    assert temporaries(tmp_path) == []
    assert read_mask(str(tmp_path / "after.exr"), frame=8, plate_header=plate).coverage.max() > 0.9


@pytest.mark.parametrize("compression", ["none", "zips", "zip", "piz", "dwaa", "dwab"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 270])
def test_a_complete_file_is_told_from_one_that_is_not(tmp_path, plate_header, compression, rows):
    like = plate_header(48, rows, (-5, -7, 48, rows), (0, 0, 40, 200))
    path = tmp_path / "a.exr"
    write_alpha(str(path), ALPHA[:rows, :48], like=like, frame=1, compression=compression, attributes={"key": "k" * 99})
    content = path.read_bytes()
    assert is_complete(str(path), -7, rows)
    # How many rows the only chunk of a file holds is not written in the file.
    assert rows < 270 or not is_complete(str(path), -7, rows + 256)
    assert not is_complete(str(path), -6, rows)
    for kept in (0, 5, 9, 100, 300, len(content) // 2, len(content) - 8, len(content) - 1):
        path.write_bytes(content[:kept])
        assert not is_complete(str(path), -7, rows)
    path.write_bytes(content + b"more")
    assert not is_complete(str(path), -7, rows)


def test_a_table_of_offsets_that_was_never_written_is_noticed(tmp_path, plate):
    path = tmp_path / "a.exr"
    write_alpha(str(path), ALPHA, like=plate, frame=1)
    content = path.read_bytes()
    table = content.index(b"screenWindowWidth")
    first = next(at for at in range(table, table + 80) if struct.unpack_from("<Q", content, at)[0] == at + 8 * 270)
    for entry in (0, 1, 135, 269):
        damaged = bytearray(content)
        struct.pack_into("<Q", damaged, first + 8 * entry, 0)
        path.write_bytes(damaged)
        assert not is_complete(str(path), 0, 270)


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "a.exr"
    path.write_bytes(b"the old result")

    def write_half(temporary: str) -> None:
        Path(temporary).write_bytes(b"half a res")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputFailed, match="frame 12 could not be written: the disk is full") as caught:
        commit(str(path), 12, write_half)
    assert (caught.value.file, caught.value.frame, caught.value.exit_status) == (str(path), 12, 3)
    assert "free_bytes" in caught.value.details
    assert path.read_bytes() == b"the old result"
    assert temporaries(tmp_path) == []


def test_nothing_is_left_by_an_interruption(tmp_path):
    def interrupted(temporary: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commit(str(tmp_path / "a.exr"), 1, interrupted)
    assert names(tmp_path) == []


def test_a_link_planted_under_the_name_of_the_temporary_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    monkeypatch.setattr(commit_module.secrets, "token_hex", lambda size: "known")
    (tmp_path / ".mattebridge-known.tmp").symlink_to(victim)
    with pytest.raises(OutputFailed):
        commit(str(tmp_path / "a.exr"), 1, lambda temporary: Path(temporary).write_bytes(b"ours") and None)
    assert victim.read_bytes() == b"theirs"
    assert not (tmp_path / "a.exr").exists()


def test_the_file_reaches_the_disk_before_its_name_does(tmp_path, monkeypatch):
    steps: list[str] = []
    flush, replace = os.fsync, os.replace

    def watched_flush(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        flush(handle)

    def watched_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(commit_module.os, "fsync", watched_flush)
    monkeypatch.setattr(commit_module.os, "replace", watched_replace)
    commit(str(tmp_path / "a.exr"), 1, lambda temporary: Path(temporary).write_bytes(b"abc") and None)
    assert steps == ["file of 3", "rename", "folder"]


def test_a_file_system_that_cannot_flush_a_folder_takes_results_all_the_same(tmp_path, monkeypatch):
    flush = os.fsync

    def files_alone(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(commit_module.os, "fsync", files_alone)
    commit(str(tmp_path / "a.exr"), 1, lambda temporary: Path(temporary).write_bytes(b"abc") and None)
    assert names(tmp_path) == ["a.exr"]


def test_a_full_disk_explains_what_a_writer_does_not_and_nothing_that_the_system_says(tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 10, 5, 5, 0, 255))
    monkeypatch.setattr(commit_module.os, "statvfs", lambda path: full)

    def refused(error: OSError) -> str:
        def write(temporary: str) -> None:
            raise error

        with pytest.raises(OutputFailed) as caught:
            commit(str(tmp_path / "a.exr"), 1, write)
        assert caught.value.details["free_bytes"] == 0
        return str(caught.value)

    assert "the disk is full (could not write)" in refused(OSError("could not write"))
    assert "the disk is full" not in refused(OSError(errno.EACCES, "Permission denied"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("no/such/folder/a.exr", "folder does not exist"), ("x" * 300 + ".exr", "name is too long"), ("a\0b.exr", "null")],
)
def test_a_path_that_cannot_be_is_explained(tmp_path, plate, name, words):
    path = str(tmp_path / name)
    with pytest.raises(OutputFailed, match=words) as caught:
        write_alpha(path, ALPHA, like=plate, frame=3)
    assert (caught.value.file, caught.value.frame) == (path, 3)
    assert names(tmp_path) == []


def test_a_folder_in_the_way_is_explained(tmp_path, plate):
    (tmp_path / "a.exr").mkdir()
    with pytest.raises(OutputFailed, match="a folder is in the way"):
        write_alpha(str(tmp_path / "a.exr"), ALPHA, like=plate, frame=3)
    assert temporaries(tmp_path) == []


def test_a_file_where_the_folder_should_be_is_explained(tmp_path, plate):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(OutputFailed, match="the folder is a file"):
        write_alpha(str(tmp_path / "out" / "a.exr"), ALPHA, like=plate, frame=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_explained(tmp_path, plate):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputFailed, match="no permission"):
        write_alpha(str(folder / "a.exr"), ALPHA, like=plate, frame=3)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_of_a_result_comes_from_the_umask(tmp_path, plate, mask, mode):
    before = os.umask(mask)
    try:
        write_alpha(str(tmp_path / "a.exr"), ALPHA, like=plate, frame=1)
        write_planes(str(tmp_path / "a.planes"), ALPHA, frame=1)
    finally:
        os.umask(before)
    for name in ("a.exr", "a.planes"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_a_writer_that_is_killed_leaves_no_partial_result(tmp_path, monkeypatch):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom mattebridge_server.media.commit import commit\n"
        "def write(temporary):\n    Path(temporary).write_bytes(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "commit(sys.argv[1], 1, write)\n"
    )
    child = run_child(code, str(tmp_path / "a.exr"))
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.exr").exists()
    (left,) = temporaries(tmp_path)
    assert remove_stale_temporaries(str(tmp_path)) == 0
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + 7200)
    assert remove_stale_temporaries(str(tmp_path)) == 0, "this host's clock is not the disk's"
    monkeypatch.undo()
    old = time.time() - 7200
    os.utime(tmp_path / left, (old, old))
    (tmp_path / "b.exr").write_bytes(b"a result")
    os.utime(tmp_path / "b.exr", (old, old))
    assert remove_stale_temporaries(str(tmp_path)) == 1
    assert names(tmp_path) == ["b.exr"]
    assert remove_stale_temporaries(str(tmp_path / "no such folder")) == 0
