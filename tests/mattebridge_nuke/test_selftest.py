"""The selftest runs every step, tells what it found, and notices a Nuke that is not as expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakenuke import FakeNuke, operators

CHECKLIST = Path(__file__).resolve().parents[2] / "docs" / "nuke-checklist.md"


def test_every_step_passes_in_the_fake(terminal: FakeNuke) -> None:
    from mattebridge_nuke import selftest

    failed = selftest.run()
    lines = terminal.session.printed
    assert [line for line in lines if "FAILED" in line] == []
    assert failed == 0
    assert len(lines) == len(selftest.STEPS) + 2
    assert not [line for line in lines if re.match(".*Error:|.*ERROR:", line)]


def test_a_nuke_with_another_knob_is_noticed_and_the_rest_goes_on(
    terminal: FakeNuke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke import selftest

    read = {name: kind for name, kind in operators.KNOBS["Read"].items() if name != "frame_mode"}
    monkeypatch.setitem(operators.KNOBS, "Read", read)
    assert selftest.run() >= 1
    (line,) = [line for line in terminal.session.printed if "knobs that are looked at" in line]
    assert "[FAILED]" in line
    assert "frame_mode" in line
    assert "steps as expected" in terminal.session.printed[-1]


def test_the_checklist_names_every_step(fake: FakeNuke) -> None:
    from mattebridge_nuke import selftest

    text = CHECKLIST.read_text("utf-8")
    for step in selftest.STEPS:
        assert step.title in text, step.title
