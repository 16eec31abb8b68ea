"""A server ends with its owner: the nearest ancestor that outlives the command, or the session's folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mattebridge_server.broker import owner
from mattebridge_server.broker.owner import Process, Watch, ancestors, owner_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "SETTLE_S", 0.05)
    monkeypatch.setattr(owner, "POLL_S", 0.02)
    monkeypatch.setattr(owner, "DRAIN_S", 0.05)


class Watched:
    """A watch that notes what it tells the server instead of ending this process."""

    def __init__(self, pids: list[int], folder: str = "", starter: int = 0) -> None:
        self.told: list[int] = []
        self.asked, self.all_three = threading.Event(), threading.Event()
        self.watch = Watch(owner_of(pids, folder), Process.of(starter or os.getpid()), self._stop)

    def _stop(self, number: int) -> None:
        self.told.append(number)
        self.asked.set()
        if len(self.told) == 3:
            self.all_three.set()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.end()


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_nobody_is_watched_where_no_owner_is_named() -> None:
    assert not owner_of([], "")


def test_a_process_that_got_the_id_later_is_another_one() -> None:
    assert Process.of(os.getpid()).alive
    assert not Process(os.getpid(), 1).alive


def test_the_server_is_asked_twice_and_then_ended_when_the_owner_dies() -> None:
    process = sleeper()
    with Watched([process.pid]) as watched:
        assert not watched.asked.wait(0.3)
        process.communicate(b"\n")
        assert watched.all_three.wait(10)
    assert watched.told == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


def test_the_server_is_asked_to_stop_when_the_folder_goes(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    with Watched([], str(folder)) as watched:
        assert not watched.asked.wait(0.3)
        folder.rmdir()
        assert watched.asked.wait(10)


def test_a_long_start_is_no_owner_and_an_ancestor_killed_during_it_was_one() -> None:
    starter, runner = sleeper(), sleeper()
    with Watched([runner.pid, os.getpid()], starter=starter.pid) as watched:
        assert not watched.asked.wait(0.3), "the command that starts us may take as long as it likes"
        runner.communicate(b"\n")
        assert watched.asked.wait(10), "no wrapper dies before the command that it waits for"
    starter.communicate(b"\n")


def test_a_wrapper_ends_with_the_start_and_the_nearest_one_left_is_the_owner() -> None:
    starter, wrapper, runner = sleeper(), sleeper(), sleeper()
    owner.SETTLE_S = 1.0  # put back by the fixture; long enough for the wrapper to follow
    with Watched([wrapper.pid, runner.pid, os.getpid()], starter=starter.pid) as watched:
        starter.communicate(b"\n")
        wrapper.communicate(b"\n")
        assert not watched.asked.wait(1.5)
        runner.communicate(b"\n")
        assert watched.asked.wait(10)


def test_an_owner_killed_soon_after_its_first_client_was_one_and_its_parent_never_is() -> None:
    starter, wrapper, runner = sleeper(), sleeper(), sleeper()
    owner.SETTLE_S = 60.0
    with Watched([wrapper.pid, runner.pid, os.getpid()], starter=starter.pid) as watched:
        watched.watch.heard()  # the starter itself connects, and the wrapper is no owner for that
        starter.communicate(b"\n")
        wrapper.communicate(b"\n")
        assert not watched.asked.wait(0.2)
        watched.watch.heard()  # what the runner runs next
        assert not watched.asked.wait(0.2)
        runner.communicate(b"\n")
        assert watched.asked.wait(10)


def test_an_owner_that_is_the_starter_is_watched_as_well() -> None:
    process = sleeper()
    with Watched([process.pid], starter=process.pid) as watched:
        process.communicate(b"\n")
        assert watched.asked.wait(10)


def test_the_processes_above_this_one_are_followed_to_the_first_of_the_system() -> None:
    found = ancestors()
    assert found[0] == os.getppid()
    assert found[-1] == 1
    assert len(set(found)) == len(found)
