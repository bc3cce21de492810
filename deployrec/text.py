"""Texts of others, made fit to print: nothing in a title or a path reaches a terminal but what can be seen."""

from __future__ import annotations

import re

_OTHERS = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
UNSEEN = f"[\\x00-\\x1f{_OTHERS}]"
"""A regular expression of what a terminal obeys instead of showing it."""
_UNSEEN = re.compile(UNSEEN)
_UNSEEN_IN_LINES = re.compile(f"[\x00-\x09\x0b-\x1f{_OTHERS}]")


def printable(text: str, lines: bool = False) -> str:
    """The text with every control character, and every mark that turns the direction of writing, as its escape.

    A terminal would obey them: an ESC moves the cursor, sets its title or answers for the user. With `lines`, line
    feeds stay.
    """
    return (_UNSEEN_IN_LINES if lines else _UNSEEN).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
