"""items.csv: what is written is read, and nothing is half-written."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployrec.data import read_items, write_items
from deployrec.errors import DataError

# A carriage return inside a field survives no CSV reader's universal newlines; ids and titles have none.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=6)
FRAMES = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 10**6), TEXT), max_size=8, unique_by=lambda row: row[0])
SCHEMA = {"item_id": pl.String, "title": pl.String, "popularity": pl.Int64, "genre": pl.String}


@given(FRAMES)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_items_come_back(tmp_path: Path, rows: list[tuple[str, str, int, str]]) -> None:
    items = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    path = tmp_path / "items.csv"
    write_items(items, path)
    assert read_items(path).equals(items)
    # The torch-free runtime reads the same file with the standard library.
    with path.open(encoding="utf-8", newline="") as file:
        assert [tuple(row) for row in csv.reader(file)][1:] == [(i, t, str(p), g) for i, t, p, g in rows]


def test_empty_fields_are_empty_text(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,popularity,genre\na,,1,\n")
    assert read_items(tmp_path / "items.csv").row(0) == ("a", "", 1, "")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "items.csv"
    path.write_text("old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_items(pl.DataFrame([("a", "A", 1, "")], schema=SCHEMA, orient="row"), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "does not read as one"),
        ("", "does not read as one"),
        ("item_id,title,popularity\na,A,many\n", "does not read as one"),
        ("title,item_id,popularity\nA,a,1\n", "expected the columns item_id, title, popularity"),
        ("item_id,title,popularity\na,A,1\na,B,1\n", "got 'a' twice"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: str | None, text: str) -> None:
    path = tmp_path / "items.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_items(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
