"""Stores as Parquet and back: bit for bit, whole or not at all, and to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deployrec.errors import DataError, DeployrecError
from deployrec.jobs.transfer import Counts, export_store, import_store
from deployrec.runtime.durable import Database, open_database
from deployrec.runtime.events import NO_TIME
from deployrec.runtime.store_contract import LAYOUT, STATELESS, WINDOWED, made, observed
from deployrec.runtime.stores import load_store


@pytest.fixture
def full(tmp_path: Path) -> Database:
    """A store of two layouts, with histories."""
    address = f"lmdb:{tmp_path / 'users'}"
    one, other = load_store(address, LAYOUT), load_store(f"{address}?float16=true", WINDOWED)
    users = [f"user {number}" for number in range(2500)]
    rows = made(LAYOUT, range(2500))
    rows.read = [observed(f"é{number}", "b", time=10**18 * (number % 2)) for number in range(2500)]
    one.write(users, rows)
    other.write(users[:3], made(WINDOWED, range(3)))
    return open_database(address)


def empty(tmp_path: Path) -> Database:
    return open_database(f"lmdb:{tmp_path / 'other'}", create=True)


def test_a_store_comes_back_bit_for_bit(full: Database, tmp_path: Path) -> None:
    assert export_store(full, tmp_path / "out") == Counts(records=2503, histories=2500)
    other = empty(tmp_path)
    assert import_store(other, tmp_path / "out") == Counts(records=2503, histories=2500)
    for layout in (LAYOUT, WINDOWED):
        assert dict(_records(other, layout.state_id)) == dict(_records(full, layout.state_id))
    histories = [dict(pair for piece in d.scan_histories() for pair in zip(*piece, strict=True)) for d in (full, other)]
    assert histories[0] == histories[1]
    assert import_store(other, tmp_path / "out").records == 2503  # the same again changes nothing


def test_the_files_can_be_looked_at(full: Database, tmp_path: Path) -> None:
    export_store(full, tmp_path / "out", WINDOWED.state_id)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "histories.parquet", "records-bbbbbbbbbbbbbbbb.parquet"
    ]  # fmt: skip
    table = pq.read_table(tmp_path / "out" / "records-bbbbbbbbbbbbbbbb.parquet").to_pydict()
    rows, order = made(WINDOWED, range(3)), [int(user[5:]) for user in table["user"]]
    for place, number in enumerate(order):
        assert table["num_events"][place] == rows.num_events[number]
        last = int(rows.last_time[number])
        assert table["last_time"][place] == (None if last == NO_TIME else last)
        assert table["seen"][place] == np.frombuffer(rows.seen[number], np.int32).tolist()
        assert table["user_vector"][place] == rows.user[number].tolist()


def test_users_who_differ_are_refused_unless_they_are_replaced(full: Database, tmp_path: Path) -> None:
    export_store(full, tmp_path / "out")
    other = empty(tmp_path)
    load_store(other.address, LAYOUT).write(["user 2499", "mine"], made(LAYOUT, [9, 9]))
    with pytest.raises(DataError, match=r"got 'user 2499', whose record there is another; import with --replace"):
        import_store(other, tmp_path / "out")
    assert other.size(LAYOUT.state_id)[0] == 2
    assert [layout.state_id for layout in other.layouts()] == [LAYOUT.state_id]
    import_store(other, tmp_path / "out", replace=True)
    assert other.size(LAYOUT.state_id)[0] == 2501
    assert dict(_records(other, LAYOUT.state_id))["user 7"] == dict(_records(full, LAYOUT.state_id))["user 7"]


def test_a_history_that_differs_is_refused(full: Database, tmp_path: Path) -> None:
    export_store(full, tmp_path / "out")
    other = empty(tmp_path)
    rows = made(STATELESS, [1])
    rows.read = [observed("another")]
    load_store(other.address, STATELESS).write(["user 3"], rows)
    with pytest.raises(DataError, match="got 'user 3', whose history there is another"):
        import_store(other, tmp_path / "out")


def test_a_place_that_is_taken_is_refused(full: Database, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="expected a new folder"):
        export_store(full, tmp_path / "out")


def test_what_breaks_off_leaves_nothing(full: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.close", broken)
    with pytest.raises(OSError, match="no space left"):
        export_store(full, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["users"]


@pytest.mark.parametrize("damage", ["cut", "text", "other columns", "other records", "nulls", "no layout"])
def test_other_files_are_refused_before_anything_is_written(damage: str, full: Database, tmp_path: Path) -> None:
    export_store(full, tmp_path / "out")
    file = next((tmp_path / "out").glob("records-aaaa*"))
    table = pq.read_table(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "text":
        file.write_text("user,record\n")
    elif damage == "other columns":
        pq.write_table(table.drop_columns(["record"]), file)
    elif damage == "no layout":
        pq.write_table(table.replace_schema_metadata({}), file)
    else:
        cell = None if damage == "nulls" else b"dRec"
        records = [*table.column("record").to_pylist()[:-1], cell]
        place = table.schema.get_field_index("record")
        pq.write_table(table.set_column(place, "record", pa.array(records, pa.binary())), file)
    other = empty(tmp_path)
    with pytest.raises(DeployrecError, match=r"^expected .*; got .*; "):
        import_store(other, tmp_path / "out")
    assert other.layouts() == []


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder that `deployrec store export` wrote"):
        import_store(empty(tmp_path), tmp_path)


def _records(database: Database, state_id: str) -> list[tuple[str, bytes]]:
    return [pair for piece in database.scan(state_id) for pair in zip(*piece, strict=True)]
