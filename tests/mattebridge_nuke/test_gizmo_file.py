"""The .gizmo as a file: what Nuke would trip over is found here, without Nuke."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakenuke import FakeNuke, tcl
from fakenuke.knobs import Link_Knob, Text_Knob
from fakenuke.user_knobs import USER_KNOBS

KNOWN_IDS = {1, 2, 3, 4, 6, 7, 12, 15, 20, 22, 26, 41}


def commands(file: Path) -> list[list[tcl.Word]]:
    return tcl.parse_script(file.read_text("utf-8"))


def own_block(file: Path) -> list[list[tcl.Word]]:
    return tcl.parse_script(next(words for words in commands(file) if words[0].text == "Gizmo")[1].text)


def user_knobs(file: Path) -> list[list[tcl.Word]]:
    return [tcl.parse_list(words[1].text) for words in own_block(file) if words[0].text == "addUserKnob"]


def inner_nodes(file: Path) -> list[list[tcl.Word]]:
    skipped = ("version", "Gizmo", "set", "push", "end_group")
    return [words for words in commands(file) if words[0].text not in skipped]


def test_it_is_one_gizmo_block_then_nodes_then_end_group(gizmo_file: Path) -> None:
    heads = [words[0].text for words in commands(gizmo_file)]
    assert heads.count("Gizmo") == 1
    assert heads[:2] == ["version", "Gizmo"]
    assert heads[-1] == "end_group"
    assert gizmo_file.stem == "MatteBridge"


def test_it_is_ascii_with_unix_lines_and_a_last_newline(gizmo_file: Path) -> None:
    data = gizmo_file.read_bytes()
    assert data.isascii()
    assert b"\r" not in data
    assert data.endswith(b"end_group\n")


def test_it_holds_no_absolute_and_no_backslash_path(gizmo_file: Path) -> None:
    text = gizmo_file.read_text("utf-8")
    assert not re.search(r"(?<![\w<])/(?:home|usr|mnt|tmp|opt|Users|work|root)\b", text)
    assert not re.search(r"\b[A-Za-z]:[\\/]", text)
    assert not re.search(r'\\(?![\[\]{}"n$])', text), "a backslash that is not a Tcl or line escape"


def test_knob_names_are_unique(gizmo_file: Path) -> None:
    names = [tcl.unescape(words[1]) for words in user_knobs(gizmo_file)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_knob_ids_are_known(gizmo_file: Path) -> None:
    assert {int(words[0].text) for words in user_knobs(gizmo_file)} <= KNOWN_IDS
    assert set(USER_KNOBS) == KNOWN_IDS


def test_links_point_at_knobs_that_exist(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    links = [knob for knob in node._knobs.values() if isinstance(knob, Link_Knob)]
    assert [knob.getLinkedKnob().name() for knob in links] == ["to0"]


def test_the_stack_never_underflows_and_ends_with_the_output(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")  # the loader raises on underflow and on a push of an unset name
    unread = {child._name for child in node._children if child._class == "Input"} - {  # type: ignore[attr-defined]
        above._name
        for child in node._children  # type: ignore[attr-defined]
        for above in child._inputs
        if above is not None
    }
    assert unread == {"mask", "core", "garbage"}, "these are read by Python only"
    assert node._output()._name == "Output1"  # type: ignore[attr-defined]


def test_the_five_inputs_come_in_order(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    numbers = {child._value("number"): child._name for child in node._children if child._class == "Input"}  # type: ignore[attr-defined]
    assert numbers == {0: "plate", 1: "mask", 2: "core", 3: "garbage", 4: "background"}


def test_every_push_names_something_that_was_set(gizmo_file: Path) -> None:
    named: set[str] = set()
    for words in commands(gizmo_file):
        if words[0].text == "set":
            named.add(words[1].text)
        if words[0].text == "push":
            assert words[1].text == "0" or words[1].text.lstrip("$") in named


def embedded_python(file: Path) -> list[tuple[str, str]]:
    """Every piece of Python, un-escaped the way Nuke does it: (where, text)."""
    found = [
        (tcl.unescape(words[1]), tcl.unescape(words[at + 1]))
        for words in user_knobs(file)
        for at, word in enumerate(words)
        if words[0].text == "22" and word.text == "T"
    ]
    own = {words[0].text: words[1] for words in own_block(file)}
    return found + [(name, tcl.unescape(own[name])) for name in ("knobChanged", "onCreate")]


def test_embedded_python_compiles(gizmo_file: Path) -> None:
    pieces = embedded_python(gizmo_file)
    assert len(pieces) == 13
    for where, text in pieces:
        compile(text, where, "exec")
    own = {words[0].text: words[1] for words in own_block(gizmo_file)}
    compile(tcl.unescape(own["autolabel"]), "autolabel", "eval")


def test_buttons_do_nothing_but_import_and_call(gizmo_file: Path) -> None:
    for where, text in embedded_python(gizmo_file)[:-2]:
        assert text.splitlines()[-1].strip() == f"buttons.press(nuke.thisNode(), '{where}')"
        assert "except ImportError as reason" in text


def test_there_is_no_write_inside(gizmo_file: Path) -> None:
    assert "Write" not in {words[0].text for words in inner_nodes(gizmo_file)}


def test_inner_reads_are_raw_and_never_localised(gizmo_file: Path) -> None:
    reads = [words for words in inner_nodes(gizmo_file) if words[0].text == "Read"]
    assert len(reads) == 6
    for words in reads:
        knobs = {line[0].text: tcl.unescape(line[1]) for line in tcl.parse_script(words[1].text)}
        assert (knobs["raw"], knobs["localizationPolicy"]) == ("true", "off")


def test_values_that_a_machine_decides_are_not_saved(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    for name in ("status", "model", "preset", "version", "node_label", "model_cache", "gizmo_version"):
        assert node._knobs[name].getFlag(fake.module.DO_NOT_WRITE), name
    assert isinstance(node._knobs["gizmo_version"], Text_Knob)


def test_what_a_render_needs_is_saved(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    for name in (
        "alpha_path",
        "has_matte",
        "result_first",
        "result_last",
        "fgr_path",
        "model_name",
        "version_name",
        "farm_version",
    ):
        assert not node._knobs[name].getFlag(fake.module.DO_NOT_WRITE), name


@pytest.mark.parametrize("broken", ['inputs 3\n name "x', "push $Nnothing", "addUserKnob {22 matte_range}"])
def test_a_broken_gizmo_is_noticed(gizmo_file: Path, tmp_path: Path, broken: str) -> None:
    text = gizmo_file.read_text("utf-8")
    if broken.startswith("push"):
        text = text.replace("push $Nplate", broken, 1)
    else:
        text = text.replace(" inputs 2\n", f" {broken}\n", 1)
    (tmp_path / "MatteBridge.gizmo").write_text(text, "utf-8")
    with FakeNuke(plugin_folders=[tmp_path]) as running, pytest.raises((tcl.TclError, StopIteration)):
        running.session.create("MatteBridge")
