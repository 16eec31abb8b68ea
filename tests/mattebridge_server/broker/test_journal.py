"""The journal gives back what it was given, all of a batch or none, and stays off network disks."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattebridge.errors import EngineFailed, OutputFailed, Refused
from mattebridge_server.broker import journal as j


@pytest.fixture
def journal(tmp_path):
    opened = j.Journal(tmp_path)
    yield opened
    opened.close()


def job(key, number, state="queued"):
    return j.add_job(j.JobRow(key, number, b"body", b"plan", "ann/host/1", "ann", "host", state, 100.0 + number))


def event(key, seq):
    return j.add_event(j.EventRow(key, seq, b"FRAME", f"{seq}".encode(), b"blob" if seq == 3 else None))


def test_a_commit_waits_for_the_disk(journal):
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_was_committed_is_there_after_opening_again(tmp_path):
    first = j.Journal(tmp_path)
    first.commit([job("a", 1), *event("a", 1), *event("a", 2), j.set_state("a", "running"), j.set_frames("a", 24, 2)])
    first.close()
    again = j.Journal(tmp_path)
    (row,) = again.unfinished()
    assert (row.state, row.last, row.frames_total, row.frames_done, row.plan) == ("running", 2, 24, 2, b"plan")
    assert [one.seq for one in again.events("a")] == [1, 2]
    again.close()


def test_a_batch_is_all_or_nothing(journal):
    with pytest.raises(sqlite3.IntegrityError):
        journal.commit([job("a", 1), *event("a", 1), *event("a", 1)])
    assert "a" not in {row.key for row in journal.unfinished()}
    journal.commit([job("a", 1)])
    assert "a" in {row.key for row in journal.unfinished()}


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 30), after=st.integers(0, 35), upto=st.integers(0, 35))
def test_the_tail_after_a_number_is_exactly_the_tail(tmp_path_factory, count, after, upto):
    opened = j.Journal(tmp_path_factory.mktemp("journal"))
    opened.commit([job("a", 1)] + [change for seq in range(1, count + 1) for change in event("a", seq)])
    wanted = [seq for seq in range(1, count + 1) if after < seq <= upto]
    assert [row.seq for row in opened.events("a", after, upto)] == wanted
    assert [row.blob for row in opened.events("a", 2, 3)] == ([b"blob"] if count >= 3 else [])
    opened.close()


def test_unfinished_jobs_come_in_order_and_ended_ones_newest_first(journal):
    journal.commit([job("b", 2), job("a", 1), job("c", 3), job("d", 4)])
    journal.commit([j.set_state("c", "done", 10.0), j.set_state("d", "failed", 20.0)])
    assert [row.key for row in journal.unfinished()] == ["a", "b"]
    assert [row.key for row in journal.finished()] == ["d", "c"]


def test_results_wait_until_they_are_taken_and_go_with_their_job(journal):
    rows = [j.ResultRow("a", "alpha", frame, f"{frame}.exr") for frame in (1, 2)]
    journal.commit([job("a", 1), *map(j.add_result, rows), j.add_result(rows[0])])
    assert journal.results() == rows
    journal.commit([j.drop_result("a", "alpha", 1)])
    assert journal.results() == rows[1:]
    journal.commit(j.forget_job("a"))
    assert journal.results() == []
    assert "a" not in {row.key for row in journal.unfinished()}


def test_a_commit_survives_sigkill_right_after_it_and_nothing_half_survives_right_before(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from mattebridge_server.broker import journal as j
        opened = j.Journal(Path(sys.argv[1]))
        for n in range(100):
            opened.commit([j.add_job(j.JobRow(str(n), n, b"", b"", "", "", "", "queued", 0.0)),
                           *j.add_event(j.EventRow(str(n), 1, b"QUEUED", b""))])
        """
    )
    for point, jobs in (("journal-after-commit:7", 7), ("journal-before-commit:7", 6)):
        folder = tmp_path / point.partition(":")[0]
        folder.mkdir()
        environment = {**os.environ, "MATTEBRIDGE_CRASH_AT": point}
        ended = subprocess.run([sys.executable, "-c", script, str(folder)], env=environment)
        assert ended.returncode == -signal.SIGKILL
        opened = j.Journal(folder)
        assert [row.key for row in opened.unfinished()] == [str(n) for n in range(jobs)]
        assert [len(list(opened.events(str(n)))) for n in range(jobs)] == [1] * jobs
        opened.close()


def test_another_schema_is_refused(tmp_path):
    opened = j.Journal(tmp_path)
    opened.commit([j.Change("UPDATE meta SET value='99' WHERE name='schema'", ())])
    opened.close()
    with pytest.raises(Refused, match="schema 99"):
        j.Journal(tmp_path)


def test_a_file_that_is_no_journal_is_a_typed_error(tmp_path):
    (tmp_path / "journal.sqlite3").write_bytes(b"this is not a database, whatever it is" * 100)
    with pytest.raises(EngineFailed, match="not a database"):
        j.Journal(tmp_path)


def test_a_file_that_cannot_be_opened_is_named_with_the_way_out_and_keeps_nobody_out(tmp_path):
    path = tmp_path / "journal.sqlite3"
    path.mkdir()
    with pytest.raises(OutputFailed, match="cannot be written") as caught:
        j.Journal(tmp_path)
    assert caught.value.file == str(path) and "--state-dir" in caught.value.remedy
    path.rmdir()
    j.Journal(tmp_path).close()


def test_what_a_full_disk_refused_may_be_committed_again(journal):
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    changes = [job("a", 1), *j.add_event(j.EventRow("a", 1, b"PLAN", b"", bytes(100_000)))]
    with pytest.raises(OutputFailed, match="full") as caught:
        journal.commit(changes)
    assert caught.value.file == str(journal.path)
    assert journal.unfinished() == []
    journal._db.execute("PRAGMA max_page_count=100000")
    journal.commit(changes)
    assert [row.last for row in journal.unfinished()] == [1]


def test_damage_that_shows_when_it_is_read_or_written_names_the_file(tmp_path):
    opened = j.Journal(tmp_path)
    opened.commit([job(str(number), number) for number in range(200)])
    opened.close()
    path = tmp_path / "journal.sqlite3"
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    opened = j.Journal(tmp_path)
    for use in (opened.unfinished, lambda: opened.commit([job("new", 1000)])):
        with pytest.raises(EngineFailed, match="damaged") as caught, opened.whole():
            use()
        assert caught.value.file == str(path)
    opened.close()


def test_a_journal_that_does_not_say_its_schema_is_refused(tmp_path):
    opened = j.Journal(tmp_path)
    opened.commit([j.Change("DELETE FROM meta", ())])
    opened.close()
    with pytest.raises(Refused, match="schema unknown"):
        j.Journal(tmp_path)


def test_one_server_at_a_time_keeps_a_journal(journal, tmp_path):
    with pytest.raises(Refused, match=f"another server keeps its journal here: process {os.getpid()}"):
        j.Journal(tmp_path)


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /home rw,relatime - nfs4 filer:/home rw,vers=4.2
31 30 0:31 / /home/ann/scratch rw - xfs /dev/sdb rw
32 22 0:32 / /mnt/with\\040space rw - cifs //filer/x rw
33 22 0:33 / /home2 rw - fuse.sshfs x: rw
34 22 0:34 / /auto rw - autofs auto.direct rw
35 34 0:35 / /auto rw - nfs filer:/auto rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ann/.local/state", "nfs4"),
        ("/home", "nfs4"),
        ("/home/ann/scratch/x", ""),
        ("/homestead", ""),
        ("/mnt/with space/a", "cifs"),
        ("/home2/a", "fuse.sshfs"),
        ("/auto/a", "nfs"),
        ("/var/tmp", ""),
    ],
)
def test_a_network_file_system_is_told_from_the_mount_table(folder, kind):
    from pathlib import Path

    assert j.network_file_system(Path(folder), MOUNTS) == kind


def test_a_journal_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(j, "network_file_system", lambda folder: "nfs4")
    with pytest.raises(Refused, match="nfs4") as caught:
        j.Journal(tmp_path)
    assert "--state-dir" in caught.value.remedy
