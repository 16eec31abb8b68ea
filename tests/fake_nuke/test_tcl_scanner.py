"""The Tcl word scanner reads what Nuke writes, and refuses what Nuke would choke on."""

from __future__ import annotations

import pytest
from fakenuke import tcl
from hypothesis import given
from hypothesis import strategies as st


def texts(script: str) -> list[list[str]]:
    return [[word.text for word in words] for words in tcl.parse_script(script)]


def test_a_brace_inside_a_quoted_word_does_not_count() -> None:
    assert texts('set a "x } y"\nset b c') == [["set", "a", "x } y"], ["set", "b", "c"]]


def test_a_bare_brace_inside_a_block_counts_even_in_quotes() -> None:
    """That is Tcl's rule, and why Nuke escapes braces in texts."""
    assert texts('Read {\n label "a } b"\n}') == [["Read", '\n label "a ', 'b"'], ["}"]]
    assert texts('Read {\n label "a \\} b"\n}') == [["Read", '\n label "a \\} b"\n']]


def test_an_escaped_brace_counts_nowhere() -> None:
    assert texts("Read {\n label a\\}b\n}") == [["Read", "\n label a\\}b\n"]]


def test_brackets_hold_a_command_together() -> None:
    assert texts("set N1 [stack 0]\npush $N1") == [["set", "N1", "[stack 0]"], ["push", "$N1"]]


def test_comments_and_continued_lines_are_no_words() -> None:
    assert texts("#! a { b\nset a \\\n b; set c d") == [["set", "a", "b"], ["set", "c", "d"]]


@pytest.mark.parametrize("broken", ["Read {", 'name "x', "set a [stack 0", 'a "b"c', "{a}b"])
def test_unbalanced_text_is_refused_with_its_line(broken: str) -> None:
    with pytest.raises(tcl.TclError, match="line 2"):
        tcl.parse_script("version 1\n" + broken)


@pytest.mark.parametrize("text", ['"[value x]"', '"$x"', "[date]"])
def test_what_would_run_while_loading_is_refused(text: str) -> None:
    with pytest.raises(tcl.TclError, match="substituted"):
        tcl.unescape(tcl.parse_script(f"file {text}")[0][1])


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from('\n{}[]$"\\; #'))
)
def test_a_quoted_text_reads_back_as_itself(text: str) -> None:
    (words,) = tcl.parse_script(f"label {tcl.quote(text)}") if text else ([tcl.Word("label", "bare", 1)] * 2,)
    assert not text or tcl.unescape(words[1]) == text


@given(st.lists(st.text(alphabet='ab {}[]"\\$', min_size=1)))
def test_a_list_of_quoted_texts_keeps_its_elements(items: list[str]) -> None:
    words = tcl.parse_list(" ".join(tcl.quote(item) for item in items))
    assert [tcl.unescape(word) for word in words] == items


def test_the_interpreter_runs_nested_commands() -> None:
    commands: dict[str, tcl.Command] = {"value": lambda words: words[0].upper(), "join": lambda words: "-".join(words)}
    interpreter = tcl.Interpreter(commands, {"name": "n"})
    assert interpreter.expand("a/[join [value x] {b c}]/$name\\[0\\]") == "a/X-b c/n[0]"
    with pytest.raises(tcl.TclError, match="invalid command"):
        interpreter.expand("[exec rm]")
