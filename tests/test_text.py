"""What cannot be seen is printed as its escape, everything else as it is."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from deployrec.text import printable

TURNS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


@given(st.text())
def test_no_control_character_and_no_turn_of_direction_is_left(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(character) for character in shown} & TURNS
    assert printable(shown) == shown
    assert printable(text, lines=True).replace("\n", "\\u000a") == shown


def test_texts_of_any_script_stay() -> None:
    for text in ("Amélie", "千と千尋の神隠し", "🎬 👩\u200d🚀", "\u200fשלם", 'say "x"', "a\\b", ""):
        assert printable(text) == text
    assert printable("\x1b[2Jgone\x07\x9b1m\u202e") == "\\u001b[2Jgone\\u0007\\u009b1m\\u202e"
