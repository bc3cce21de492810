"""The gates: what passes, what fails, and that nothing slips through as NaN."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.bundle.parity import Answer, Comparison, ParityCases, largest_figures, topk_figure, worst
from deployrec.errors import BundleError

SCORES = np.array([5.0, 4.0, 4.0 - 1e-6, 1.0])
ITEMS = np.array([7, 3, 9, 2])
NOTHING = np.array([0])


def cases() -> ParityCases:
    return ParityCases(
        rows=np.array([1, 4, 5]),
        offsets=np.array([0, 0, 3]),
        names=np.array(["nothing", "a user's"]),
        user=np.ones((2, 4)),
        state={"0.h": np.full((2, 3), 10.0)},
        topk_items=np.stack([ITEMS, ITEMS]),
        topk_scores=np.stack([SCORES, SCORES]),
        exclude=np.array([[0, 0], [1, 4]]),
        files={"step.onnx": "0"},
        item_l1_max=1.0,
    )


def read(folder: Path) -> ParityCases:
    path = folder / "cases.npz"
    return ParityCases.parse(path.read_bytes(), path, np.full((10, 4), 0.25, np.float32))


def answer(**changes: Any) -> Answer:
    return dataclasses.replace(cases().reference(1), **changes)


def failed(rows: list[Comparison]) -> list[str]:
    return [row.quantity for row in rows if not row.passed]


def test_the_reference_itself_passes_with_figures_of_zero() -> None:
    rows = cases().compare("onnx step", 1, answer())
    assert [row.quantity for row in rows] == ["state", "user", "top-k", "scores"]
    assert all(row.figure == 0 and row.passed for row in rows)


@pytest.mark.parametrize(
    ("quantity", "inside", "outside"),
    [
        ("user", {"user": np.ones(4) + 0.99e-5}, {"user": np.ones(4) - 1.01e-5}),
        ("state", {"state": {"0.h": np.full(3, 10 + 0.99e-3)}}, {"state": {"0.h": np.full(3, 10 - 1.01e-3)}}),
        ("scores", {"topk_scores": SCORES + 1.9e-5}, {"topk_scores": SCORES - 2.1e-5}),
        ("top-k", {"topk_items": np.array([7, 9, 3, 2])}, {"topk_items": np.array([3, 7, 9, 2])}),
    ],
)
def test_each_gate_holds_at_its_limit(quantity: str, inside: dict, outside: dict) -> None:
    assert failed(cases().compare("x", 1, answer(**inside))) == []
    assert failed(cases().compare("x", 1, answer(**outside))) == [quantity]


@pytest.mark.parametrize("name", ["user", "topk_scores", "state"])
def test_nan_fails_its_gate_and_is_written_as_text(name: str) -> None:
    broken = answer(**{name: {"0.h": np.array([0, np.nan, 0])} if name == "state" else np.full(4, np.nan)})
    rows = [row for row in cases().compare("x", 1, broken) if not row.passed]
    assert rows
    assert rows[0].to_dict()["figure"] == "nan"


def test_a_case_without_events_compares_its_state_only() -> None:
    rows = cases().compare("x", 0, answer(user=np.full(4, 9.0), topk_items=np.array([1, 1, 1, 1])))
    assert [row.quantity for row in rows] == ["state"]


def test_an_item_from_outside_the_list_may_only_replace_a_tie() -> None:
    tied = answer(topk_items=np.array([7, 3, 9, 8]), topk_scores=np.array([5, 4, 4, 1.0 - 1e-6]))
    assert topk_figure(tied, answer(), NOTHING) == pytest.approx(1e-6, rel=1e-3)
    better = answer(topk_items=np.array([8, 7, 3, 9]), topk_scores=np.array([6.0, 5, 4, 4]))
    assert topk_figure(better, answer(), NOTHING) > 0.9


def test_excluded_repeated_and_missing_items_are_never_ties() -> None:
    assert topk_figure(answer(), answer(), np.array([0, 9])) == np.inf
    assert topk_figure(answer(topk_items=np.array([7, 3, 3, 2])), answer(), NOTHING) == np.inf
    assert topk_figure(answer(topk_items=np.array([7, 3, 9, 0])), answer(), NOTHING) == np.inf


def test_exhausted_slots_on_both_sides_agree() -> None:
    exhausted = answer(topk_items=np.array([7, 3, 0, 0]), topk_scores=np.array([5, 4, -np.inf, -np.inf]))
    reference = dataclasses.replace(cases(), topk_items=np.stack([exhausted.topk_items] * 2))
    reference = dataclasses.replace(reference, topk_scores=np.stack([exhausted.topk_scores] * 2))
    assert failed(reference.compare("x", 1, exhausted)) == []


def test_a_nan_never_hides_in_a_summary() -> None:
    figures = (1e-3, np.nan, 2e-3)
    for order in permutations(figures):
        rows = [Comparison("x", f"case {figure}", "user", figure, 1e-2) for figure in order]
        assert np.isnan(largest_figures(rows)["user"])
        (nearest,) = worst(rows)
        assert np.isnan(nearest.figure)
        assert [Comparison.from_dict(row.to_dict()).strain for row in rows] == [row.strain for row in rows]


@pytest.mark.parametrize(
    "broken",
    [
        {"rows": np.array([1, 4, 99])},
        {"rows": np.array([1, -4, 5])},
        {"rows": np.array([1, 0, 5])},
        {"rows": np.array([1.0, 4, 5])},
        {"offsets": np.array([0, 4, 3])},
        {"offsets": np.array([0, 3])},
        {"offsets": np.array([1, 1, 3])},
        {"user": np.ones((2, 5))},
        {"user": np.ones((1, 4))},
        {"topk_scores": SCORES},
        {"exclude": np.array([1, 4])},
        {"state": {"0.h": np.zeros((3, 3))}},
        {"names": np.array("one")},
    ],
    ids=str,
)
def test_arrays_that_do_not_fit_are_one_line(tmp_path: Path, broken: dict[str, Any]) -> None:
    dataclasses.replace(cases(), **broken).save(tmp_path / "cases.npz")
    with pytest.raises(BundleError, match="expected parity cases"):
        read(tmp_path)


@given(st.permutations(range(4)))
def test_a_permutation_costs_the_largest_gap_it_bridges(order: list[int]) -> None:
    figure = topk_figure(answer(topk_items=ITEMS[order], topk_scores=SCORES), answer(), NOTHING)
    assert figure == np.abs(SCORES[order] - SCORES).max()


def test_cases_come_back_from_disk_bit_for_bit(tmp_path: Path) -> None:
    cases().save(tmp_path / "cases.npz")
    loaded = read(tmp_path)
    assert len(loaded) == 2
    assert loaded.history(1).tolist() == [1, 4, 5]
    assert failed(loaded.compare("x", 1, answer())) == []
    assert loaded.state["0.h"].dtype == np.float64


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x93NUMPY"])
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cases.npz").write_bytes(content)
    with pytest.raises(BundleError, match="expected parity cases"):
        read(tmp_path)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "cases.npz", rows=np.array([{}], dtype=object))
    with pytest.raises(BundleError, match="allow_pickle=False"):
        read(tmp_path)
