"""A Tcl word scanner: enough of the language to read .gizmo and .nk files and to run the few commands they hold.

A script is commands, one a line; a command is words. A word is bare, "quoted" or {braced}. Backslash, `[command]` and
`$variable` are substituted in bare and quoted words, never in braced ones (Tcl manual, "dodekalogue" rules 1 to 9).
Counting braces is not enough: a brace inside a quoted word does not count, an escaped one counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
SPACE = " \t"


class TclError(Exception):
    """The text is not Tcl, or asks for something that the fake does not have."""


@dataclass(frozen=True)
class Word:
    """One word before substitution. ``kind`` is "bare", "quoted" or "braced"; ``text`` is without its delimiters."""

    text: str
    kind: str
    line: int


class Scanner:
    """Reads words off a text, keeping the line for messages."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def fail(self, why: str) -> TclError:
        return TclError(f"line {self.line}: {why}")

    def commands(self) -> list[list[Word]]:
        """Every command of the text; empty lines and comments are left out."""
        found: list[list[Word]] = []
        while self.at < len(self.text):
            while self.peek() and self.peek() in SPACE + "\n;":
                self.at += 1
            if self.peek() == "#":
                self._skip_comment()
                continue
            words = self._command()
            if words:
                found.append(words)
        return found

    def _skip_comment(self) -> None:
        while self.peek() and self.peek() != "\n":
            self.at += 2 if self.peek() == "\\" else 1

    def _command(self) -> list[Word]:
        words: list[Word] = []
        while self.peek() and self.peek() not in "\n;":
            if self.peek() in SPACE:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                words.append(self.word(ends="\n;"))
        return words

    def word(self, ends: str = "\n") -> Word:
        """The next word; ``ends`` are the characters besides space that end a bare word."""
        line = self.line
        if self.peek() == "{":
            text, kind = self._braced(), "braced"
        elif self.peek() == '"':
            text, kind = self._quoted(), "quoted"
        else:
            return Word(self._bare(ends), "bare", line)
        if self.peek() and self.peek() not in SPACE + "\n;":
            raise self.fail(f"extra characters after a {kind} word: {self.text[self.at : self.at + 12]!r}")
        return Word(text, kind, line)

    def _braced(self) -> str:
        start, depth = self.at + 1, 0
        while self.at < len(self.text):
            mark = self.text[self.at]
            if mark == "\\":
                self.at += 1
            elif mark == "{":
                depth += 1
            elif mark == "}":
                depth -= 1
                if depth == 0:
                    self.at += 1
                    return self.text[start : self.at - 1]
            self.at += 1
        raise TclError(f"line {self.text.count(chr(10), 0, start) + 1}: missing close brace")

    def _quoted(self) -> str:
        start = self.at + 1
        self.at += 1
        while self.at < len(self.text):
            mark = self.text[self.at]
            if mark == '"':
                self.at += 1
                return self.text[start : self.at - 1]
            self._step(mark)
        raise TclError(f"line {self.text.count(chr(10), 0, start) + 1}: missing close quote")

    def _bare(self, ends: str) -> str:
        start = self.at
        while self.peek() and self.peek() not in SPACE + ends:
            self._step(self.peek())
        return self.text[start : self.at]

    def _step(self, mark: str) -> None:
        """Past one character, one escape or one whole ``[command]``."""
        if mark == "\\":
            self.at += 2
        elif mark == "[":
            self._bracketed()
        else:
            self.at += 1

    def _bracketed(self) -> None:
        start, depth = self.at, 0
        while self.at < len(self.text):
            mark = self.text[self.at]
            if mark == "\\":
                self.at += 1
            elif mark == "[":
                depth += 1
            elif mark == "]":
                depth -= 1
                if depth == 0:
                    self.at += 1
                    return
            self.at += 1
        raise TclError(f"line {self.text.count(chr(10), 0, start) + 1}: missing close bracket")


def parse_script(text: str) -> list[list[Word]]:
    """The commands of a script."""
    return Scanner(text).commands()


def parse_list(text: str) -> list[Word]:
    """The elements of a Tcl list; a newline separates like a space."""
    scanner, words = Scanner(text), []
    while scanner.peek():
        if scanner.peek() in SPACE + "\n":
            scanner.at += 1
        else:
            words.append(scanner.word(ends="\n"))
    return words


def unescape(word: Word) -> str:
    """The text of a word in which nothing may be substituted but backslashes (knob values, list elements).

    Raises `TclError` for an unescaped `[` or `$`: Nuke would run it while loading the file.
    """
    if word.kind == "braced":
        return word.text
    out, at = [], 0
    while at < len(word.text):
        mark = word.text[at]
        if mark == "\\":
            escaped = word.text[at + 1 : at + 2]
            out.append(ESCAPES.get(escaped, escaped))
            at += 2
            continue
        if mark == "[" or (mark == "$" and word.text[at + 1 : at + 2].isalpha()):
            raise TclError(f"line {word.line}: an unescaped {mark!r} would be substituted while loading")
        out.append(mark)
        at += 1
    return "".join(out)


def quote(text: str) -> str:
    """``text`` as one word that reads back as itself."""
    if text and not any(mark in text for mark in ' \t\n"\\[]{}$;#'):
        return text
    body = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    for mark in "[]{}$":
        body = body.replace(mark, "\\" + mark)
    return f'"{body}"'


Command = Callable[[list[str]], str]


class Interpreter:
    """Runs commands with the words substituted. ``variables`` are read, never set, except through the `set` given."""

    def __init__(self, commands: Mapping[str, Command], variables: Mapping[str, str]) -> None:
        self.commands = commands
        self.variables = variables

    def run(self, text: str) -> str:
        """The result of the last command of ``text``."""
        result = ""
        for words in parse_script(text):
            name, *arguments = [self.substitute(word) for word in words]
            if name not in self.commands:
                raise TclError(f"invalid command name {name!r}")
            result = self.commands[name](arguments)
        return result

    def substitute(self, word: Word) -> str:
        return word.text if word.kind == "braced" else self.expand(word.text)

    def expand(self, text: str) -> str:
        """Backslash, command and variable substitution of a text outside braces."""
        out, scanner = [], Scanner(text)
        while scanner.peek():
            mark, start = scanner.peek(), scanner.at
            if mark == "\\":
                escaped = text[start + 1 : start + 2]
                out.append(ESCAPES.get(escaped, escaped))
                scanner.at += 2
            elif mark == "[":
                scanner._bracketed()
                out.append(self.run(text[start + 1 : scanner.at - 1]))
            elif mark == "$" and text[start + 1 : start + 2].isalpha():
                name = self._variable_name(text[start + 1 :])
                if name not in self.variables:
                    raise TclError(f'can\'t read "{name}": no such variable')
                out.append(self.variables[name])
                scanner.at += 1 + len(name)
            else:
                out.append(mark)
                scanner.at += 1
        return "".join(out)

    @staticmethod
    def _variable_name(text: str) -> str:
        length = 0
        while length < len(text) and (text[length].isalnum() or text[length] == "_"):
            length += 1
        return text[:length]
