"""Promise 12. Killed anywhere, the server comes back with every job; no file is partial, no frame is made twice.

The sweep kills the broker or the engine at each named point, at the first, a window's last and the job's last frame.
`sweep.py` sweeps every frame, every write and every message.
"""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from controllable_engine import content
from fault_bench import Broker, ran, request, until
from real_shot import HEIGHT, WIDTH, make_shot, read_alpha, start_real, write_exr

from mattebridge import messages as m

FRAMES = range(1001, 1025)
ENGINE_POINTS = ("window-before", "window-after", "temporary-before", "rename-before", "rename-after")
SWEEP = [
    *[(point, f"@{frame}") for point in ENGINE_POINTS[2:] for frame in (1001, 1004, 1024)],
    *[(point, f"@{frame}") for point in ENGINE_POINTS[:2] for frame in (1001, 1005, 1021)],
    *[(point, f":{count}") for point in ("journal-before-commit", "journal-after-commit") for count in (2, 5, 12)],
    *[("event-before-send", where) for where in ("@1001", "@1004", "@1024", ":2", ":20")],
    *[("event-after-send", where) for where in ("@1001", "@1004", "@1024")],
]


def submit(client, folder, steps):
    return client.submit("job", frames="1001-1024", out=f"{folder}/o/m.####.exr", params={"steps": str(steps)})


@pytest.mark.parametrize(("point", "where"), SWEEP, ids=lambda value: value)
def test_after_a_crash_at_a_named_point_every_frame_is_there_once(broker, steps, folder, point, where):
    (steps / "go-all").touch()
    engine_dies = point in ENGINE_POINTS
    broker.start(environment={"MATTEBRIDGE_CRASH_AT": point + where}, policy={"attempts": 1000})
    client = broker.client()
    client.send(m.Submit(900, "job", request_of(folder, steps), client.boot_id))
    if engine_dies:
        # The engine inherits the variable and dies there each time it starts: let it once, then start without it.
        until(lambda: broker.restarts(client) >= 1)
        broker.kill()
    else:
        until(lambda: broker.process.poll() is not None)
        broker.process.communicate()
    stamps = {path.name: path.stat().st_mtime_ns for path in sorted((folder / "o").glob("m.*"))}
    finished = {int(name.split(".")[1]) for name in stamps}
    computed = len(ran(steps))
    check_files(folder)
    broker.again()
    client = broker.client()
    answer = client.ask(m.Resume, key="job")
    if isinstance(answer, m.Rejected):
        assert answer.error.details["job_unknown"]
        submit(client, folder, steps)
    done = client.end_of("job")
    assert isinstance(done, m.Done)
    assert done.written + done.kept == len(FRAMES)
    check_files(folder)
    assert len(list((folder / "o").glob("m.*"))) == len(FRAMES)
    again = {frame for _, frame in ran(steps)[computed:]}
    assert not again & finished, "a finished frame was made again"
    assert all((folder / "o" / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())
    events = [*client.events(), done]
    assert [one.seq for one in events] == list(range(1, done.seq + 1))
    assert sorted(one.frame for one in events if isinstance(one, m.FrameDone)) == list(FRAMES)
    assert sum(isinstance(one, m.TERMINAL) for one in events) == 1


def request_of(folder, steps):
    return request(frames="1001-1024", out=f"{folder}/o/m.####.exr", params={"steps": str(steps)})


def check_files(folder):
    """Nothing under a final name is partial, and the bits are those of an undisturbed run."""
    for path in (folder / "o").glob("m.*"):
        assert path.read_bytes() == content(int(path.name.split(".")[1])), path.name


def test_the_client_is_told_that_the_server_was_restarted(broker, steps, folder):
    broker.start()
    client = broker.client()
    submit(client, folder, steps)
    (steps / "go-1001").touch()
    told = client.expect(m.FrameDone)  # what was not told when the server died need not be in its journal
    broker.kill()
    (steps / "go-all").touch()
    broker.again()
    client.send(m.Ping(1))
    client.expect(m.NeedHello)
    client.hello()
    client.ask(m.Resume, key="job", after=told.seq)
    assert isinstance(client.end_of("job"), m.Done)
    assert [one.code for one in client.events() if isinstance(one, m.Warning_)] == ["SERVER_RESTARTED"]


@pytest.mark.parametrize("set_back_s", [0, 7200])
def test_a_queue_survives_in_its_order_though_the_clock_was_set_back(broker, steps, folder, set_back_s):
    broker.start()
    client = broker.client()
    keys = [f"job{index}" for index in range(6)]
    for key in keys:
        client.submit(key, frames="1", out=f"{folder}/{key}/####", params={"steps": str(steps)})
    until(lambda: (steps / "at-1").exists())
    broker.kill()
    (steps / "ran").unlink()
    (steps / "go-all").touch()
    with contextlib.closing(sqlite3.connect(next((folder / "s").glob("*/journal.sqlite3")))) as journal, journal:
        journal.execute("UPDATE jobs SET submitted_at = submitted_at - ? WHERE key > 'job2'", (set_back_s,))
    broker.again()
    client = broker.client()
    client.ask(m.Resume, key=keys[-1])
    client.end_of(keys[-1])
    assert [key for key, _ in ran(steps)] == keys


def test_a_job_that_takes_the_server_down_again_and_again_is_given_up(broker, steps, folder):
    broker.start(config={"most_losses": 3})
    client = broker.client()
    submit(client, folder, steps)
    for _ in range(2):
        until(lambda: broker.client().state("job") == "running")
        broker.kill()
        broker.again()
    until(lambda: broker.client().state("job") == "running")
    broker.kill()
    broker.again()
    client = broker.client()
    client.ask(m.Resume, key="job")
    failed = client.end_of("job")
    assert failed.error.code == "ENGINE_FAILED"
    assert "went down 3 times" in failed.error.message


REAL_SWEEP = [
    ("read-before", "@1001"),
    ("read-after", "@1012"),
    ("window-before", "@1012"),
    ("window-after", "@1024"),
    ("temporary-before", "@1012"),
    ("rename-before", "@1001"),
    ("rename-after", "@1024"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("point", "where"), REAL_SWEEP, ids=lambda value: value)
def test_the_real_engine_dies_at_a_named_point_and_the_bits_are_those_of_an_undisturbed_run(
    broker, folder, undisturbed, point, where
):
    job = {**undisturbed["job"], "out": f"{folder}/out/m.####.exr"}
    client = start_real(broker, policy={"attempts": 1}, environment={"MATTEBRIDGE_CRASH_AT": point + where})
    client.submit("job", **job)
    failed_or_done = client.end_of("job", 60)
    assert client.status().engines[0].restarts >= 1, "the point was not reached"
    out = folder / "out"
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("m.*")}
    for name in before:
        assert (out / name).read_bytes() == undisturbed["bytes"][name]
    broker.kill()
    broker.again()
    client = broker.client()
    client.submit("again", **job)
    done = client.end_of("again", 60)
    assert isinstance(done, m.Done), (done, failed_or_done)
    assert (done.kept, done.written) == (len(before), len(FRAMES) - len(before))
    assert {path.name: path.read_bytes() for path in out.glob("m.*")} == undisturbed["bytes"]
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())


CLIENT = """
import json, sys
from mattebridge import Client
from mattebridge.errors import MatteBridgeError
fields = json.loads(sys.argv[1])
with Client.connect("auto") as client:
    job = client.matte(key="job", **fields)
    print("accepted", flush=True)
    for event in job.events():
        print(type(event).__name__, getattr(event, "frame", ""), flush=True)
"""


def client_process(broker, fields):
    """The program's own client in a process of its own, which tells every event."""
    command = [sys.executable, "-c", CLIENT, json.dumps(fields)]
    return subprocess.Popen(command, env=broker.environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("at", ["accepted", "FrameDone 1001", "FrameDone 1004", "FrameDone 1024"])
def test_a_client_that_is_killed_leaves_whole_files_and_the_next_one_gets_the_rest(broker, steps, folder, at):
    """Pictures travel through the socket, so that the client is the one who writes the results."""
    (steps / "go-all").touch()
    broker.start()
    for frame in FRAMES:
        (folder / f"plate.{frame}.exr").write_bytes(b"plate" * 1000)
    fields = {
        "plate": f"{folder}/plate.####.exr",
        "out": f"{folder}/o/m.####.exr",
        "frames": "1001-1024",
        "delivery": "exr",
        "priority": "batch",
        "model": "edge",
        "params": {"steps": str(steps), "step_s": 0.01},
    }
    first = client_process(broker, fields)
    while first.stdout.readline().strip() != at:
        assert first.poll() is None, "the client ended before it was killed"
    first.kill()
    first.communicate()
    check_files(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "o").glob("m.*")}
    second = client_process(broker, fields)
    told = second.communicate(timeout=60)[0].splitlines()
    assert told[-1].strip() == "Done"
    assert sum(line.split()[0] in ("Done", "Failed", "CancelledEvent") for line in told) == 1
    check_files(folder)
    assert len(list((folder / "o").glob("m.*"))) == len(FRAMES)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items()), "a whole file was written again"
    assert sorted(frame for _, frame in ran(steps)) == list(FRAMES), "a frame was made twice"


@pytest.mark.slow
def test_a_disk_that_fills_at_any_frame_loses_nothing_and_the_next_run_makes_the_rest(broker, folder, undisturbed):
    """The engine may write no file larger than an ordinary result; one frame's is larger."""
    client = start_real(broker)
    engine = broker.children("mattebridge_server.engine")[0]
    free = engine.rlimit(psutil.RLIMIT_FSIZE)
    limit = max(len(data) for data in undisturbed["bytes"].values()) + 100
    for frame in (1001, 1012, 1024):
        shot, out = folder / f"shot{frame}", folder / f"out{frame}"
        job = {**make_shot(shot, FRAMES), "out": f"{out}/m.####.exr"}
        noise = np.random.default_rng(2).random((HEIGHT, WIDTH, 1), dtype=np.float32)
        write_exr(shot / f"mask.{frame}.exr", noise, ("A",))
        engine.rlimit(psutil.RLIMIT_FSIZE, (limit, free[1]))
        client.submit(f"full{frame}", **job)
        failed = client.end_of(f"full{frame}").error
        assert (failed.code, failed.frame) == ("OUTPUT_FAILED", frame)
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        assert all(re.fullmatch(r"m\.\d+\.exr", name) for name in before), "a temporary file was left"
        engine.rlimit(psutil.RLIMIT_FSIZE, free)
        client.submit(f"again{frame}", **job)
        done = client.end_of(f"again{frame}")
        assert (done.kept, done.written) == (len(before), len(FRAMES) - len(before))
        assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
        for number in FRAMES:  # `identity` gives the mask
            assert np.array_equal(read_alpha(out / f"m.{number}.exr"), read_alpha(shot / f"mask.{number}.exr"))
    assert client.status().engines[0].restarts == 0


@pytest.fixture(scope="module")
def undisturbed():
    """A shot and the bytes of its results."""
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    broker = Broker(folder)
    try:
        job = make_shot(folder / "shot", FRAMES)
        client = start_real(broker)
        client.submit("job", **{**job, "out": f"{folder}/out/m.####.exr"})
        assert isinstance(client.end_of("job", 60), m.Done)
        yield {"job": job, "bytes": {path.name: path.read_bytes() for path in (folder / "out").glob("m.*")}}
    finally:
        broker.close()
        shutil.rmtree(folder)


def test_a_job_that_ran_before_the_crash_is_not_told_that_it_waited_too_long(broker, steps):
    broker.start()
    client = broker.client()
    client.models_up()
    client.submit("job", frames="1001-1002", queue_timeout_s=5.0, params={"steps": str(steps)})
    started = client.expect(m.Started)
    until(lambda: time.time() - started.at > 5.0)
    broker.kill()
    (steps / "go-all").touch()
    client = broker.again().client()
    client.ask(m.Resume, key="job", after=0)
    assert isinstance(client.end_of("job"), m.Done)


def test_a_job_whose_paths_mean_nothing_any_more_fails_and_holds_up_nobody(broker, steps, folder):
    site = folder / "site.toml"
    site.write_text('[[path_map]]\nlinux = "/mnt/p"\nwindows = ["P:/"]\n')
    broker.start(site=str(site))
    client = broker.client()
    client.submit("job", plate="P:\\a\\p.####.exr", params={"steps": str(steps)})
    client.expect(m.Started)
    broker.kill()
    site.write_text("")
    (steps / "go-all").touch()
    client = broker.again().client()
    client.ask(m.Resume, key="job", after=0)
    assert client.end_of("job").error.code == "PATH_REFUSED"
    client.submit("next", params={"steps": str(steps)})
    assert isinstance(client.end_of("next"), m.Done)


def test_a_key_that_was_forgotten_at_a_start_can_be_used_again(broker, steps):
    (steps / "go-all").touch()
    broker.start(config={"keep_jobs": 2})
    client = broker.client()
    for key in ("a", "b", "c", "d"):
        client.submit(key, params={"steps": str(steps)})
        client.end_of(key)
    assert broker.stop() == 0
    client = broker.again().client()
    assert not client.submit("a", params={"steps": str(steps)}).existing
    assert isinstance(client.end_of("a"), m.Done)


def test_a_damaged_journal_is_named_and_nobody_is_told_of_a_server(broker, steps, folder):
    (steps / "go-all").touch()
    broker.start()
    client = broker.client()
    for number in range(40):
        client.submit(f"job-{number}", params={"steps": str(steps)})
        client.end_of(f"job-{number}")
    assert broker.stop() == 0
    (path,) = (folder / "s").glob("*/journal.sqlite3")
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    out, text = broker.start(wait=False).process.communicate(timeout=40)
    assert broker.process.returncode == 4
    assert "the journal is damaged" in text and str(path) in text and "Traceback" not in text
    assert "listens on" not in out
