"""What is known of the items: read from files and frames, and items.csv as the bundle reads it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployrec.bundle.catalogue import Catalogue
from deployrec.data import load_dataset, write_items
from deployrec.errors import DataError
from deployrec.text import printable

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
FRAMES = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 10**6), TEXT), max_size=8, unique_by=lambda row: row[0])
SCHEMA = {"item_id": pl.String, "title": pl.String, "popularity": pl.Int64, "genre": pl.String}
LOG = "user_id,item_id,timestamp,title\na,10,1,Ten\na,11,2,Eleven\nb,10,3,\nb,12,4,\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


@given(FRAMES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_items_come_back(tmp_path: Path, rows: list[tuple[str, str, int, str]]) -> None:
    path = tmp_path / "items.csv"
    write_items(pl.DataFrame(rows, schema=SCHEMA, orient="row"), path)
    read = Catalogue.parse(path.read_bytes(), path, len(rows))
    shown = [(item_id, printable(title), count, printable(genre)) for item_id, title, count, genre in rows]
    assert list(zip(read.item_ids, read.titles, read.popularity, read.columns["genre"], strict=True))[1:] == shown


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


def write_facts(folder: Path) -> list[tuple[Path | pl.DataFrame, dict[str, str]]]:
    """The same facts in every form that is read."""
    facts = pl.DataFrame({"item_id": [11, 10, 12], "name": ["E", "T", None], "genres": [["War", "Drama"], ["War"], []]})
    facts.write_parquet(folder / "facts.parquet")
    flat = facts.with_columns(pl.col("genres").list.join("|"))
    flat.write_csv(folder / "facts.CSV", separator=";")
    flat.write_csv(folder / "facts.tsv.gz", separator="\t", compression="gzip", check_extension=False)
    flat.with_columns(pl.col("item_id").cast(pl.Float64)).rename({"item_id": "ITEM_ID"}).write_csv(folder / "f.csv")
    (folder / "facts.item").write_text("item_id:token\tname:token_seq\tgenres:token_seq\n" + flat.write_csv(
        separator="\t", include_header=False, quote_style="never"))  # fmt: skip
    return [*sorted(file for file in folder.iterdir() if file.name != "log.csv"), facts, facts.to_pandas()]


def test_every_form_gives_the_same_items(log: Path, tmp_path: Path) -> None:
    forms = write_facts(tmp_path)
    assert len(forms) == 7
    for facts in forms:
        items = load_dataset(log, items=facts).items
        assert items.columns == ["item_id", "title", "popularity", "genres"]
        assert items.rows() == [("10", "T", 2, "War"), ("11", "E", 1, "War|Drama"), ("12", "12", 1, "")], facts


def test_titles_come_from_the_log_where_the_items_have_none(log: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("item_id,shelf\n11,A\n10,B\n")
    dataset = load_dataset(log, items=tmp_path / "facts.csv")
    assert dataset.items.rows() == [("10", "Ten", 2, "B"), ("11", "Eleven", 1, "A"), ("12", "12", 1, "")]
    assert dataset.notes == (f"1 of 3 items of the log are not in {tmp_path / 'facts.csv'}",)


def test_the_title_column_can_be_named(log: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text(
        "item_id,title,label,popularity\n10,no,Ten!,9\n10,no,Twice,9\n11,no,Eleven!,9\n"
    )
    dataset = load_dataset(log, items=tmp_path / "facts.csv", title="Label")
    assert dataset.items["title"].to_list() == ["Ten!", "Eleven!", "12"]
    assert dataset.items["popularity"].to_list() == [2, 1, 1]
    assert "1 row repeats" in dataset.notes[1]
    assert "'title', 'popularity' of" in dataset.notes[2]
    assert load_dataset(log, title="timestamp", time=None).items["title"].to_list() == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "which is not there"),
        ("", "expected a header line"),
        ("sku,title\n10,A\n", "expected column 'item_id'"),
        ("item_id,title\n10,A\n11\n", "facts.csv:3: expected 2 fields"),
        ("item_id,title\n,A\n", "facts.csv:2: expected an item id"),
        ("item_id,title\nx10,A\n", "got none of them (the log has '1"),
        ("item_id,title,title\n10,A,B\n", "got 'title' twice"),
    ],
)
def test_other_files_are_refused_in_one_line(log: Path, tmp_path: Path, content: str | None, text: str) -> None:
    path = tmp_path / "facts.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_dataset(log, items=path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_control_characters_are_escaped_and_endless_texts_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["a\x1b", "b"], "title": ["\x1b[2JFilm\n", "Zwölf"], "popularity": [2, 1]})
    write_items(frame, tmp_path / "items.csv")
    read = Catalogue.parse((tmp_path / "items.csv").read_bytes(), tmp_path, 2)
    assert read.titles[1:] == ["\\u001b[2JFilm\\u000a", "Zwölf"]
    assert read.item_ids[1:] == ["a\x1b", "b"]
    for column in ("title", "item_id"):
        long = frame.with_columns(pl.Series(column, ["x", "y" * 100_001]))
        with pytest.raises(DataError, match=f"at most 100,000 characters in '{column}'; got 100,001 for item"):
            write_items(long, tmp_path / "items.csv")
    assert len(read.titles) == 3
