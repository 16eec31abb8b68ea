"""What the broker knows of jobs: events numbered once, results told once, ended jobs forgotten in the end."""

from pathlib import Path

import pytest

from mattebridge import messages as m
from mattebridge_server.broker.auth import AllowList
from mattebridge_server.broker.config import Config
from mattebridge_server.broker.effects import Forget, Offer, Outbox, Peer, Send, SendLast
from mattebridge_server.broker.jobs import JobBook
from mattebridge_server.broker.journal import ResultRow
from mattebridge_server.broker.recovery import prune

ANN = Peer("ipc", b"ann")


@pytest.fixture
def out():
    return Outbox()


@pytest.fixture
def book(out):
    return JobBook(out, lambda: 1000.0)


def add(book, key="job", **fields):
    return book.add(key, m.JobRequest("/p.####.exr", **fields), b"", "client", "owner", ("ann", "host"))


def sent(out):
    _, effects = out.take()
    return [effect.message for effect in effects if isinstance(effect, (Send, SendLast))]


def test_events_are_numbered_from_one_and_go_to_all_who_watch(book, out):
    record = add(book)
    book.watch(record, ANN)
    book.watch(record, Peer("ipc", b"bob"))
    book.queued(record, 3, "")
    book.frame(record, 1001, "/o", "d", False)
    book.end(record, "done")
    assert [message.seq for message in sent(out)] == [1, 1, 2, 2, 3, 3]


def test_a_frame_is_told_once_however_often_the_engine_runs(book, out):
    record = add(book)
    for kept in (False, True):
        for frame in (1001, 1002):
            book.frame(record, frame, "/o", "d", kept)
    book.end(record, "done")
    assert (record.frames_done, record.last) == (2, 3)


def test_a_second_end_is_a_defect(book):
    record = add(book)
    book.end(record, "cancelled")
    with pytest.raises(ValueError, match="ended already"):
        book.end(record, "done")


def test_a_result_is_offered_once_and_not_again_after_it_was_taken(book, out):
    record = add(book, delivery="exr")
    book.watch(record, ANN)
    row = ResultRow("job", "alpha", 1001, "a.exr")
    for _ in range(2):
        book.result(record, row)
    assert book.taken(record, "alpha", 1001) == row
    assert book.taken(record, "alpha", 1001) is None
    book.result(record, row)
    assert sum(isinstance(effect, Offer) for effect in out.take()[1]) == 1


def test_the_end_of_a_streamed_job_waits_for_its_results_and_its_spool_for_their_taking(book, out):
    record = add(book, delivery="exr")
    book.watch(record, ANN)
    book.result(record, ResultRow("job", "alpha", 1001, "a.exr"))
    book.end(record, "done")
    effects = out.take()[1]
    assert isinstance(effects[-1], SendLast)
    assert not any(isinstance(effect, Forget) for effect in effects)


def test_progress_is_told_ten_times_a_second_at_most(book, out):
    record = add(book)
    book.watch(record, ANN)
    for step in range(1000):
        book.progress(step / 1000, record, stage="step")
    assert len(sent(out)) <= 10


def make_config(folder, **fields):
    return Config(
        state_dir=Path(folder),
        local="",
        keys=None,
        allowed=AllowList(""),
        boot_id="",
        version="",
        pid=1,
        engine_command=(),
        helper_command=(),
        log_file=Path(folder),
        **fields,
    )


def test_ended_jobs_are_forgotten_beyond_the_newest_and_the_old(book, out, tmp_path):
    config = make_config(tmp_path, keep_jobs=3, keep_s=500.0)
    for index in range(5):
        record = add(book, f"ended{index}", delivery="exr" if index == 0 else "files")
        book.end(record, "done")
    add(book, "lives")
    out.take()
    prune(config, book, 1000.0)
    assert sorted(book.records) == ["ended2", "ended3", "ended4", "lives"]
    assert [effect for effect in out.take()[1] if isinstance(effect, Forget)] == [Forget("ended0")]
    prune(config, book, 2000.0)
    assert sorted(book.records) == ["lives"]


def test_a_clock_that_is_set_back_makes_no_job_that_ended_now_the_oldest(out, tmp_path):
    times = iter([5000.0, 1400.0] * 10)
    book = JobBook(out, lambda: next(times))
    for key in ("b", "a", "c"):
        book.set_state(add(book, key), "done")
    prune(make_config(tmp_path, keep_jobs=1), book, 1500.0)
    assert set(book.records) == {"c"}


def test_the_job_that_ended_last_is_forgotten_last_however_early_it_came(out, tmp_path):
    clock = iter(range(1000))
    book = JobBook(out, lambda: float(next(clock)))
    night = add(book, "night")
    for index in range(3):
        book.end(add(book, f"day{index}"), "done")
    book.end(night, "done")
    prune(make_config(tmp_path, keep_jobs=2), book, 0.0)
    assert sorted(book.records) == ["day2", "night"]
