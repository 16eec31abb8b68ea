"""docs/protocol.md against the field table: every message, field, type, default and limit, and nothing stale."""

import dataclasses
import inspect
import re
import struct
import typing
from pathlib import Path

import pytest

from mattebridge import download, frames, job_stream, requests, session, upload
from mattebridge import messages as m
from mattebridge.errors import UsageError
from mattebridge.planes import Planes
from mattebridge_server.broker import metrics
from mattebridge_server.broker.config import Config
from mattebridge_server.broker.desk import About, Desk
from mattebridge_server.broker.jobs import ENDED

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
VALUES = {cls.__name__: cls for cls in vars(m).values() if dataclasses.is_dataclass(cls)}
INNER = {name: cls for name, cls in VALUES.items() if cls not in m.MESSAGES.values()}
TABLES = {**{tag.decode(): cls for tag, cls in m.MESSAGES.items()}, **INNER}
DIRECTIONS = {"C": "Client to server.", "S": "Server to client.", "B": "Both ways."}


def sections():
    found = {}
    for part in re.split(r"^#### ", PAGE, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found[name.strip()] = text
    return found


SECTIONS = sections()


def rows(text):
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]


def type_name(hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        if set(arguments) == {bool, int, float, str}:
            return "value"
        return " or ".join(type_name(kind) for kind in arguments if kind is not type(None)) + " or nil"
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"map of {type_name(arguments[1])}"
    return hint.__name__


def default_text(item):
    if item.default is dataclasses.MISSING:
        return "required" if item.default_factory is dataclasses.MISSING else "{}"
    if item.default is None or isinstance(item.default, bool):
        return {None: "nil", True: "true", False: "false"}[item.default]
    value = list(item.default) if isinstance(item.default, tuple) else item.default
    return repr(value).replace("'", '"')


def test_every_message_and_value_has_a_section_and_no_section_is_stale():
    assert set(SECTIONS) == set(TABLES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_fields_types_and_defaults_are_as_declared(name):
    cls = TABLES[name]
    hints = typing.get_type_hints(cls)
    described = rows(SECTIONS[name].partition("\n## ")[0])
    assert [row[:3] for row in described] == [
        [f"`{item.name}`", type_name(hints[item.name]), default_text(item)] for item in dataclasses.fields(cls)
    ]
    assert all(len(row[3]) > 3 for row in described), "every field has its meaning"


@pytest.mark.parametrize("tag", sorted(m.MESSAGES), ids=lambda tag: tag.decode())
def test_directions_are_as_declared(tag):
    direction = m.MESSAGES[tag].__doc__[0]
    assert SECTIONS[tag.decode()].strip().startswith(DIRECTIONS[direction])
    assert (tag in m.FROM_CLIENT) == (direction in "CB")


def test_limits_and_version_are_the_codes():
    limits = dict(re.findall(r"(\d+)[^|`]*\(`([A-Z_]+)`\)", PAGE))
    assert {name: int(number) for number, name in limits.items()} == {
        "HEADER_BYTES": m.HEADER_BYTES,
        "BLOB_BYTES": m.BLOB_BYTES,
        "MESSAGE_PARTS": m.MESSAGE_PARTS,
        "INITIAL_CREDIT_BYTES": m.INITIAL_CREDIT_BYTES,
        "BEAT_S": m.BEAT_S,
        "BEATS_LOST": m.BEATS_LOST,
    }
    assert f"**{m.PROTOCOL_MAJOR}.{m.PROTOCOL_MINOR}**" in PAGE


def words_of(name, field):
    """What stands in backticks in a field's meaning: the values that it can have."""
    (meaning,) = [row[3] for row in rows(SECTIONS[name]) if row[0] == f"`{field}`"]
    return set(re.findall(r"`([\w.]+)`", meaning))


def test_the_values_that_a_field_can_have_are_the_codes():
    for field in ("delivery", "priority", "look", "mask_fit"):
        assert words_of("JobRequest", field) == set(requests.CHOICES[field]) - {""}
    assert words_of("PUT", "role") == {*upload.UPLOAD_ROLES, "config"}
    assert words_of("GIVE", "role") == set(download.RESULT_ROLES)
    assert words_of("ParamInfo", "type") == {kind.__name__ for kind in typing.get_args(m.ParamValue)}
    states = set(re.findall(r'"(\w+)"', inspect.getsource(Desk.state)))
    assert words_of("STATUS_REPORT", "state") == states - {"idle", "busy"}, "those two are an engine's"
    pairs = ", ".join(f"`{role}` to `{field}`" for role, field in download.RESULT_ROLES.items() if role != field)
    assert pairs in PAGE and "`background` to `comp_over`" in PAGE


def test_the_states_of_a_job_are_those_that_a_server_tells():
    table = PAGE.partition("## 5. A job")[2].partition("|---")[2].partition("\n\n")[0]
    states = {word for line in table.splitlines()[1:] for word in line.split(" | ")[0].strip("| ").split(", ")}
    assert states == {*metrics.STATES, *ENDED}


def test_limits_without_a_name_are_the_codes():
    (longest,) = re.findall(r"job key \| (\d+) characters", PAGE)
    assert requests.check_key("k" * int(longest))
    with pytest.raises(UsageError):
        requests.check_key("k" * (int(longest) + 1))
    assert f"| frames of a job | {m.Limits().job_frames} |" in PAGE and m.Limits().job_frames == frames.MAX_FRAMES
    assert f"At most {frames.MAX_FRAMES} frames, none beyond {frames.MAX_NUMBER}." in PAGE
    times = session.Times()
    assert f"`connect_timeout_s` ({times.connect_timeout_s:g} s)" in PAGE
    assert f"`lost_timeout_s` ({times.lost_timeout_s:g} s)" in PAGE
    assert Planes(bytes(12), 1, 2, 3).pack()[:32] == b"MBPL" + struct.pack("<HHIII12x", 1, 1, 1, 2, 3)


@pytest.mark.parametrize(
    ("section", "module"), [("4. The client's session", session), ("A client follows", job_stream)]
)
def test_states_of_the_tables_are_those_of_the_code(section, module):
    table = PAGE.partition(section)[2].partition("\n\n")[2].partition("|---")[2].partition("\n\n")[0]
    cells = [line.strip("|").split(" | ") for line in table.splitlines()[1:]]
    states = {word for row in cells for cell in (row[0], row[2]) for word in re.split(r"[ ,]+", cell) if word}
    written = {"offline", "greeting", "ready", "refused", "new", "waiting", "attached", "ended"}
    assert states - {"any", "same"} == {name for name in written if f'"{name}"' in inspect.getsource(module)}


def test_how_long_a_job_stays_that_nobody_follows_is_as_the_server_has_it():
    rule = r"cancelled after\s(\d+) s.*cancelled after\s(\d+) s.*kept for (\d+) days.*newest (\d+)"
    told = re.search(rule, PAGE, re.S)
    assert told is not None
    leases = (Config.lease_s, About.upload_lease_s, Config.keep_s / 86400, Config.keep_jobs)
    assert tuple(map(float, told.groups())) == leases and About.lease_s == Config.lease_s
