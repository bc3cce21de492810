"""The evaluation against a plain loop, streaming against windows, and what a report says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset, leave_one_out
from deployrec.errors import RunError
from deployrec.models import SequentialRecommender, build_model
from deployrec.training.evaluate import Report, Row, evaluate, evaluate_scorers, rank_users
from deployrec.training.metrics import METRICS
from deployrec.training.scorers import StreamedScorer, WindowedScorer, encode_histories
from tests.training.conftest import MakeDataset


def tiny(key: str, num_items: int) -> SequentialRecommender:
    torch.manual_seed(0)
    model = build_model(key, num_items, {"dim": 16}).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        model.embedding.weight[0] = 0
    return model


@pytest.mark.parametrize("key", ["recblr", "glintru"])
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), chunk=st.integers(1, 35), seed=st.integers(0, 99))
def test_chunks_and_batches_do_not_change_a_user(key: str, lengths: list[int], chunk: int, seed: int) -> None:
    model = tiny(key, 20)
    rng = np.random.default_rng(seed)
    histories = [rng.integers(1, 21, length) for length in lengths]
    with torch.no_grad():
        users, states = encode_histories(model, histories, chunk)
        for row, history in enumerate(histories):
            items = torch.from_numpy(history)[None]
            user, state = model.encode_last(items, torch.tensor([len(history)]))
            torch.testing.assert_close(users[row], user[0], rtol=1e-9, atol=1e-9)
            for name, tensor in state.items():
                torch.testing.assert_close(states[name][row], tensor[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("key", ["recblr", "glintru"])
def test_streamed_equals_windowed_until_a_history_is_longer_than_the_window(key: str, cycles: Dataset) -> None:
    model = tiny(key, cycles.num_items)
    view = leave_one_out(cycles).test
    long = view.stops - view.starts > 20
    windowed, streamed = (
        kind(model, 20).scores([view.history(row) for row in range(len(view))])[:, 1:]
        for kind in (WindowedScorer, StreamedScorer)
    )
    torch.testing.assert_close(windowed[~long], streamed[~long], rtol=1e-9, atol=1e-9)
    assert not torch.isclose(windowed[long], streamed[long]).all(1).any()


def test_report_equals_a_plain_loop(cycles: Dataset) -> None:
    model = tiny("recblr", cycles.num_items)
    report = evaluate(model, cycles, window=20, split="validation", baselines=False)
    hits, gains, seen_hits = [], [], []
    for user in range(cycles.num_users):
        *history, target, _ = cycles.history(user).tolist()
        window = torch.tensor([history[-20:]])
        scores = model.score(model.encode_last(window, torch.tensor([window.shape[1]]))[0])[0]
        order = scores.argsort(descending=True).tolist()
        rank = order.index(target)
        hits.append(rank < 10)
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
        unseen = [item for item in order if item not in history]
        seen_hits.append(target in unseen[:10])
    row = report.row("windowed", masked=False)
    assert row.metrics["hr@10"] == pytest.approx(np.mean(hits))
    assert row.metrics["ndcg@10"] == pytest.approx(np.mean(gains))
    assert report.row("windowed", masked=True).metrics["hr@10"] == pytest.approx(np.mean(seen_hits))
    assert report.users == cycles.num_users


def test_ranks_come_in_the_order_of_the_rows(cycles: Dataset) -> None:
    view = leave_one_out(cycles).test
    scorer = StreamedScorer(tiny("recblr", cycles.num_items), 20)
    all_rows = rank_users(scorer, view)[1].better
    some = np.array([7, 3, 90, 11])
    assert rank_users(scorer, view, some)[1].better.tolist() == all_rows[some].tolist()


def test_report_tells_long_users_apart(cycles: Dataset) -> None:
    model = tiny("recblr", cycles.num_items)
    report = evaluate(model, cycles, window=20)
    lengths = np.diff(cycles.offsets) - 1
    assert report.num_long == (lengths > 20).sum()
    streamed, windowed = (report.row(name).long_users["ndcg@10"] for name in ("streamed", "windowed"))
    assert report.streaming() == pytest.approx(streamed / windowed)
    assert evaluate(model, cycles, window=100, baselines=False).streaming() is None
    names = list(report.to_dict()["rows"])
    assert names == ["windowed", "streamed", "popularity", "bigram", "5-lag Markov"]
    assert report.table().row_count == 2 * len(names)


def test_nan_scores_are_an_error(cycles: Dataset) -> None:
    model = tiny("recblr", cycles.num_items)
    with torch.no_grad():
        model.embedding.weight[3] = torch.nan
    with pytest.raises(RunError, match="expected finite scores"):
        evaluate(model, cycles, window=20)


def test_a_log_without_long_enough_users_is_an_error(make_dataset: MakeDataset) -> None:
    with pytest.raises(RunError, match="at least 3 events"):
        evaluate_scorers([], make_dataset([[1, 2], [2]]), window=5)


def report_of(figures: dict[str, float], num_long: int = 0, long_users: float = 0.5, split: str = "test") -> Report:
    """A report whose masked NDCG@10 is `figures`, by scorer; `long_users` is the windowed one for users of its own."""
    long = {"windowed": long_users, "streamed": 0.4}
    rows = [
        Row(name, masked, dict.fromkeys(METRICS, value), dict.fromkeys(METRICS, long.get(name, 0.1)))
        for name, value in figures.items()
        for masked in (True, False)
    ]
    return Report("data", split, 100, 50, num_long, tuple(rows))


def test_a_model_below_a_floor_is_told_so() -> None:
    floors = {"popularity": 0.1, "bigram": 0.2, "5-lag Markov": 0.3}
    assert report_of({"windowed": 0.1, "streamed": 0.31, **floors}).notes() == []
    (note,) = report_of({"windowed": 0.4, "streamed": 0.25, **floors}).notes()
    assert "below 5-lag Markov (masked NDCG@10 0.2500 against 0.3000)" in note
    assert "--preset full" in note
    (note,) = report_of({"onnxruntime": 0.25, **floors}).notes()
    assert "below 5-lag Markov" in note
    assert report_of({"windowed": 0.1}).notes() == []


def test_streaming_is_judged_by_thirty_users_or_more() -> None:
    both = {"windowed": 0.5, "streamed": 0.5}
    assert report_of(both).notes() == []
    assert report_of(both, num_long=3).notes() == [
        "streamed against windowed for the 3 users beyond 50 events: too few to say"
    ]
    assert report_of(both, num_long=29).streaming() is None
    (note,) = report_of(both, num_long=30).notes()
    assert note.endswith("0.800 (streaming costs accuracy: raise carried_state)")
    assert report_of(both, num_long=30, long_users=0.4).notes()[0].endswith("1.000 (safe to stream)")
    (note,) = report_of(both, num_long=30, long_users=0.0).notes()
    assert "nan" not in note
    assert "none of them found" in note


def test_a_report_prints_in_a_shell_a_pipe_and_a_notebook() -> None:
    report = report_of({"windowed": 0.1234})
    assert "0.1234" in str(report)
    assert "\x1b" not in str(report)
    bundle = report._repr_mimebundle_([], [])
    assert "0.1234" in bundle["text/html"]
    assert report_of({"windowed": 0.5}).notes(sample=True)[0].startswith("best possible on the sample")
    assert report_of({"windowed": 0.5}, split="validation").notes(sample=True) == []
