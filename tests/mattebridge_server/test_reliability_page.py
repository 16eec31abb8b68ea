"""docs/reliability.md names every promise's test, and every crash point that the code has."""

import re
from pathlib import Path

import mattebridge_server

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_promise_has_one_row_and_its_test_exists():
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 25))
    for number, tests in rows:
        first = re.findall(r"`([\w/.]+)`", tests)[0]
        path = ROOT / "tests" / "faults" / f"{first}.py"
        assert path.exists(), first
        assert f"Promise {number}." in path.read_text(encoding="utf-8").splitlines()[0]


def test_every_file_of_a_promise_is_on_the_page():
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        assert f"`{path.stem}`" in PAGE


def test_the_crash_points_on_the_page_are_those_in_the_code():
    found = set()
    for path in Path(mattebridge_server.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"\breach\(\"([\w-]+)\"", path.read_text(encoding="utf-8")))
    section = PAGE.partition("## Points where")[2].partition("## What happens")[0]
    assert set(re.findall(r"`([a-z]+-[a-z-]+)`", section)) == found
