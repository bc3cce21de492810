"""A missing value is nobody's id, in text and in typed columns; one id is one text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from deployrec.data import load_dataset
from deployrec.data.ids import MISSING, MISSING_IN_FILES
from deployrec.errors import DataError

NAN = float("nan")


def csv_of(ids: list[str], column: str) -> str:
    others = [f"o{at % 2}" for at in range(len(ids))]
    pairs = zip(ids, others, strict=True) if column == "user_id" else zip(others, ids, strict=True)
    return "user_id,item_id,timestamp\n" + "".join(f"{u},{i},{at}\n" for at, (u, i) in enumerate(pairs))


TIME = 978_300_000


def frame_of(ids: Any, column: str) -> pl.DataFrame:
    other = "item_id" if column == "user_id" else "user_id"
    return pl.DataFrame({column: ids, other: ["o0", "o1"] * (len(ids) // 2), "timestamp": range(TIME, TIME + len(ids))})


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("missing", ["", '""', " ", '" "', *MISSING, *MISSING_IN_FILES, '"NaN"'])
def test_what_text_files_write_for_a_missing_value_is_refused(tmp_path: Path, column: str, missing: str) -> None:
    for name, separator in (("log.csv", ","), ("log.tsv", "\t")):
        path = tmp_path / name
        path.write_text(csv_of(["a", "b", missing, "b"], column).replace(",", separator))
        with pytest.raises(DataError, match=rf"log\..sv:4: expected an? \w+ id in column '{column}'; got .*this row"):
            load_dataset(path)
        assert load_dataset(path, on_bad_row="skip").num_events == 3


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize(
    "ids",
    [
        *([1.0, NAN, 2.0, 1.0], [1, None, 2, 1], [1.0, float("inf"), 2.0, 1.0]),
        *(["a", missing, "b", "a"] for missing in (None, "", "nan", "<NA>")),
    ],
)
def test_what_frames_hold_for_a_missing_value_is_refused(tmp_path: Path, column: str, ids: list[Any]) -> None:
    frame = frame_of(pl.Series(ids), column)
    frame.write_parquet(tmp_path / "log.parquet")
    for source, name in (
        (frame, "the frame"),
        (frame.to_pandas(), "the frame"),
        (tmp_path / "log.parquet", ".parquet"),
    ):
        with pytest.raises(
            DataError, match=rf"{name}: row 2: expected an? \w+ id in column '{column}'; got .*this row"
        ):
            load_dataset(source)


def test_pandas_missing_values_of_every_kind_are_refused() -> None:
    for values in (["a", pd.NA, "b", "a"], ["a", NAN, 1, "a"], pd.array([1, None, 2, 1], dtype="Int64"),
                   pd.Categorical(["a", None, "b", "a"])):  # fmt: skip
        frame = pd.DataFrame({"user_id": values, "item_id": ["x", "y"] * 2, "timestamp": range(4)})
        with pytest.raises(DataError, match="row 2: expected a user id"):
            load_dataset(frame)


def test_frames_have_a_null_of_their_own_and_may_call_an_item_na() -> None:
    assert load_dataset(frame_of(["NA", "b", "NA", "n/a"], "item_id")).items["item_id"].to_list() == ["NA", "b", "n/a"]


def test_pandas_without_pyarrow_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_of([1.0, 2.0, 1.0, 3.0], "user_id").to_pandas()
    expected = load_dataset(frame).digest

    def absent(column: object) -> None:
        raise ImportError("pyarrow")

    monkeypatch.setattr("polars.from_pandas", absent)
    assert load_dataset(frame).digest == expected
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s")
    assert load_dataset(frame).digest == expected


@pytest.mark.parametrize("ids", [["5.01E+12", "5.02E+12"], ["1e+18", "2e+18"], ["123456789012345678.0", "7.0"]])
def test_numbers_that_lost_their_digits_are_no_ids(tmp_path: Path, ids: list[str]) -> None:
    (tmp_path / "log.csv").write_text(csv_of(ids, "item_id"))
    with pytest.raises(
        DataError, match=r"log\.csv:2: expected an item id with all its digits in column 'item_id'; got"
    ):
        load_dataset(tmp_path / "log.csv")
    typed = frame_of([2.0**60, 2.0**61], "user_id")
    with pytest.raises(DataError, match="row 1: expected a user id with all its digits"):
        load_dataset(typed)


def test_decimals_that_mean_something_stay(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(csv_of(["1.0", "1.5", "007", "1.0"], "item_id"))
    assert load_dataset(tmp_path / "log.csv").items["item_id"].to_list() == ["1.0", "1.5", "007"]
    (tmp_path / "log.csv").write_text(csv_of(["007.0", "1.00", "-3", "1"], "item_id"))
    assert load_dataset(tmp_path / "log.csv").items["item_id"].to_list() == ["1", "007", "-3"]


@pytest.mark.parametrize("ids", [[["a"], ["b"]], [{"a": 1}, {"a": 2}], [b"a", b"b"]])
def test_what_is_no_text_or_number_is_no_id(ids: list[Any]) -> None:
    with pytest.raises(DataError, match="expected ids as text or numbers in column 'item_id'; got"):
        load_dataset(frame_of(ids, "item_id"))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("user_id,item_id,timestamp,user_id", "every column name once in .*log.csv; got 'user_id' twice"),
        ("user_id,item_id,timestamp,item_id ", "got 'item_id' twice"),
        ("USER,item_id,timestamp,x", "expected column 'user_id' .*; got USER, item_id, timestamp, x; name .* --user"),
        ("User_Id,USER_ID,item_id,timestamp", "expected column 'user_id'"),
    ],
)
def test_a_column_is_never_guessed(tmp_path: Path, header: str, text: str) -> None:
    (tmp_path / "log.csv").write_text(f"{header}\na,x,1,2\nb,y,2,3\n")
    with pytest.raises(DataError, match=text):
        load_dataset(tmp_path / "log.csv")


def test_nameless_columns_may_be_many(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(",User_ID,item_id,TIMESTAMP,,\n0,a,x,1,,\n1,b,y,2,,\n")
    assert load_dataset(tmp_path / "log.csv").user_ids == ["a", "b"]
