"""What a notebook shows of a bundle, a report and a recommender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployrec.runtime import Bundle, Recommender
from deployrec.runtime.verify import VerifyReport, verify


def test_a_bundle_names_its_model_items_state_and_graphs(twin_bundle: Callable[..., Bundle]) -> None:
    bundle = twin_bundle()
    text = repr(bundle)
    for part in (str(bundle.path), "gru", "30 items", "48 bytes of state a user", "encode score step"):
        assert part in text
    assert bundle.manifest.bundle_id[:12] in text
    assert "\n" not in text
    assert "no state, graphs encode score" in str(twin_bundle(kind="encode-only"))


def test_a_report_prints_its_worst_comparisons(twin_bundle: Callable[..., Bundle]) -> None:
    report = verify(twin_bundle().path)
    verdict, *lines = repr(report).splitlines()
    assert verdict.endswith("parity holds)")
    assert {line.split()[0] for line in lines} == {"user", "state", "top-k", "scores"}
    assert all("holds" in line for line in lines)
    user = max((row for row in report.comparisons if row.quantity == "user"), key=lambda row: row.figure)
    assert any(f"{user.figure:.1e} of {user.limit:.1e}" in line for line in lines)
    wrong = replace(report.comparisons[0], figure=float("nan"))
    failed = repr(VerifyReport(report.bundle, [wrong, *report.comparisons], []))
    assert f"1 of {len(report.comparisons) + 1} comparisons fail)" in failed
    assert "nan of" in failed
    assert "FAILS" in failed


def test_a_recommender_names_its_bundle_and_its_users(twin_bundle: Callable[..., Bundle]) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many([("ann", "i1"), ("bob", "i2")])
    assert repr(recommender).startswith("Recommender(gru, 30 items, OnnxRuntimeBackend, MemoryStore(2 users, ")
