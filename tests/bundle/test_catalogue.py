"""items.csv in: ids, titles and popularity by row; anything else is one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deployrec.bundle.catalogue import Catalogue
from deployrec.errors import BundleError

GOOD = 'item_id,title,popularity,year\n7,"Seven, a ""film""",3,1995\nx y,Zwölf\u2028,0,\n0,,5,2000\n'


def read(tmp_path: Path, content: str, num_items: int = 3) -> Catalogue:
    (tmp_path / "items.csv").write_text(content, encoding="utf-8", newline="")
    return Catalogue.read(tmp_path / "items.csv", num_items)


def test_rows_start_at_one(tmp_path: Path) -> None:
    catalogue = read(tmp_path, GOOD)
    assert catalogue.item_ids == ["", "7", "x y", "0"]
    assert catalogue.titles == ["", 'Seven, a "film"', "Zwölf\u2028", ""]
    assert catalogue.rows == {"7": 1, "x y": 2, "0": 3}
    assert catalogue.num_items == 3
    assert catalogue.columns == {"year": ["", "1995", "", "2000"]}


def test_the_popular_come_first_and_the_unseen_not_at_all(tmp_path: Path) -> None:
    rows, scores = read(tmp_path, GOOD).most_popular(3)
    assert rows == [3, 1]
    assert scores == pytest.approx([math.log(5 / 8), math.log(3 / 8)])


def test_equals_keep_their_order(tmp_path: Path) -> None:
    lines = "".join(f"i{row},t,{2 + row % 2}\n" for row in range(1, 2001))
    catalogue = read(tmp_path, "item_id,title,popularity\n" + lines, 2000)
    assert catalogue.most_popular(1500)[0] == [*range(1, 2000, 2), *range(2, 1001, 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got the columns ;"),
        (GOOD.replace("title", "name"), "got the columns item_id,name,popularity,year;"),
        (GOOD.replace(",3,", ",three,"), "'three'"),
        (GOOD.replace("x y,Zwölf\u2028,0,", "x y"), "not enough values"),
        (GOOD.replace("5,2000", "5"), "shorter"),
        (GOOD.replace("x y", "7"), "expected 3 distinct items"),
        (GOOD[: GOOD.rindex("0,,5")], "expected 3 distinct items .* got 2"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_a_missing_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"items\.csv; got .*No such file"):
        Catalogue.read(tmp_path / "items.csv", 3)
