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
from mattebridge_server.broker.owner import Process, owner_of, watch


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "SETTLE_S", 0.05)
    monkeypatch.setattr(owner, "POLL_S", 0.02)
    monkeypatch.setattr(owner, "DRAIN_S", 0.05)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_nobody_is_watched_where_no_owner_is_named() -> None:
    assert not owner_of([], "")


def test_a_wrapper_that_ends_at_once_is_not_the_owner() -> None:
    wrapper = sleeper()
    found = owner_of([wrapper.pid, os.getpid()], "")
    wrapper.communicate(b"\n")
    assert found.settled().processes == (Process.of(os.getpid()),)
    assert not found.settled().gone()


def test_a_process_that_got_the_id_later_is_another_one() -> None:
    assert Process.of(os.getpid()).alive
    assert not Process(os.getpid(), 1).alive


def test_the_server_is_asked_twice_and_then_ended_when_the_owner_dies() -> None:
    process = sleeper()
    told: list[int] = []
    all_three = threading.Event()

    def stop(number: int) -> None:
        told.append(number)
        if len(told) == 3:
            all_three.set()

    over = watch(owner_of([process.pid], ""), stop)
    assert not all_three.wait(0.3)
    assert told == []
    process.communicate(b"\n")
    assert all_three.wait(10)
    over.set()
    assert told == [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]


def test_the_server_is_asked_to_stop_when_the_folder_goes(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    asked = threading.Event()
    over = watch(owner_of([], str(folder)), lambda number: asked.set())
    folder.rmdir()
    assert asked.wait(10)
    over.set()


def test_a_long_start_is_no_owner_and_an_ancestor_killed_during_it_was_one() -> None:
    starter, runner = sleeper(), sleeper()
    asked = threading.Event()
    over = watch(owner_of([starter.pid, runner.pid, os.getpid()], ""), lambda number: asked.set())
    assert not asked.wait(0.3), "the command that starts us may take as long as it likes"
    runner.communicate(b"\n")
    assert asked.wait(10), "no wrapper dies before the command that it waits for"
    over.set()
    starter.communicate(b"\n")


def test_after_the_start_the_nearest_one_left_is_the_owner() -> None:
    starter, runner = sleeper(), sleeper()
    asked = threading.Event()
    over = watch(owner_of([starter.pid, runner.pid], ""), lambda number: asked.set())
    starter.communicate(b"\n")
    assert not asked.wait(0.5)
    runner.communicate(b"\n")
    assert asked.wait(10)
    over.set()
