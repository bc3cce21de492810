"""Logs from files: what loads, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

from deployrec.data import leave_one_out, load_dataset


def test_recbole_folder_orders_by_time_and_names_items(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\nb\ty\t5\na\tx\t9\nb\tx\t3\na\tz\t9\na\ty\t1\nb\tw\t5\n"
    )
    (folder / "tiny.item").write_text(
        "item_id:token\tmovie_title:token_seq\tgenre:token_seq\ny\tWhy?\tDrama\nx\t\tComedy\n"
    )
    dataset = load_dataset(folder)
    assert dataset.name == "tiny"
    assert dataset.user_ids == ["b", "a"]
    assert dataset.items["item_id"].to_list() == ["y", "x", "z", "w"]
    assert dataset.items["title"].to_list() == ["Why?", "x", "z", "w"]
    assert dataset.items["genre"].to_list() == ["Drama", "Comedy", "", ""]
    assert dataset.items["popularity"].to_list() == [2, 2, 1, 1]
    assert [dataset.history(u).tolist() for u in (0, 1)] == [[2, 1, 4], [1, 2, 3]]


def test_leave_one_out_holds_out_the_last_two() -> None:
    dataset = load_dataset("sample")
    split = leave_one_out(dataset)
    for row in (0, 7, 1999):
        history = dataset.history(row).tolist()
        assert split.train.history(row).tolist() == split.validation.history(row).tolist() == history[:-2]
        assert split.test.history(row).tolist() == history[:-1]
        assert (split.validation.targets[row], split.test.targets[row]) == (history[-2], history[-1])
