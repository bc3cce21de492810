"""One log, many forms: whatever it is written as, the same data set comes back."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset, binary, load_dataset
from deployrec.data.ids import MISSING, MISSING_IN_FILES
from deployrec.errors import DataError

# A zero byte is refused in text files; a line break stands in a TSV for the next row.
LETTERS = st.characters(codec="utf-8", exclude_characters="\x00\n\r\t")
IDS = st.text(LETTERS, min_size=1, max_size=4).filter(
    lambda text: text.strip() and text.strip() not in (*MISSING, *MISSING_IN_FILES)
) | st.sampled_from(['"', '""', 'a"b', '"a', ",", ";", "x,y", "'", "007", "-1", "10", "1e5", "ä|b", "ÿ"])
NUMBERS = st.integers(0, 30)
ROWS = st.lists(st.tuples(IDS, IDS, st.integers(-5, 10**10), IDS), min_size=2, max_size=30)
NAMES = ["user_id", "item_id", "timestamp", "title"]


def frame_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=NAMES, orient="row")
    assume(frame["user_id"].n_unique() > 1 and frame["item_id"].n_unique() > 1)
    return frame


def forms(frame: pl.DataFrame, folder: Path) -> Iterator[Any]:
    """Files and frames that hold the same log."""
    for style in ("necessary", "always", "non_numeric"):
        frame.write_csv(folder / f"{style}.csv", quote_style=style)
        frame.write_csv(folder / f"{style}.tsv", quote_style=style, separator="\t")
        yield folder / f"{style}.csv"
        yield folder / f"{style}.tsv"
    text = frame.write_csv()
    (folder / "windows.CSV").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (folder / "utf16.csv").write_text(text, encoding="utf-16", newline="")
    (folder / "excel.csv").write_text("sep=;\n" + frame.write_csv(separator=";"), newline="")
    frame.write_csv(folder / "semicolons.csv", separator=";")
    frame.rename(str.upper).write_csv(folder / "capitals.csv")
    (folder / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "log.csv.bz2").write_bytes(bz2.compress(text.encode()))
    (folder / "log.tsv.xz").write_bytes(lzma.compress(frame.write_csv(separator="\t").encode()))
    frame.write_csv(folder / "log.csv.zst", compression="zstd")
    frame.write_parquet(folder / "log.parquet")
    for name in ("windows.CSV", "utf16.csv", "excel.csv", "semicolons.csv", "capitals.csv", "log.csv.gz",
                 "log.csv.bz2", "log.tsv.xz", "log.csv.zst", "log.parquet"):  # fmt: skip
        yield folder / name
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    for at in range(3):
        part = frame.slice(at * (len(frame) // 3), None if at == 2 else len(frame) // 3)
        part.write_parquet(parts / f"part-{8 + at}.parquet")
        part.write_csv(folder / f"day{8 + at}.csv")
    yield parts
    yield str(parts / "*.parquet")
    yield str(folder / "day*.csv")
    yield from (frame, frame.lazy(), frame.to_arrow(), frame.to_pandas())


def same(found: Dataset, expected: Dataset) -> bool:
    return found.digest == expected.digest and found.items.equals(expected.items)


@given(ROWS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_form_is_the_same_data_set(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    frame = frame_of(rows)
    expected = load_dataset(frame)
    by_user: dict[str, list[tuple[int, str]]] = {}
    for user, item, time, _ in rows:
        by_user.setdefault(user, []).append((time, item))
    ids = ["", *expected.items["item_id"]]
    for number, user in enumerate(expected.user_ids):
        own = sorted(by_user[user], key=lambda event: event[0])
        assert [ids[row] for row in expected.history(number)] == [item for _, item in own]
    for form in forms(frame, tmp_path):
        assert same(load_dataset(form), expected), form


@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 10**9), IDS), min_size=2, max_size=30))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_are_one_id_whatever_they_are_stored_as(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    frame = frame_of(rows)
    expected = load_dataset(frame)
    for kind in (pl.Int16, pl.UInt64, pl.Float64, pl.Float32, pl.Decimal(12, 2), pl.String):
        other = frame.with_columns(pl.col("user_id", "item_id").cast(kind))
        other.write_csv(tmp_path / "log.csv")
        other.write_parquet(tmp_path / "log.parquet")
        for form in (other, other.to_pandas(), tmp_path / "log.csv", tmp_path / "log.parquet"):
            assert load_dataset(form).digest == expected.digest, kind


@given(ROWS, st.integers(8, 60))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_may_end_anywhere(tmp_path: Path, rows: list[tuple[Any, ...]], size: int) -> None:
    frame = frame_of(rows).with_columns(pl.col("title").str.replace_all("a", "\n"))
    frame.write_csv(tmp_path / "log.csv")
    expected = load_dataset(tmp_path / "log.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary, "BLOCK", size)
        found = load_dataset(tmp_path / "log.csv")
    assert same(found, expected)
    assert found.num_events == len(rows)


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "log" / "day=1"
    folder.mkdir(parents=True)
    (tmp_path / "log" / "_SUCCESS").write_text("")
    for at in (9, 10, 100):
        pl.DataFrame({"user_id": ["a", "b"], "item_id": [f"i{at}"] * 2}).write_parquet(folder / f"part-{at}.parquet")
    dataset = load_dataset(tmp_path / "log", time=None)
    assert dataset.name == "log"
    assert [dataset.items["item_id"][row - 1] for row in dataset.history(0).tolist()] == ["i9", "i10", "i100"]


def test_a_bad_row_of_a_part_is_named(tmp_path: Path) -> None:
    for at, item in enumerate(["x", None, "y"]):
        frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["z", item], "timestamp": [1, 2]})
        frame.write_parquet(tmp_path / f"{at}.parquet")
    with pytest.raises(DataError, match=r"1\.parquet: row 2: expected an item id in column 'item_id'; got nothing"):
        load_dataset(tmp_path)


def test_parts_with_times_of_different_kinds_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [10**9, 10**9 + 1]})
    frame.write_parquet(tmp_path / "0.parquet")
    frame.with_columns(pl.from_epoch("timestamp")).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"expected one type of times in all parts; got Int64 in .*0\.parquet"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(("sep", "text"), [("||", "||"), ("tab", "\t"), ("\\t", "\t"), ("¦", "¦"), (":", ":")])
def test_a_separator_can_be_named(tmp_path: Path, sep: str, text: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text.join(NAMES[:3]) + "\n" + "".join(f"{text.join(row)}\n" for row in ("ax1", "by2", "az3")))
    assert load_dataset(path, sep=sep).user_ids == ["a", "b"]
    with pytest.raises(DataError, match="or pass --sep"):
        load_dataset(path)


def test_a_frame_is_recorded_by_its_options_and_a_file_by_its_path(tmp_path: Path) -> None:
    frame = pl.DataFrame({"who": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    frame.write_csv(tmp_path / "log.csv")
    kept = load_dataset(frame, user="who", items=frame).origin
    assert kept is not None
    assert (kept.source, kept.options) == (None, {"user": "who"})
    read = load_dataset(tmp_path / "log.csv", user="who", items=str(tmp_path / "log.csv"), min_user=1)
    assert read.origin is not None
    assert read.origin.source == str(tmp_path / "log.csv")
    assert read.origin.options == {"user": "who", "items": str(tmp_path / "log.csv")}
    assert load_dataset(read) is read
    assert load_dataset(frame, user="who").digest == read.digest


@pytest.mark.parametrize("source", [{"user_id": [1]}, [1, 2], None, 7])
def test_what_is_no_log_is_refused(source: Any) -> None:
    with pytest.raises(DataError, match=r"expected a path or a frame .*; got .*; make one of it"):
        load_dataset(source)
