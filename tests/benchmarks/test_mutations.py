"""Corruptions of every kind and over every model: none that changes an answer passes, none ends in a traceback."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.mutations import KINDS, MODELS, run


@pytest.mark.slow
def test_no_corruption_that_changes_an_answer_passes() -> None:
    outcomes = run(list(MODELS), len(KINDS) * len(MODELS), seed=1)
    assert [outcome for outcome in outcomes if outcome["ended"] in ("missed", "raw")] == []
    refused = Counter(outcome["kind"] for outcome in outcomes if outcome["ended"] != "harmless")
    for kind in ("a flipped bit", "dependence on padding, certified", "a look ahead, certified"):
        assert refused[kind] == len(MODELS)
