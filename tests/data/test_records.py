"""Rows are cut as the csv module cuts them, wherever a row is odd; a bad one is found by its line, and alone."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.data import load_dataset
from deployrec.data.records import RowShape, cut
from deployrec.errors import DataError

CSV = RowShape(3, ",", quoted=True)
FIELDS = st.text(st.sampled_from('a",\n\r é'), max_size=5)
HEADER = "user_id,item_id,timestamp,title\n"


def parsed(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_the_csv_module_writes_comes_back(rows: list[tuple[str, ...]], end: str, quote_all: bool) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    # A row of nothing but blanks is passed over.
    rows = [row for row in rows if any(field.strip(' \r\n,"') for field in row)]
    # A lone carriage return is nowhere quoted by the csv module before Python 3.13.
    rows = [tuple(field.replace("\r", "") for field in row) for row in rows]
    writer.writerows(rows)
    found = cut(text.getvalue().encode(), 1, RowShape(3, ",", quoted=True, number=2), last=True)
    assert not found.bad
    assert [tuple(row) for row in parsed(found.content)] == rows
    starts = np.cumsum([1, *(1 + sum(field.count("\n") for field in row) for row in rows)])[:-1]
    assert found.lines.tolist() == starts.tolist()


ODD = [
    # the text, rows as they are read, bad lines
    ('a,5" pipe,1\nb,6" x,2\n', [["a", '5" pipe', "1"], ["b", '6" x', "2"]], []),
    ('a,"x,1\nb,y,2\nc,z,3\n', [["b", "y", "2"], ["c", "z", "3"]], [1]),
    ('a,"x,1\nb,5" y,2\nc,z,3\n', [["b", '5" y', "2"], ["c", "z", "3"]], [1]),
    ('a,"x,1\nb,y,2\nc,"z",3\n', [["b", "y", "2"], ["c", "z", "3"]], [1]),
    ('a,"x" y,1\nb,y,2\n', [["b", "y", "2"]], [1]),
    ('a,x,1\n\n,,\n  \nb,y\nc,z,3,4\n', [["a", "x", "1"], ["", "", ""]], [5, 6]),
    ('"a\nb",x,1\nb,y,2\n', [["a\nb", "x", "1"], ["b", "y", "2"]], []),
    ('"a\n\nb""",x,1\nb,"y\n",2\n', [['a\n\nb"', "x", "1"], ["b", "y\n", "2"]], []),
    ('a,"x\ny\n', [], [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rows", "bad"), ODD)
def test_an_odd_row_spoils_no_other(text: str, rows: list[list[str]], bad: list[int]) -> None:
    found = cut(text.encode(), 1, RowShape(3, ",", quoted=True, number=2), last=True)
    assert parsed(found.content) == rows
    assert [line for line, _ in found.bad] == bad


def test_a_row_that_goes_on_is_left_for_the_next_block() -> None:
    found = cut(b'a,x,1\nb,"y\n', 1, CSV, last=False)
    assert (parsed(found.content), found.rest, found.bad) == ([["a", "x", "1"]], b'b,"y\n', [])


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize(("line", "text"), [(12, 'u1,A3,3,"Best mug ever'), (900, 'u1,A3,3,"Best "mug"')])
def test_an_unclosed_quote_swallows_no_rows(tmp_path: Path, suffix: str, line: int, text: str) -> None:
    lines = [f"u{at % 50},p{at % 40},{at},thing {at % 40}" for at in range(1000)]
    lines[line - 2] = text
    lines[950] = 'u1,A4,950,5" nail'
    content = HEADER + "".join(f"{line}\n" for line in lines)
    path = tmp_path / f"log.{suffix}"
    path.write_text(content if suffix == "csv" else content.replace(",", "\t"))
    if suffix == "tsv":
        assert load_dataset(path).num_events == 1000
    else:
        with pytest.raises(DataError, match=rf"log\.csv:{line}: expected 4 fields .*; got a quote that encloses no"):
            load_dataset(path)
        dataset = load_dataset(path, on_bad_row="skip")
        assert dataset.num_events == 999
        assert dataset.notes[0].startswith(f"skipped 1 bad row: {path}:{line} (expected 4 fields")


SHORT = [
    ("log.csv", "user_id,item_id,timestamp,rating\n1,10,881250949,5\n2,11,881250950,4\n2,12,88125", 4),
    ("log.tsv", "user_id\titem_id\ttimestamp\trating\n1\t10\t881250949\t5\n2\t12\t88125", 3),
    ("log.inter", "user_id:token\titem_id:token\ttimestamp:float\trating:float\n1\t10\t8\t5\n2\t12\t88125\n", 3),
    ("ratings.dat", "1::10::5::881250949\n2::12::5\n", 2),
    ("u.data", "1\t10\t5\t881250949\n2\t12\t5", 2),
]


@pytest.mark.parametrize(("name", "content", "line"), SHORT)
def test_a_row_cut_short_in_a_column_nobody_reads_is_refused(
    tmp_path: Path, name: str, content: str, line: int
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}:{line}: expected 4 fields .*; got 3; mend or remove this row"):
        load_dataset(tmp_path / name)


@pytest.mark.parametrize(
    "row", ["1,2", "1,,3,t", ",2,3,t", "1,2,noon,t", '1,"2,3,t', "1,NULL,3,t", "1,2,nan,t"], ids=repr
)
def test_one_bad_row_in_many_is_found_as_fast_as_a_clean_file_is_read(tmp_path: Path, row: str) -> None:
    number = 300_000
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({name: rng.integers(0, 10**4, number) for name in HEADER.strip().split(",")})
    clean = frame.write_csv().splitlines()
    clean[200_000] = row
    (tmp_path / "log.csv").write_text("\n".join(clean))
    start = time.process_time()
    with pytest.raises(DataError, match=r"log\.csv:200001: "):
        load_dataset(tmp_path / "log.csv")
    # Processor seconds of all threads, about six times what it takes; row by row it was 5 s.
    assert time.process_time() - start < 1.5
    assert load_dataset(tmp_path / "log.csv", on_bad_row="skip").num_events == number - 1


def test_skipped_rows_are_counted_and_the_first_ones_listed(tmp_path: Path) -> None:
    bad = ["u,x", ",x,3,t", "u,,3,t", "u,x,,t", "u,x,never,t", "u,x,1,t,more", "u,None,1,t"]
    good = ["a,x,1,t", "b,y,2,t", "a,y,3,t"]
    path = tmp_path / "log.csv"
    path.write_text(HEADER + "\n".join([*good, *bad]))
    dataset = load_dataset(path, on_bad_row="skip")
    assert dataset.num_events == 3
    (note,) = dataset.notes
    assert note.startswith(f"skipped 7 bad rows: {path}:5 (expected 4 fields (user_id, item_id, timestamp, title))")
    assert note.endswith(" and 2 more")
    assert note.count("(expected") == 5
    path.write_text(HEADER + "\n".join(row for row in bad if "never" not in row))
    with pytest.raises(DataError, match="got an empty log"):
        load_dataset(path, on_bad_row="skip")


def test_exact_repeats_are_kept_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ["a,x,1,t", "a,y,1,t", "a,x,1,other", "b,x,1,t", "b,y,2,t", "b,x,1,t", "b,x,1,t"]
    path.write_text(HEADER + "\n".join(rows))
    dataset = load_dataset(path)
    assert dataset.num_events == 7
    assert dataset.notes == ("3 events repeat another exactly (same user, item and time): kept; "
                             "remove them if they are mistakes",)  # fmt: skip
    path.write_text(HEADER + "\n".join(rows[3:5] + rows[:2]))
    assert load_dataset(path).notes == ()
    assert load_dataset(path, time=None).notes == ()
