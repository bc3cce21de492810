"""The file of users' records that C++ shares: what comes back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployrec.errors import ConfigError, DataError, StaleStateError, StoreError
from deployrec.runtime.records import Stamp, pack, unpack
from deployrec.runtime.store_contract import LAYOUT, WINDOWED, assert_equal, made
from deployrec.runtime.stores import load_store


def saved(tmp_path: Path, users: list[str]) -> Path:
    store = load_store(f"records:{tmp_path / 'users.states'}", LAYOUT)
    store.write(users, made(LAYOUT, list(range(len(users)))))
    store.close()
    return tmp_path / "users.states"


@pytest.mark.parametrize("number", [0, 1, 300])
def test_users_come_back(tmp_path: Path, number: int) -> None:
    users = [f"zoë {place}" for place in range(number)]
    path = saved(tmp_path, users)
    store = load_store(f"records:{path}", LAYOUT)
    assert sorted(store.users()) == sorted(users)
    assert_equal(store.read(users), made(LAYOUT, list(range(number))))


def test_other_states_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, ["ann", "bob"])
    with pytest.raises(StaleStateError, match="expected states of id bbbb"):
        load_store(f"records:{path}", WINDOWED)
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :]):
            path.write_bytes(bad)
            with pytest.raises(DataError, match=r"expected users' records in .*; got .*; save the states again"):
                load_store(f"records:{path}", LAYOUT)
    for address in ("records", "records:", f"records:{tmp_path / 'absent' / 'file'}"):
        with pytest.raises(ConfigError, match="expected records:PATH in a folder that is there"):
            load_store(address, LAYOUT)


def test_files_of_another_format_are_refused_as_such(tmp_path: Path) -> None:
    path = saved(tmp_path, ["ann"])
    path.write_bytes(path.read_bytes().replace(b"DRSTATE4", b"DRSTATE3"))
    with pytest.raises(DataError, match="got format 3, of another deployrec; save the states again"):
        load_store(f"records:{path}", LAYOUT)


def test_records_of_another_format_are_refused_as_such() -> None:
    rows = made(LAYOUT, [1])
    (record,) = pack(LAYOUT, rows, [0], Stamp(1.5, 7), half=False)
    assert_equal(unpack(LAYOUT, ["ann"], [record]), rows)
    with pytest.raises(StoreError, match="for user 'ann'; got one of format 1, of another deployrec; forget the user"):
        unpack(LAYOUT, ["ann"], [record[:4] + b"\1" + record[5:]])
