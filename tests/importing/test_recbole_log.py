"""A log under a checkpoint's settings: what RecBole keeps, and in which order it numbers items."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployrec.errors import DataError
from deployrec.importing.intervals import Intervals
from deployrec.importing.recbole_log import RecBoleLog, read_recbole_log
from tests.importing.conftest import FOLDER

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tplace:token\n"
ROWS = [
    ("ann", "b", 5, 30, "x"),
    ("bob", "a", 4, 10, "y"),
    ("ann", "c", 1, 20, "x"),
    ("bob", "b", 3, 40, "x"),
    ("cid", "d", 5, 50, "x"),
    ("ann", "a", 2, 60, "y"),
]


def read(folder: Path, **settings: Any) -> RecBoleLog:
    path = folder / "log.inter"
    path.write_text(HEADER + "".join("\t".join(map(str, row)) + "\n" for row in ROWS))
    return read_recbole_log(path, {"load_col": {"inter": ["user_id", "item_id"]}, **settings})


def test_items_are_numbered_by_first_appearance_and_events_sorted_by_time(tmp_path: Path) -> None:
    log = read(tmp_path)
    assert log.item_ids == ["b", "a", "c", "d"]
    assert log.events["item_id"].to_list() == ["c", "b", "a", "a", "b", "d"]


@pytest.mark.parametrize(
    ("settings", "items"),
    [
        ({"val_interval": {"rating": "[3,inf)"}}, ["b", "a", "d"]),
        ({"val_interval": {"rating": "[1,2];(4,5]"}}, ["b", "c", "d", "a"]),
        ({"val_interval": {"place": ["x"]}}, ["b", "c", "d"]),
        ({"val_interval": {"item_id": ["a", "d"]}}, ["a", "d"]),
        ({"val_interval": {"timestamp": "(10,50]"}}, ["b", "c", "d"]),
        ({"user_inter_num_interval": "[2,inf)"}, ["b", "a", "c"]),
        ({"user_inter_num_interval": "[2,2]"}, ["a", "b"]),
        ({"user_inter_num_interval": "[2,inf)", "item_inter_num_interval": "[2,inf)"}, ["b", "a"]),
        ({"rm_dup_inter": "first"}, ["a", "c", "b", "d"]),
    ],
)
def test_settings_that_keep_fewer_events(tmp_path: Path, settings: dict[str, Any], items: list[str]) -> None:
    assert read(tmp_path, **settings).item_ids == items


def test_files_beside_the_log_that_recbole_loaded(tmp_path: Path) -> None:
    """Items of X.item alone come last; events of items that it lacks go; without load_col.item it only has titles."""
    (tmp_path / "log.item").write_text("item_id:token\tname:token\nz\tZed\nb\tBe\na\tA\nc\tC\nz\tagain\n")
    (tmp_path / "log.user").write_text("user_id:token\nann\nbob\n")
    loaded = {"inter": ["user_id", "item_id"], "item": ["item_id", "name"]}
    filtering = {"filter_inter_by_user_or_item": True}
    assert read(tmp_path, **filtering).item_ids == ["b", "a", "c", "d"]
    assert read(tmp_path, load_col=loaded, **filtering).item_ids == ["b", "a", "c", "z"]
    assert read(tmp_path, load_col=None, **filtering).item_ids == ["b", "a", "c", "z"]
    assert read(tmp_path, load_col=loaded, item_inter_num_interval="[1,inf)").item_ids == ["b", "a", "c", "d"]


def test_recboles_own_datasets(tmp_path: Path) -> None:
    """Items are numbered, and histories sorted, as RecBole did under six settings."""
    for name in ("log.inter.gz", "log.item"):
        shutil.copy(FOLDER / name, tmp_path)
    with gzip.open(FOLDER / "datasets.json.gz", "rt", encoding="utf-8") as file:
        made = json.load(file)
    assert len(made) == 6
    for dataset in made:
        log = read_recbole_log(tmp_path / "log.inter.gz", dataset["settings"])
        assert log.item_ids == dataset["item_ids"]
        histories = dict(log.events.group_by("user_id").agg("item_id").iter_rows())
        assert {user: histories[user] for user in dataset["histories"]} == dataset["histories"]


def test_settings_that_are_refused(tmp_path: Path) -> None:
    for settings, reason in (
        ({"benchmark_filename": ["train"]}, "expected a checkpoint without benchmark_filename"),
        ({"alias_of_item_id": ["other"]}, "expected a checkpoint without alias_of_item_id"),
        ({"USER_ID_FIELD": "visitor"}, "expected the column 'visitor'"),
        ({"TIME_FIELD": "place"}, "expected times of type float .* got place:token"),
        ({"user_inter_num_interval": "five"}, "expected an interval such as"),
        ({"user_inter_num_interval": "[100,inf)"}, "expected events left in"),
    ):
        with pytest.raises(DataError, match=reason):
            read(tmp_path, **settings)
    ROWS.append(("cid", "a", 1, 50, "x"))
    try:
        with pytest.raises(DataError, match="expected different times in a log for rm_dup_inter=first"):
            read(tmp_path, rm_dup_inter="first")
    finally:
        ROWS.pop()


def test_logs_that_are_not_recboles(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\na,b\n")
    with pytest.raises(DataError, match=r"expected the \.inter file of the training"):
        read_recbole_log(tmp_path / "log.csv", {})
    (tmp_path / "bare.inter").write_text("user_id\titem_id\na\tb\n")
    with pytest.raises(DataError, match="expected a header such as user_id:token"):
        read_recbole_log(tmp_path / "bare.inter", {})


def test_intervals() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, np.nan])
    for text, inside in (("(0,2]", [1, 2]), ("[0,1);[3,inf)", [0, 3]), ("(-inf,inf)", [0, 1, 2, 3])):
        found = Intervals.parse(text)
        assert found is not None
        assert np.flatnonzero(found.holds(values)).tolist() == inside
    assert Intervals.parse(None) is None
    for text in ("[1,2", "1,2", "[one,2]", "", "[1]"):
        with pytest.raises(DataError, match="expected an interval"):
            Intervals.parse(text)
