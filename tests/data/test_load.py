"""Logs from files: every format gives the same data set, and bad input one line."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from deployrec.data import load_dataset
from deployrec.errors import DataError

EVENTS = [
    ("7", "31", 978300760),
    ("12", "4", 978302109),
    ("7", "4", 978300001),
    ("12", "50", 978302109),
    ("12", "31", 978300000),
]
INTER = "user_id:token\titem_id:token\ttimestamp:float\n"


def write_recbole(folder: Path) -> Path:
    folder.mkdir()
    rows = "".join(f"{user}\t{item}\t{at}\n" for user, item, at in EVENTS)
    (folder / f"{folder.name}.inter").write_text(INTER + rows)
    return folder


def write_formats(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The same log in every format that is read."""
    names = {"user": "who", "item": "what", "time": "at"}
    frame = pl.DataFrame(EVENTS, schema=["who", "what", "at"], orient="row")
    dates = frame.with_columns(pl.from_epoch("at"))
    decimals = frame.with_columns(pl.col("at", "who").cast(pl.Float64))
    frame.write_csv(folder / "named.csv")
    dates.write_csv(folder / "dates.csv")
    frame.write_csv(folder / "tabs.tsv", separator="\t")
    frame.write_parquet(folder / "named.parquet")
    dates.write_parquet(folder / "dates.parquet")
    decimals.write_parquet(folder / "decimals.parquet")
    (folder / "ml").mkdir()
    (folder / "ml" / "ratings.dat").write_text("".join(f"{u}::{i}::5::{t}\n" for u, i, t in EVENTS))
    (folder / "100k").mkdir()
    (folder / "100k" / "u.data").write_text("".join(f"{u}\t{i}\t5\t{t}\n" for u, i, t in EVENTS))
    (folder / "windows.csv").write_bytes(
        b"\xef\xbb\xbfextra,at,what,who\r\n" + b"".join(f'"a, b",{t},{i},{u}\r\n\r\n'.encode() for u, i, t in EVENTS)
    )
    with_columns = [path for path in folder.iterdir() if path.is_file()]
    return [(path, names) for path in with_columns] + [(folder / "ml", {}), (folder / "100k" / "u.data", {})]


def test_every_format_gives_the_same_data_set(tmp_path: Path) -> None:
    expected = load_dataset(write_recbole(tmp_path / "tiny"))
    assert expected.items["item_id"].to_list() == ["31", "4", "50"]
    assert [expected.history(user).tolist() for user in (0, 1)] == [[2, 1], [1, 2, 3]]
    folder = tmp_path / "formats"
    folder.mkdir()
    sources = write_formats(folder)
    assert len(sources) == 9
    for path, names in sources:
        assert load_dataset(path, **names).digest == expected.digest, path


def test_recbole_item_file_names_the_items(tmp_path: Path) -> None:
    folder = write_recbole(tmp_path / "tiny")
    (folder / "tiny.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\n"
        '31\tSay "Yes\t1999\tDrama\n50\t\t\tWar\n'
    )
    items = load_dataset(folder).items
    assert items.columns == ["item_id", "title", "popularity", "release_year", "genre"]
    assert items.rows() == [("31", 'Say "Yes', 2, "1999", "Drama"), ("4", "4", 2, "", ""), ("50", "50", 1, "", "War")]


def test_movielens_titles_are_latin_1_and_lose_their_year(tmp_path: Path) -> None:
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("".join(f"{u}::{i}::5::{t}\n" for u, i, t in EVENTS))
    (folder / "movies.dat").write_bytes("4::Star Wars: Léon (1994)::Crime|War\n31::Amélie::Comedy\n".encode("latin-1"))
    dataset = load_dataset(folder)
    assert dataset.name == "ml-1m"
    assert dataset.items.rows() == [
        ("31", "Amélie", 2, "Comedy", ""),
        ("4", "Star Wars: Léon", 2, "Crime|War", "1994"),
        ("50", "50", 1, "", ""),
    ]


def test_movielens_100k_titles(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("".join(f"{u}\t{i}\t5\t{t}\n" for u, i, t in EVENTS))
    genres = "|".join("0" * 19)
    (tmp_path / "u.item").write_bytes(f"31|Café (1995)|01-Jan-1995||http://x|{genres}\n".encode("latin-1"))
    assert load_dataset(tmp_path).items.select("title", "release_year").rows()[0] == ("Café", "1995")


def test_csv_titles_and_file_order(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text('user_id,item:id,title\na,x,\na,y,"Y, why"\nb,x,X\nb,y,\n')
    dataset = load_dataset(path, item="item:id", time=None)
    assert dataset.items["title"].to_list() == ["X", "Y, why"]
    assert [dataset.history(user).tolist() for user in (0, 1)] == [[1, 2], [1, 2]]


def test_nanoseconds_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    start = 1_700_000_000_000_000_000
    path.write_text(f"user_id,item_id,timestamp\na,x,{start + 2}\na,y,{start + 1}\nb,x,{start}\n")
    assert load_dataset(path).history(0).tolist() == [2, 1]


BAD_FILES = [
    ("log.inter", "", ["expected a header line in {path}"]),
    ("log.inter", INTER, ["expected at least one event in {path}; got an empty log"]),
    ("log.inter", "user_id:token\titem:token\n1\t2\n", ["expected column 'item_id' in {path}; got user_id, item;"]),
    ("log.inter", INTER + "1\t2\t3\n\n1\t5\n1\t6\n", ["{path}:4: expected 3 fields", "got 2;", "all 2 such rows"]),
    ("log.inter", INTER + "1\t2\t3\n1\t5\t6\t7\n", ["{path}:3: expected 3 fields", "got 4;", "this row"]),
    ("log.inter", INTER + "1\t2\t3\n1\t5\tsoon\n", ["{path}:3: expected a number or a date", "got 'soon'"]),
    ("log.inter", INTER + "1\t2\tnan\n1\t5\t1\n", ["{path}:2: expected a number or a date", "got 'nan'"]),
    ("log.inter", INTER + "1\t2\t3\n\t5\t6\n", ["{path}:3: expected a user id in column 'user_id'; got nothing"]),
    ("log.csv", 'user_id,item_id,timestamp\n"a\nb",x,1\nb,,2\n', ["{path}:4: expected an item id", "got nothing"]),
    ("log.csv", "user_id,item_id,timestamp\na,x,2020-01-01\nb,x,2020-13-01\n", ["{path}:3:", "got '2020-13-01'"]),
    ("log.csv", b"user_id,item_id,timestamp\na,\xff,1\n", ["{path}:2: expected UTF-8 text; got byte 0xff"]),
    ("log.parquet", b"PAR1 no", ["expected a Parquet file; got {path}"]),
    ("log.json", "{}", ["expected a log", "got {path}"]),
    ("log.csv", 'user_id,item_id,timestamp\na,"\xff",1\n'.encode("latin-1"), ["{path}:2: expected UTF-8 text"]),
    ("log.csv", "user_id,item_id,timestamp\na,x,1\nb,\0,2\n", ["{path}:3: expected text; got a zero byte"]),
    ("log.csv", "user_id,item_id,timestamp\na,x,soon\nb,x,later\n", ["{path}:2:", "no other row", "--time-format"]),
    ("log.csv", "user_id,item_id,timestamp\na,x,5 mai 2024\nb,x,6 juin 2024\n", ["{path}:2:", "--time-format"]),
    ("log.csv", b"PAR1\0\0", ["got {path}, which is a Parquet file; name it .parquet"]),
    ("log.csv", b"PK\x03\x04\0\0", ["got {path}, which is a zip archive or a spreadsheet"]),
    ("log.csv.gz", gzip.compress(b"user_id,item_id\na,x\n", mtime=0)[:-9], ["expected a whole file; got {path}"]),
    ("log.csv.zst", b"\x28\xb5\x2f\xfd\0\0", ["expected a whole file; got {path}"]),
    ("log.csv", '"id","user_id","item_id","timestamp\n1,a,x,1\n', ["{path}"]),
    ("ratings.dat", "1::2::5::7\n1::3::5\n", ["{path}:2: expected 4 fields", "got 3"]),
]


@pytest.mark.parametrize(("name", "content", "texts"), BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str, content: str | bytes, texts: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    message = str(caught.value)
    assert "\n" not in message
    for text in texts:
        assert text.format(path=path) in message


def test_bad_parquet_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    at = datetime.datetime(2024, 1, 1)
    pl.DataFrame({"user_id": [1, None, 3], "item_id": [1, 2, 3], "timestamp": [at] * 3}).write_parquet(path)
    with pytest.raises(DataError, match=r"log.parquet: row 2: expected a user id in column 'user_id'; got nothing"):
        load_dataset(path)


def test_a_path_that_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got .*absent, which is not there; check the path, or download"):
        load_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected one log .* got none"):
        load_dataset(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"got a.csv, b.csv; name the file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"min_user": 0}, {"limit": 0}, {"user": "x", "item": "x"}, {"on_bad_row": "drop"}, {"sep": ""}, {"sep": '"'},
     {"time_format": "ms"}, {"title": "name"}, {"items": "nowhere.csv"}, {"items": 3}, {"user": 0}, {"sep": 9},
     {"time_format": 1}, {"min_user": "2"}, {"min_item": 1.5}],
)  # fmt: skip
def test_senseless_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^expected .*; got .*; "):
        load_dataset(write_recbole(tmp_path / "tiny"), **options)


def test_options_that_nobody_would_heed_are_refused(tmp_path: Path) -> None:
    for options in ({"min_user": 2}, {"user": "who"}, {"items": "x.csv"}, {"sep": ";"}):
        with pytest.raises(DataError, match="expected the sample as it is; got"):
            load_dataset("sample", **options)
    dataset = load_dataset(write_recbole(tmp_path / "tiny"))
    with pytest.raises(DataError, match="expected a data set as it is; got min_user"):
        load_dataset(dataset, min_user=2)


def test_blanks_after_separators_are_no_part_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id, item_id, timestamp\na, x, 2\nb, y, 1\na, y, 1\n")
    assert load_dataset(path).items["item_id"].to_list() == ["y", "x"]
    path.write_text("user_id,item_id,timestamp\na, x,2\nb,x,1\na,y,1\n")
    assert load_dataset(path).items["item_id"].to_list() == [" x", "x", "y"]


def test_progress_tells_how_much_of_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployrec.data.binary.BLOCK", 64)
    path = write_recbole(tmp_path / "tiny") / "tiny.inter"
    seen: list[tuple[int, int, str]] = []
    load_dataset(path, progress=lambda done, total, what: seen.append((done, total, what)))
    size = path.stat().st_size
    assert seen[0] == (64, size, "reading tiny.inter")
    assert seen[-2:] == [(size, size, "reading tiny.inter"), (0, 0, "ordering the events of tiny")]


def test_ml_1m_has_the_published_size(ml_1m: Path) -> None:
    dataset = load_dataset(ml_1m, min_user=5, min_item=5)
    assert (dataset.num_users, dataset.num_items, dataset.num_events) == (6040, 3416, 999_611)
    assert dataset.items.row(0, named=True)["title"] == "American Beauty"
