"""Nuke expressions, as far as gizmos use them: numbers, knobs, `frame`, `$gui`, arithmetic, comparison, `? :`."""

from __future__ import annotations

import re
from collections.abc import Callable

TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|(\$?[A-Za-z_][\w.]*)|(\|\||&&|==|!=|<=|>=|[-+*/!<>?:()]))")
BINARY = [["||"], ["&&"], ["==", "!="], ["<", ">", "<=", ">="], ["+", "-"], ["*", "/"]]

Lookup = Callable[[str], float]


class ExpressionError(Exception):
    """The expression cannot be evaluated; Nuke marks the knob red."""


def evaluate(text: str, lookup: Lookup) -> float:
    """The value of ``text``; ``lookup`` resolves names (`frame`, `$gui`, `parent.knob`)."""
    tokens = _tokens(text)
    parser = _Parser(tokens, lookup)
    value = parser.choice()
    if parser.at != len(tokens):
        raise ExpressionError(f"{text!r}: left over at {tokens[parser.at]!r}")
    return value


def _tokens(text: str) -> list[str]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"{text!r}: cannot read {text[at:]!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[str], lookup: Lookup) -> None:
        self.tokens, self.lookup, self.at = tokens, lookup, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        if not self.peek():
            raise ExpressionError("the expression ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def choice(self) -> float:
        value = self.binary(0)
        if self.peek() != "?":
            return value
        self.take()
        yes = self.choice()
        if self.take() != ":":
            raise ExpressionError("'?' without ':'")
        no = self.choice()
        return yes if value else no

    def binary(self, level: int) -> float:
        if level == len(BINARY):
            return self.unary()
        value = self.binary(level + 1)
        while self.peek() in BINARY[level]:
            operator = self.take()
            value = _apply(operator, value, self.binary(level + 1))
        return value

    def unary(self) -> float:
        token = self.take()
        if token == "!":
            return float(not self.unary())
        if token == "-":
            return -self.unary()
        if token == "(":
            value = self.choice()
            if self.take() != ")":
                raise ExpressionError("missing ')'")
            return value
        if token[0].isdigit() or token[0] == ".":
            return float(token)
        if token[0].isalpha() or token[0] in "$_":
            return self.lookup(token)
        raise ExpressionError(f"unexpected {token!r}")


def _apply(operator: str, left: float, right: float) -> float:
    table: dict[str, Callable[[], float]] = {
        "||": lambda: float(bool(left) or bool(right)),
        "&&": lambda: float(bool(left) and bool(right)),
        "==": lambda: float(left == right),
        "!=": lambda: float(left != right),
        "<": lambda: float(left < right),
        ">": lambda: float(left > right),
        "<=": lambda: float(left <= right),
        ">=": lambda: float(left >= right),
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
    }
    return table[operator]()
