"""Searching the catalogue: nothing that does not match, nothing that matches left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.bundle.catalogue import Catalogue
from deployrec_demo.shelf import Shelf, spoken

TITLES = ["Winter Bridge", "The Winter Garden", "Garden of Glass", "Bridge", 'A, "quoted" [title]']
GENRES = ["Drama Crime", "Drama", "Comedy", "", "Crime"]
YEARS = ["1990", "2001", "1990", "2016", ""]


def shelf_of(folder: Path, genres: Sequence[str] = GENRES, column: str = "genre") -> Shelf:
    path = folder / "items.csv"
    lines = [f"item_id,title,popularity,{column},release_year"]
    for place, title in enumerate(TITLES):
        quoted = title.replace('"', '""')
        lines.append(f'i{place},"{quoted}",{10 * place},"{genres[place]}",{YEARS[place]}')
    path.write_text("\n".join(lines) + "\n")
    return Shelf.of(Catalogue.parse(path.read_bytes(), path, len(TITLES)))


@given(
    words=st.lists(st.sampled_from(["winter", "BRID", "garden", "1990", "drama", "x", "[title]"]), max_size=3),
    kinds=st.sets(st.sampled_from(["Drama", "Crime", "Comedy"]), max_size=2),
)
def test_search_finds_all_that_match_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], kinds: set[str]
) -> None:
    shelf = shelf_of(tmp_path_factory.mktemp("shelf"))
    found = shelf.search(" ".join(words), kinds, most=99)
    expected = {
        row
        for row in range(1, 6)
        if all(word.lower() in f"{TITLES[row - 1]} {GENRES[row - 1]} {YEARS[row - 1]}".lower() for word in words)
        and (not kinds or kinds & set(GENRES[row - 1].split()))
    }
    assert sorted(found) == sorted(expected)


def test_titles_that_begin_with_the_words_come_first_then_popular_ones(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    assert shelf.search("bridge") == [4, 1]
    assert shelf.search("winter") == [1, 2]
    assert shelf.search("") == [5, 4, 3, 2, 1]
    assert shelf.search("", most=2) == [5, 4]


def test_details_and_kinds(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    assert shelf.details[1:] == ["Crime, Drama · 1990", "Drama · 2001", "Comedy · 1990", "2016", "Crime"]
    assert shelf.all_kinds == ["Comedy", "Crime", "Drama"]


def test_kinds_with_spaces_stay_whole_where_another_separator_parts_them(tmp_path: Path) -> None:
    genres = ["Home & Garden|Toys", "Toys", "Home & Garden", "", "Toys"]
    assert shelf_of(tmp_path, genres, "category").all_kinds == ["Home & Garden", "Toys"]


def test_no_genre_column_no_kinds(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, column="shop")
    assert shelf.all_kinds == []
    assert shelf.details[1] == "Drama Crime · 1990"
    assert shelf.assortment({5}) == [4, 3, 2, 1]


def test_assortment_takes_one_of_each_kind_and_leaves_out_what_is_shown(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    assert set(shelf.assortment(set())[:3]) == {2, 5, 3}
    assert shelf.assortment(set())[3:] == [4, 1]
    assert shelf.assortment({5}, most=9).count(1) == 1
    assert 5 not in shelf.assortment({5})


def test_long_values_are_shown_in_part(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, ["a" * 61, "b" * 60, "", "", ""], column="description")
    assert shelf.details[1] == "a" * 59 + "… · 1990"
    assert shelf.details[2] == "b" * 60 + " · 2001"


@pytest.mark.parametrize(
    ("filed", "said"),
    [
        ("Empire Strikes Back, The (1980)", "The Empire Strikes Back (1980)"),
        ("Bug's Life, A (1998)", "A Bug's Life (1998)"),
        ("Misérables, Les", "Les Misérables"),
        ("Crouching Tiger, Hidden Dragon", "Crouching Tiger, Hidden Dragon"),
        ("Now, The Story", "Now, The Story"),
    ],
)
def test_titles_are_read_as_one_says_them(filed: str, said: str) -> None:
    assert spoken(filed) == said
