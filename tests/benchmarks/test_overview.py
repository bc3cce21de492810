"""benchmarks/overview.py: the tables of the docs are those of the committed rows."""

from __future__ import annotations

from pathlib import Path

from benchmarks import overview

DOCS = Path(__file__).parents[2] / "docs"


def test_the_docs_hold_the_tables_of_the_committed_rows() -> None:
    assert overview.table() in (DOCS / "models.md").read_text()
    assert overview.beside_paper() in (DOCS / "accuracy.md").read_text()


def test_a_log_of_repeats_shows_what_is_served_and_others_exclude_seen_items() -> None:
    figures = {"windowed": {"masked": {"ndcg@10": 0.1}, "unmasked": {"ndcg@10": 0.2}}}
    row = {"metrics": {"test": {"rows": figures}}, "recipe": {"seen": "candidates"}}
    assert overview.served(row) == 0.2
    assert overview.served({**row, "recipe": {"seen": "excluded"}}) == 0.1
