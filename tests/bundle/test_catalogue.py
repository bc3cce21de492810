"""items.csv in: ids, titles and popularity by row; anything else is one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deployrec.bundle.catalogue import Catalogue
from deployrec.errors import BundleError

GOOD = 'item_id,title,popularity,year\n7,"Seven, a ""film""",3,1995\nx y,Zwölf\u2028,0,\n0,,5,2000\n'


def read(content: str, num_items: int = 3) -> Catalogue:
    return Catalogue.parse(content.encode(), Path("items.csv"), num_items)


def test_rows_start_at_one() -> None:
    catalogue = read(GOOD)
    assert catalogue.item_ids == ["", "7", "x y", "0"]
    assert catalogue.titles == ["", 'Seven, a "film"', "Zwölf\u2028", ""]
    assert catalogue.rows == {"7": 1, "x y": 2, "0": 3}
    assert catalogue.num_items == 3
    assert catalogue.columns == {"year": ["", "1995", "", "2000"]}


def test_the_popular_come_first_and_the_unseen_not_at_all() -> None:
    rows, scores = read(GOOD).most_popular(3)
    assert rows == [3, 1]
    assert scores == pytest.approx([math.log(5 / 8), math.log(3 / 8)])


def test_equals_keep_their_order() -> None:
    lines = "".join(f"i{row},t,{2 + row % 2}\n" for row in range(1, 2001))
    catalogue = read("item_id,title,popularity\n" + lines, 2000)
    assert catalogue.most_popular(1500)[0] == [*range(1, 2000, 2), *range(2, 1001, 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got the columns ;"),
        (GOOD.replace("title", "name"), "got the columns item_id,name,popularity,year;"),
        (GOOD.replace(",3,", ",three,"), "'three'"),
        (GOOD.replace(",3,", f",{10**30},"), "popularity below 0 or beyond"),
        (GOOD.replace(",3,", ",1" + "0" * 5000 + ","), "got Exceeds the limit"),
        (GOOD.replace(",3,", ",-3,"), "popularity below 0 or beyond"),
        (GOOD.replace("Zwölf", "x" * 2**18), "field larger than field limit"),
        (GOOD.replace("x y,Zwölf\u2028,0,", "x y"), "not enough values"),
        (GOOD.replace("5,2000", "5"), "shorter"),
        (GOOD.replace("x y", "7"), "expected 3 distinct items"),
        (GOOD[: GOOD.rindex("0,,5")], "expected 3 distinct items .* got 2"),
    ],
)
def test_a_broken_table_is_one_line(content: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_item_rows_names_the_ids_in_their_order_and_nothing_else() -> None:
    digest = read(GOOD).item_rows()
    assert read(GOOD.replace(",3,", ",4,").replace("Zwölf", "Twelve")).item_rows() == digest
    assert read(GOOD.replace("x y", "xy")).item_rows() != digest
