"""A worker session's server: found wherever the session's folder lies, met by nobody else, gone whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from farm_shot import BIN, FarmShot, wait_gone

from mattebridge import rendezvous
from mattebridge.client import Client
from mattebridge.errors import Cancelled, Refused, ServerError, UsageError
from mattebridge_server.broker.lock import Holder, broker_lock
from mattebridge_server.farm import session as sessions
from mattebridge_server.farm.session import FOLDER, Recipe, begin, end, ensure, session_settings

ShotOf = Callable[..., FarmShot]
DYING = """
import ctypes, os, sys, threading
from pathlib import Path
from mattebridge_server.broker.lock import FileLock, Holder
lock = FileLock(Path(sys.argv[1]))
lock.acquire(Holder(os.getpid()))
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""A process whose first thread has ended, as one that was killed is for a moment; its lock is held until stdin ends."""

FULL_DISK = """
import resource, sys
from mattebridge.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.exit(main(sys.argv[1:]))
"""
"""The command line where no file takes a byte."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "session"
    folder.mkdir()
    yield folder
    end(folder, 5.0)


def running_as_first_of_a_container() -> list[str]:
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    for wanted in (words, [*words, "--user", "--map-root-user"]):
        if subprocess.run([*wanted, "true"], capture_output=True, check=False).returncode == 0:
            return wanted
    pytest.skip("this machine lets nobody make a process namespace")


def test_a_session_deep_in_the_file_system_is_served_as_well(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 107, "longer than the path of a local socket may be"
    started = begin(folder, Recipe())
    with Client.connect(settings=session_settings(folder)) as client:
        assert client.status().boot_id == started.server.boot_id
    assert started.server.endpoint.startswith("tcp://127.0.0.1:") and started.server.server_key
    assert "stopped" in end(folder)


def test_two_sessions_on_one_host_do_not_meet(session: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first, second = begin(session, Recipe()).server, begin(other, Recipe()).server
    assert first.pid != second.pid and first.endpoint != second.endpoint
    assert "stopped" in end(other)
    assert ensure(session).server.boot_id == first.boot_id


def test_a_server_that_hangs_is_ended(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "ASK_S", 0.5)
    monkeypatch.setattr(sessions, "TERMINATE_S", 0.5)
    pid = begin(session, Recipe()).server.pid
    os.kill(pid, signal.SIGSTOP)
    assert "did not answer and was ended" in end(session)
    wait_gone([pid])
    assert not (session / FOLDER).exists()


def test_the_process_that_got_a_dead_servers_id_is_left_alone(session: Path) -> None:
    server = begin(session, Recipe()).server
    os.kill(server.pid, signal.SIGKILL)
    wait_gone([server.pid])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        file = rendezvous.path_of(session_settings(session).runtime_dir)
        file.write_text(json.dumps({**json.loads(file.read_text()), "pid": stranger.pid}))
        assert "gone already" in end(session)
        assert stranger.poll() is None
        stranger.communicate(b"\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there a thread outlives its process's first one")
def test_a_server_that_is_dying_is_awaited(session: Path) -> None:
    lock = broker_lock(session_settings(session).runtime_dir)
    with subprocess.Popen([sys.executable, "-c", DYING, lock.path], stdin=subprocess.PIPE, text=True) as dying:
        while rendezvous.process_alive(dying.pid):
            time.sleep(0.01)
        with pytest.raises(Refused):
            lock.acquire(Holder())
        assert dying.stdin is not None
        threading.Timer(0.3, dying.stdin.close).start()
        assert "gone already" in end(session)
        assert dying.stdin.closed, "until its last thread was gone"


def test_a_server_that_is_still_starting_ends_with_its_session(shot_of: ShotOf, session: Path) -> None:
    shot = shot_of(2)
    words = ["farm", "enter", "--bundle", str(shot.bundle("identity", 2)), "--session", str(session)]
    enter = subprocess.Popen([str(BIN / "mattebridge"), *words], env=shot.whole_environment())
    parent = psutil.Process(enter.pid)
    while not (children := parent.children()):
        assert enter.poll() is None
        time.sleep(0.01)
    enter.kill()
    enter.wait()
    end(session)
    wait_gone([children[0].pid])
    assert not (session / FOLDER).exists()


def test_a_session_cancelled_while_its_server_starts_leaves_nothing(shot_of: ShotOf, session: Path) -> None:
    shot = shot_of(2)
    words = ["farm", "enter", "--bundle", str(shot.bundle("identity", 2)), "--session", str(session)]
    enter = subprocess.Popen(
        [str(BIN / "mattebridge"), *words], env=shot.whole_environment(), stdout=subprocess.PIPE, text=True
    )
    parent = psutil.Process(enter.pid)
    while not (children := parent.children()):
        assert enter.poll() is None
        time.sleep(0.01)
    enter.send_signal(signal.SIGTERM)
    said, _ = enter.communicate(timeout=60)
    assert enter.returncode == Cancelled.exit_status
    assert "openjd_fail: CANCELLED" in said
    wait_gone([children[0].pid])
    assert not (session / FOLDER).exists()


def test_a_task_of_a_session_that_was_never_entered_says_so(session: Path) -> None:
    with pytest.raises(UsageError, match="no server was started"):
        ensure(session)


def test_a_worker_whose_disk_is_full_is_told_as_such_and_may_be_tried_again(shot_of: ShotOf, session: Path) -> None:
    shot = shot_of(3)
    bundle = str(shot.bundle("identity", 3))
    for words, status, said in (
        (["enter", "--bundle", bundle], 4, "openjd_fail: SERVER_LOST the session's folder cannot be written"),
        (["exit"], 0, "gone already"),
    ):
        command = [sys.executable, "-c", FULL_DISK, "farm", *words, "--session", str(session)]
        told = subprocess.run(command, env=shot.whole_environment(), capture_output=True, text=True, check=False)
        assert told.returncode == status, told.stderr
        assert said in told.stdout
    assert not (session / FOLDER).exists()


def test_a_session_in_a_folder_that_is_none_of_ours_is_a_fault_of_the_worker(session: Path) -> None:
    (session / FOLDER).write_text("a file in its place")
    with pytest.raises(ServerError, match="the session's folder cannot be written"):
        begin(session, Recipe())
    (session / FOLDER).unlink()


def test_the_first_process_of_a_container_keeps_one_server_for_all_its_tasks(shot_of: ShotOf) -> None:
    pytest.importorskip("openjd.model", reason="openjd-cli is not installed")
    contained = running_as_first_of_a_container()
    shot = shot_of(4)
    words = shot.openjd_words(shot.bundle("identity", 2), "--step", "Matte")
    ran = shot.run([*contained, *words])
    assert ran.returncode == 0, ran.stdout[-3000:]
    served = [line for line in ran.stdout.splitlines() if "(process " in line]
    assert len({line.rpartition("(process ")[2].partition(")")[0] for line in served}) == 1, served
    assert "stopped" in served[-1]
