"""The language of `where=`: comparisons of item columns joined by and, or, not; a parser of its own, never eval.

    condition  = both {"or" both}
    both       = term {"and" term}
    term       = "not" term | "(" condition ")" | comparison
    comparison = column ("==" | "!=" | "<" | "<=" | ">" | ">=") value
               | column ["not"] "in" "(" value {"," value} ")"
               | column ["not"] "has" text
    column     = name | "`" any name "`"
    value      = number | text in ' or ", which stands doubled for itself

A number is compared with what a column holds as numbers: an item without one there equals none and is neither below
nor above any. A text is compared character by character. `has` finds a text as whole words, 'Drama' in "Crime|Drama".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any, NoReturn

from deployrec.errors import ConfigError

MOST_CHARACTERS = 10_000
DEEPEST = 50
"""Nested parentheses and nots."""
ORDERS = ("==", "!=", "<", "<=", ">", ">=")
WORDS = ("and", "or", "not", "in", "has")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
TOKEN = re.compile(
    rf"""\s*(?:(?P<number>{NUMBER.pattern}(?![\w.]))
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<quoted>`[^`]+`)
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Compared:
    """One comparison: `values` holds one, or the several of "in"; numbers are floats."""

    column: str
    order: str
    """one of ORDERS, "in" or "has"."""
    values: tuple[str | float, ...]


@dataclass(frozen=True)
class Not:
    part: Condition


@dataclass(frozen=True)
class Both:
    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Either:
    parts: tuple[Condition, ...]


Condition = Compared | Not | Both | Either


def parse(text: str) -> Condition:
    """What a filter says; raises ConfigError, in one line, for what is none."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"expected a filter such as \"genre == 'Comedy' and year >= 1990\"; got {text!r}; write one")
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"expected a filter of at most {MOST_CHARACTERS:,} characters; got {len(text):,}; use only= or exclude="
        )
    return _Parser(text).whole()


def evaluate(condition: Condition, test: Callable[[Compared], Any]) -> Any:
    """The condition over whatever `test` answers comparisons with: arrays of bool, or anything with &, | and ~."""
    if isinstance(condition, Compared):
        return test(condition)
    if isinstance(condition, Not):
        return ~evaluate(condition.part, test)
    join = and_ if isinstance(condition, Both) else or_
    return reduce(join, (evaluate(part, test) for part in condition.parts))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.depth = 0
        self.kind, self.token, self.start = "", "", 0
        self._next()

    def whole(self) -> Condition:
        found = self._either()
        if self.kind != "end":
            self._fail("'and', 'or' or the end")
        return found

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._took("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._term()]
        while self._took("and"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _term(self) -> Condition:
        self.depth += 1
        if self.depth > DEEPEST:
            self._fail(f"at most {DEEPEST} parentheses and nots within each other")
        if self._took("not"):
            found: Condition = Not(self._term())
        elif self._took("("):
            found = self._either()
            self._need(")")
        else:
            found = self._comparison()
        self.depth -= 1
        return found

    def _comparison(self) -> Condition:
        if self.kind != "column":
            self._fail("a column")
        column = self._next()
        if self.token in ORDERS and self.kind == "sign":
            return Compared(column, self._next(), (self._value(),))
        negated = self._took("not")
        if self._took("in"):
            self._need("(")
            values = [self._value()]
            while self._took(","):
                values.append(self._value())
            self._need(")")
            found = Compared(column, "in", tuple(values))
        elif self._took("has"):
            if self.kind != "text":
                self._fail("a text in quotes")
            found = Compared(column, "has", (self._value(),))
        else:
            self._fail("'in' or 'has'" if negated else "==, !=, <, <=, >, >=, 'in' or 'has'")
        return Not(found) if negated else found

    def _value(self) -> str | float:
        if self.kind not in ("number", "text"):
            self._fail("a number, or a text in quotes")
        kind, token = self.kind, self._next()
        return float(token) if kind == "number" else token

    def _took(self, token: str) -> bool:
        """Whether the next token is this word or sign, which is then behind."""
        if self.kind in ("word", "sign") and self.token == token:
            self._next()
            return True
        return False

    def _need(self, token: str) -> None:
        if not self._took(token):
            self._fail(f"'{token}'")

    def _next(self) -> str:
        """The token that stands here; moves on by one."""
        here = self.token
        self.kind, self.token, self.start = next(self.tokens)
        return here

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = TOKEN.match(self.text, place)
            if not found:
                self.kind, self.start = "end", len(self.text) - len(self.text[place:].lstrip())
                self._fail("columns, numbers, texts in quotes and ==, !=, <, <=, >, >=, in, has, and, or, not")
            kind, token = str(found.lastgroup), found[str(found.lastgroup)]
            if kind == "text":
                token = token[1:-1].replace(token[0] * 2, token[0])
            elif kind == "quoted":
                kind, token = "column", token[1:-1]
            elif kind == "name":
                word = token.lower() in WORDS
                kind, token = ("word", token.lower()) if word else ("column", token)
            yield kind, token, found.start(str(found.lastgroup))
            place = found.end()
        while True:
            yield "end", "", len(self.text)

    def _fail(self, expected: str) -> NoReturn:
        rest = self.text[self.start :].strip()
        got = repr(rest if len(rest) <= 30 else f"{rest[:27]}...") if rest else "nothing more"
        whole = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        raise ConfigError(
            f"expected {expected} at character {self.start + 1} of the filter {whole!r}; got {got}; "
            "write such as \"genre == 'Comedy' and year >= 1990\""
        )
