"""The selftest runs every step, tells what it found, and notices a Nuke that is not as expected."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from fakenuke import FakeNuke, operators

CHECKLIST = Path(__file__).resolve().parents[2] / "docs" / "nuke-checklist.md"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mattebridge nuke selftest` starts Nuke."""
    monkeypatch.setattr("sys.argv", ["selftest.py", "1001-1003", "Write1", "made", "comp.nk"])


@pytest.fixture
def started(terminal: FakeNuke, words: None) -> FakeNuke:
    """`nuke -t` that has read our init.py."""
    runpy.run_path(str(CHECKLIST.parents[1] / "nuke_plugin" / "init.py"))
    return terminal


def test_every_step_passes_in_the_fake(started: FakeNuke) -> None:
    from mattebridge_nuke import selftest

    failed = selftest.run()
    lines = started.session.printed
    assert [line for line in lines if "FAILED" in line] == []
    assert failed == 0
    (error,) = [line for line in lines if line.startswith("ERROR:")]
    assert len(lines) == len(selftest.STEPS) + 2 + 1
    assert "ERROR: line" in lines[lines.index(error) + 1], "the next line says what the line is for"


def test_an_init_that_nuke_did_not_read_is_noticed(terminal: FakeNuke, words: None) -> None:
    from mattebridge_nuke import selftest

    assert selftest.run() == 1
    assert "found not named" in next(line for line in terminal.session.printed if "[FAILED]" in line)


def test_a_nuke_that_takes_a_range_for_itself_is_noticed(started: FakeNuke, monkeypatch: pytest.MonkeyPatch) -> None:
    from mattebridge_nuke import selftest

    monkeypatch.setattr("sys.argv", ["selftest.py", "Write1", "made", "comp.nk"])
    assert selftest.run() == 1
    assert "the words after a script arrive" in next(line for line in started.session.printed if "[FAILED]" in line)


def test_a_nuke_with_another_knob_is_noticed_and_the_rest_goes_on(
    started: FakeNuke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke import selftest

    read = {name: kind for name, kind in operators.KNOBS["Read"].items() if name != "frame_mode"}
    monkeypatch.setitem(operators.KNOBS, "Read", read)
    assert selftest.run() >= 1
    (line,) = [line for line in started.session.printed if "knobs that are looked at" in line]
    assert "[FAILED]" in line
    assert "frame_mode" in line
    assert "steps as expected" in started.session.printed[-1]


def test_the_checklist_names_every_step(fake: FakeNuke) -> None:
    from mattebridge_nuke import selftest

    text = CHECKLIST.read_text("utf-8")
    for step in selftest.STEPS:
        assert step.title in text, step.title
