"""benchmarks/time_table.py: the table of the docs is that of the committed rows."""

from __future__ import annotations

from pathlib import Path

from benchmarks import time_table

DOCS = Path(__file__).parents[2] / "docs" / "time.md"


def test_the_docs_hold_the_table_of_the_committed_rows() -> None:
    assert time_table.table() in DOCS.read_text()


def test_a_time_aware_model_stands_beside_itself_without_time() -> None:
    assert time_table.timeless("recblr:time=true") == "recblr"
    assert time_table.timeless("recblr:epochs=16,time=true,dropout=0.2") == "recblr:epochs=16,dropout=0.2"
    assert time_table.timeless("recblr:time=true,calendar=true") == "recblr"
