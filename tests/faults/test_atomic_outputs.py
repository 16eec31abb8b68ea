"""Promise 13. A file under its final name is whole; a full disk is a typed error, and the server lives on."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from fault_bench import free_port, request, until
from real_shot import HEIGHT, WIDTH, make_shot, read_alpha, start_real

from mattebridge import messages as m

FRAMES = range(1001, 1005)
LIMITED = [sys.executable, str(Path(__file__).parent / "limited_engine.py")]


def leftovers(folder):
    return [path.name for path in (folder / "out").iterdir() if not path.name.startswith("matte.")]


def test_a_full_disk_is_told_and_leaves_nothing_behind_and_the_rerun_finishes(broker, folder):
    job = make_shot(folder / "shot", FRAMES)
    client = start_real(broker, config={"engine_command": [*LIMITED, "700"]})
    client.submit("full", **job)
    failed = client.end_of("full")
    assert failed.error.code == "OUTPUT_FAILED"
    assert failed.error.frame in FRAMES
    assert str(folder / "shot" / "out") in failed.error.file
    assert list((folder / "shot" / "out").iterdir()) == []
    assert client.status().engines[0].restarts == 0, "the disk was full and the engine died of it"
    broker.stop()
    client = start_real(broker)
    client.submit("again", **job)
    assert isinstance(client.end_of("again"), m.Done)


def test_an_output_folder_that_is_a_file_is_told(broker, folder):
    job = make_shot(folder / "shot", FRAMES)
    (folder / "shot" / "out").write_text("in the way")
    client = start_real(broker)
    client.submit("job", **job)
    assert client.end_of("job").error.code == "OUTPUT_FAILED"
    (folder / "shot" / "out").unlink()
    client.submit("again", **job)
    assert isinstance(client.end_of("again"), m.Done)


def test_a_disk_that_is_really_full(broker, folder):
    job = make_shot(folder / "shot", FRAMES)
    out = folder / "shot" / "out"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(out)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        client = start_real(broker)
        client.submit("job", **job)
        failed = client.end_of("job")
        assert failed.error.code == "OUTPUT_FAILED"
        assert leftovers(folder / "shot") == []
        for path in out.glob("matte.*"):
            assert read_alpha(path).shape == (HEIGHT, WIDTH)
    finally:
        broker.close()
        subprocess.run(["umount", str(out)], check=True)


def test_a_reader_never_sees_a_partial_file(broker, folder):
    job = make_shot(folder / "shot", range(1001, 1033))
    out = folder / "shot" / "out"
    client = start_real(broker)
    seen, faults, stop = set(), [], threading.Event()

    def watch():
        while not stop.is_set():
            for path in out.glob("matte.*.exr") if out.is_dir() else ():
                try:
                    assert read_alpha(path).shape == (HEIGHT, WIDTH)
                    seen.add(path.name)
                except AssertionError as error:
                    faults.append((path.name, error))

    thread = threading.Thread(target=watch)
    thread.start()
    client.submit("job", **job)
    assert isinstance(client.end_of("job"), m.Done)
    until(lambda: len(seen) == 32)
    stop.set()
    thread.join()
    assert faults == []


@pytest.fixture
def journal_is_full(broker, folder):
    """A call that lets the journal of the running server grow no further (True) or again (False)."""
    broker.start(metrics_port=free_port())
    broker.client().models_up()
    process = psutil.Process(broker.pid)
    free = process.rlimit(psutil.RLIMIT_FSIZE)
    log = next(folder.glob("s/*/journal.sqlite3-wal"))

    def switch(full):
        process.rlimit(psutil.RLIMIT_FSIZE, (log.stat().st_size, free[1]) if full else free)

    return switch


def test_a_journal_that_cannot_be_written_holds_everything_back_and_loses_nothing(broker, folder, journal_is_full):
    client = broker.client()
    journal_is_full(True)
    client.send(m.Submit(1, "job", request(frames="1-3", out=f"{folder}/o/####"), client.boot_id))
    until(lambda: broker.page("/ready") == (503, "the journal cannot be written\n"))
    assert broker.page("/live")[0] == 200
    assert client.receive(0.0) is None, "something was told that is not on the disk"
    assert not (folder / "o").exists(), "the engine was given a job that is not on the disk"
    journal_is_full(False)
    assert isinstance(client.expect(m.Accepted), m.Accepted)
    assert isinstance(client.end_of("job"), m.Done)
    assert broker.page("/ready")[0] == 200
    broker.kill()
    broker.again()
    assert broker.client().state("job") == "done"


def test_a_server_that_is_stopped_while_its_journal_is_full_says_so(broker, folder, journal_is_full):
    client = broker.client()
    journal_is_full(True)
    client.send(m.Submit(1, "job", request(frames="1-3"), client.boot_id))
    until(lambda: broker.page("/ready")[0] == 503)
    broker.process.terminate()
    text = broker.process.communicate(timeout=20)[1]
    assert broker.process.returncode == 3
    assert "OUTPUT_FAILED" in text and "--state-dir" in text
    assert "journal cannot be written" in broker.log()
    broker.again()
    assert broker.client().status().jobs == ()


def test_a_result_that_the_servers_disk_refuses_is_not_laid_to_the_clients(broker, folder):
    job = {**make_shot(folder / "shot", FRAMES), "delivery": "exr"}
    client = start_real(broker, config={"engine_command": [*LIMITED, "700"]})
    client.submit("job", **job)
    for role, frame in [(role, frame) for frame in FRAMES for role in ("plate", "mask")]:
        picture = folder / "shot" / f"{role}.{frame}.exr"
        client.send(m.Put("job", role, frame, picture.name, 0, picture.stat().st_size, ""), picture.read_bytes())
    client.send(m.PutsDone("job"))
    failed = client.end_of("job").error
    assert failed.code == "OUTPUT_FAILED" and failed.message.startswith("on the server") and failed.frame in FRAMES
    assert "server's state folder" in failed.remedy and str(folder) not in failed.message + failed.file


def test_a_full_server_refuses_an_upload_in_words(broker, folder):
    broker.start()
    client = broker.client()
    free = shutil.disk_usage(folder).free
    if free > 5 * 2**30:
        size = 4 * 2**30
        spare = free - size // 2
        broker.stop()
        broker.start(config={"spare_bytes": spare})
        client = broker.client()
    client.submit("job", delivery="exr", out="m.####.exr")
    client.send(m.Put("job", "plate", 1001, "plate.1001.exr", 0, 4 * 2**30, ""), b"x" * 100)
    refused = client.expect(m.Rejected)
    assert refused.error.code == "OUTPUT_FAILED"
    assert "GiB left" in refused.error.message
