"""Promise 13. A file under its final name is whole; a full disk is a typed error, and the server lives on."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fault_bench import until
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
