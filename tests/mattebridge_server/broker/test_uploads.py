"""The spool keeps whole pictures only, knows them again after a restart, and leaves the disk its last room."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from mattebridge.errors import InputError, OutputFailed
from mattebridge.messages import Put
from mattebridge_server.broker import uploads
from mattebridge_server.broker.uploads import MOST_NAME_BYTES, Spool, name_problem

DATA = bytes(range(100))
SIZE = len(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", spare_bytes=0)


def put(offset=0, total=SIZE, sha256="", name="a.exr", key="job"):
    return Put(key, "plate", 1001, name, offset, total, sha256)


def names(spool, key="job"):
    folder = spool.folder / key / "plate"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_picture_has_its_name_when_it_is_whole_and_not_before(spool):
    assert not spool.store(put(), DATA[:60])
    assert names(spool) == ["a.exr.part"] and spool.stored("job") == {}
    assert spool.store(put(60, sha256=DIGEST.upper()), DATA[60:])
    assert names(spool) == ["a.exr"] and spool.stored("job") == {"plate/1001": "a.exr"}
    assert (spool.folder / "job/plate/a.exr").read_bytes() == DATA
    assert stat.S_IMODE((spool.folder / "job/plate").stat().st_mode) == 0o700


def test_a_picture_is_on_the_disk_before_it_has_its_name(spool, monkeypatch):
    steps, flush = [], os.fsync

    def watched(handle):
        steps.append((os.fstat(handle).st_size, names(spool)))
        flush(handle)

    monkeypatch.setattr(uploads.os, "fsync", watched)
    spool.store(put(), DATA)
    assert steps == [(SIZE, ["a.exr.part"])]


@pytest.mark.parametrize(
    ("part", "blob"),
    [
        (put(59), DATA[59:]),
        (put(61), DATA[61:]),
        (put(60, total=99), DATA[60:99]),
        (put(60, sha256="0" * 64), DATA[60:]),
    ],
    ids=["sent twice", "a gap", "another size", "another digest"],
)
def test_after_a_part_that_does_not_fit_the_picture_begins_anew(spool, part, blob):
    spool.store(put(), DATA[:60])
    with pytest.raises(InputError):
        spool.store(part, blob)
    assert names(spool) == []
    with pytest.raises(InputError, match="a part is missing"):
        spool.store(put(60), DATA[60:])
    assert spool.store(put(sha256=DIGEST), DATA)


def test_a_picture_that_begins_anew_keeps_nothing_of_the_first_time(spool):
    spool.store(put(), b"x" * 60)
    spool.store(put(), DATA[:30])
    assert spool.store(put(30, sha256=DIGEST), DATA[30:])
    assert (spool.folder / "job/plate/a.exr").read_bytes() == DATA


def test_what_was_stored_is_known_after_a_restart_that_cut_the_index(spool):
    for name in ("a.exr", "b.exr"):
        spool.store(Put("job", "plate", 1001 + (name > "a.exr"), name, 0, 1), b"x")
    with (spool.folder / "job/stored.jsonl").open("a") as index:
        index.write('["plate/10')
    (spool.folder / "job/plate/b.exr").unlink()
    assert Spool(spool.folder).stored("job") == {"plate/1001": "a.exr"}
    with pytest.raises(InputError, match="a part is missing"):
        Spool(spool.folder).store(put(60), DATA[60:])


def test_a_picture_that_would_take_the_disks_last_room_is_refused(spool, monkeypatch):
    spool.spare_bytes = 50
    free = [SIZE + 49]
    real = uploads.shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: real(path)._replace(free=free[0]))
    with pytest.raises(OutputFailed, match="too little for this picture") as refused:
        spool.store(put(), DATA)
    assert refused.value.frame == 1001 and names(spool) == []
    free[0] += 1
    assert spool.store(put(), DATA)


def test_a_forgotten_job_has_neither_files_nor_halves(spool):
    spool.store(put(), DATA[:60])
    spool.store(put(key="other"), DATA[:60])
    spool.forget("job")
    assert not (spool.folder / "job").exists()
    with pytest.raises(InputError, match="a part is missing"):
        spool.store(put(60), DATA[60:])
    assert spool.store(put(60, sha256=DIGEST, key="other"), DATA[60:])


def test_a_start_keeps_the_jobs_that_are_known_and_what_the_engine_compiled(spool):
    for key in ("known", "unknown"):
        spool.store(put(key=key), DATA)
    (spool.folder / ".scratch").mkdir()
    spool.keep_only({"known"})
    assert sorted(path.name for path in spool.folder.iterdir()) == [".scratch", "known"]
    Spool(Path(spool.folder, "none")).keep_only(set())


def test_a_pictures_name_leaves_room_for_what_is_added_to_it():
    name = "a" * (MOST_NAME_BYTES - 4) + ".exr"
    assert not name_problem("plate", name)
    for bad in ("a" + name, "\u00e9" * 200 + ".exr", "a.part"):
        assert name_problem("plate", bad)
    assert not name_problem("config", "luts/a.cube")
    for bad in ("luts/a.part/b", "/".join(["luts"] * 49) + "/a.cube"):
        assert name_problem("config", bad)


def test_a_result_is_looked_for_in_its_jobs_folder_alone_and_dropped_once(spool):
    spool.store(put(), DATA)
    for name in ("../plate/a.exr", "/etc/passwd", "a\\b", "sub/a.exr", "a\n.exr"):
        with pytest.raises(InputError, match="not a plain file name"):
            spool.result("job", "plate", name)
    for _ in range(2):
        spool.drop_result("job", "plate", "a.exr")
    assert names(spool) == []
