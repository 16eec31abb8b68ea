"""Promise 8. Pixels move within byte credit: memory is bounded, a stalled reader slows nobody but itself."""

import hashlib
import time

import psutil
import pytest
from fault_bench import ran, until

from mattebridge import messages as m

MIB = 2**20


def upload(client, key, frames, data, part=4 * MIB):
    """Send one picture for each frame, within credit; returns what was stored."""
    left = client.credit[key]
    for frame in frames:
        for offset in range(0, len(data), part):
            blob = data[offset : offset + part]
            while left < len(blob):
                left += client.expect(m.Credit, lambda one: one.key == key).add_bytes
            left -= len(blob)
            client.credit[key] = left
            last = offset + len(blob) == len(data)
            sha = hashlib.sha256(data).hexdigest() if last else ""
            client.send(m.Put(key, "plate", frame, f"plate.{frame}.exr", offset, len(data), sha), blob)
    return [client.expect(m.Stored, lambda one, frame=frame: one.frame == frame) for frame in frames]


@pytest.fixture
def job(folder, steps):
    (steps / "go-all").touch()
    return {
        "plate": "C:\\shots\\plate.####.exr",
        "out": "D:\\mattes\\matte.####.exr",
        "delivery": "exr",
        "params": {"steps": str(steps), "big": 400},
    }


def submit(client, key, **fields):
    accepted = client.submit(key, **fields)
    assert accepted.state == "uploading"
    client.credit[key] = accepted.credit_bytes
    return accepted


def fetch(client, key, frames, grant=8 * MIB):
    """Take every result of a job; returns bytes by frame."""
    client.send(m.Credit(key, grant))
    got = {}
    while len(got) < len(frames) or got_partial(got):
        give = client.expect(m.Give, lambda one: one.key == key)
        blob = client.blobs[0]
        parts = got.setdefault(give.frame, [b"", 0])
        assert give.offset == len(parts[0])
        parts[0] += blob
        parts[1] = give.total_bytes
        client.send(m.Credit(key, len(blob)))
        if len(parts[0]) == give.total_bytes:
            assert give.sha256 == hashlib.sha256(parts[0]).hexdigest()
            client.send(m.Taken(key, give.role, give.frame))
    return {frame: parts[0] for frame, parts in got.items()}


def got_partial(got):
    return any(len(data) < total for data, total in got.values())


def test_pictures_go_up_and_results_come_back_and_the_spool_is_empty(broker, job, folder):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001-1003", **job)
    upload(client, "job", range(1001, 1004), bytes(range(256)) * 4096)
    spool = next((folder / "s").glob("*/spool"))
    names = sorted(path.name for path in (spool / "job" / "plate").iterdir())
    assert names == ["plate.1001.exr", "plate.1002.exr", "plate.1003.exr"]
    client.send(m.PutsDone("job"))
    got = fetch(client, "job", range(1001, 1004))
    assert isinstance(client.end_of("job"), m.Done)
    assert len(set(got.values())) == 3
    assert all(len(data) == 257 * 40 * 400 for data in got.values())
    until(lambda: not (spool / "job").exists())


def test_the_end_is_told_after_every_result_was_given(broker, job):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001-1002", **job)
    upload(client, "job", [1001, 1002], b"x" * 100)
    client.send(m.PutsDone("job"))
    until(lambda: client.state("job") == "done")
    assert not [message for message, _ in client.kept if isinstance(message, (m.Done, m.Give))]
    fetch(client, "job", [1001, 1002])
    assert isinstance(client.end_of("job"), m.Done)


def test_a_wrong_digest_a_gap_and_a_bad_name_are_refused_and_can_be_sent_anew(broker, job):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001", **job)
    for name, offset, sha in (
        ("a.exr", 0, "0" * 64),
        ("a.exr", 5, ""),
        ("../a.exr", 0, ""),
        ("sub/a.exr", 0, ""),
        ("a\\b.exr", 0, ""),
        ("a.exr.part", 0, ""),
    ):
        client.send(m.Put("job", "plate", 1001, name, offset, 10, sha), b"0123456789"[: 10 - offset])
        assert client.expect(m.Rejected).error.code in ("BAD_INPUT",), name
    upload(client, "job", [1001], b"0123456789")


def test_a_picture_larger_than_any_disk_is_refused_before_it_is_sent(broker, job):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001", **job)
    client.send(m.Put("job", "plate", 1001, "a.exr", 0, 2**40, ""), b"x")
    assert "over the limit" in client.expect(m.Rejected).error.message
    client.send(m.Put("job", "plate", 1001, "a.exr", 0, 5, ""), b"longer than said")
    assert "longer than the picture" in client.expect(m.Rejected).error.message


def test_bytes_without_credit_are_refused(broker, job):
    broker.start()
    client, thief = broker.client(), broker.client()
    submit(client, "job", frames="1001", **job)
    thief.send(m.Put("job", "plate", 1001, "a.exr", 0, 100, ""), b"x" * 100)
    assert "credit" in thief.expect(m.Rejected).error.message


def test_uploads_survive_a_server_that_is_killed(broker, job, steps):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001-1004", **job)
    upload(client, "job", [1001, 1002], b"whole" * 1000)
    client.send(m.Put("job", "plate", 1003, "plate.1003.exr", 0, 4000, ""), b"x" * 2000)
    client.expect(m.Credit, lambda one: one.add_bytes == 2000)
    broker.kill()
    broker.again()
    client = broker.client()
    accepted = client.ask(m.Resume, key="job")
    assert accepted.state == "uploading"
    assert accepted.stored == ("plate/1001", "plate/1002")
    client.credit["job"] = accepted.credit_bytes
    upload(client, "job", [1003, 1004], b"whole" * 1000)
    client.send(m.PutsDone("job"))
    assert len(fetch(client, "job", range(1001, 1005))) == 4


def test_an_engine_that_dies_makes_no_frame_again_that_was_taken(broker, job, steps):
    broker.start()
    client = broker.client()
    (steps / "go-all").unlink()
    job = {**job, "params": {**job["params"], "big": 1}}
    submit(client, "job", frames="1001-1003", **job)
    upload(client, "job", [1001, 1002, 1003], b"x")
    client.send(m.PutsDone("job"))
    for frame in (1001, 1002):
        (steps / f"go-{frame}").touch()
    assert sorted(fetch(client, "job", [1001, 1002])) == [1001, 1002]
    until(lambda: (steps / "at-1003").exists())
    broker.engine().kill()
    (steps / "go-all").touch()
    assert sorted(fetch(client, "job", [1003])) == [1003]
    assert isinstance(client.end_of("job"), m.Done)
    assert [frame for _, frame in ran(steps)] == [1001, 1002, 1003, 1003]


def test_results_survive_a_server_that_is_killed(broker, job):
    broker.start()
    client = broker.client()
    submit(client, "job", frames="1001-1002", **job)
    upload(client, "job", [1001, 1002], b"x")
    client.send(m.PutsDone("job"))
    until(lambda: client.state("job") == "done")
    broker.kill()
    broker.again()
    client = broker.client()
    client.ask(m.Resume, key="job")
    got = fetch(client, "job", [1001, 1002])
    assert sorted(got) == [1001, 1002]
    assert isinstance(client.end_of("job"), m.Done)


def test_a_stalled_reader_costs_the_server_no_memory_and_the_next_client_no_time(broker, job):
    broker.start()
    stalled, quick = broker.client(), broker.client()
    process = psutil.Process(broker.pid)
    submit(quick, "quick0", frames="1-8", **job)
    upload(quick, "quick0", range(1, 9), b"x")
    quick.send(m.PutsDone("quick0"))
    begin = time.perf_counter()
    fetch(quick, "quick0", range(1, 9))
    alone = time.perf_counter() - begin
    submit(stalled, "stalled", frames="1-40", **job)
    upload(stalled, "stalled", range(1, 41), b"x")
    stalled.send(m.PutsDone("stalled"))
    until(lambda: quick.state("stalled") == "done", timeout_s=40)
    before = process.memory_info().rss
    for _ in range(64):
        stalled.send(m.Credit("stalled", 2**36))
    submit(quick, "quick1", frames="1-8", **job)
    upload(quick, "quick1", range(1, 9), b"x")
    quick.send(m.PutsDone("quick1"))
    begin = time.perf_counter()
    fetch(quick, "quick1", range(1, 9))
    beside = time.perf_counter() - begin
    assert beside < alone / 0.9 + 0.25, (alone, beside)
    assert process.memory_info().rss - before < 300 * MIB
