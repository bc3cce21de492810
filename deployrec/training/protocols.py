"""Evaluation after a moment: every later event in turn, or one list a user, by the age that the model then has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from deployrec.data import Dataset, SplitView
from deployrec.data.split import before
from deployrec.data.units import when
from deployrec.errors import RunError
from deployrec.progress import Progress, silent
from deployrec.training.baselines import Markov, Popularity, RecentPopularity
from deployrec.training.evaluate import SCORES, TOKENS, EvaluationBatches, served_masked
from deployrec.training.metrics import CUTOFFS, Ranks, masked_ranks, target_ranks
from deployrec.training.report import AgeRow, ProtocolReport, ProtocolRow
from deployrec.training.scorers import Scorer, Walker
from deployrec.training.targets import Targets, targets_of

AGES = (0, 1, 7, 30, 90, 180, 365, 730)
"""Days after the end of training between which figures are told apart."""
LISTED = 10
"""Items of the lists whose union is the coverage."""


def evaluate_after(
    scorers: Sequence[Scorer],
    dataset: Dataset,
    protocol: str,
    holdout: float,
    *,
    exclude_seen: bool | None = None,
    baselines: bool = True,
    progress: Progress = silent,
) -> ProtocolReport:
    """Figures of any scorers that were trained on all but the newest share `holdout` of the events.

    A `Walker` reads each user once, from the first event on; another scorer reads every history anew.
    Raises as `targets_of` does, and RunError for a score that is NaN.
    """
    targets = targets_of(dataset, protocol, holdout)
    train = before(dataset, targets.moment).train
    if baselines:
        recent = RecentPopularity(train, targets.moment)
        scorers = [*scorers, Popularity(train), recent, Markov(train, lags=1), Markov(train)]
    served = served_masked(dataset, exclude_seen)
    rows = [row for scorer in scorers for row in _rows(scorer, targets, protocol, served, progress)]
    known = np.zeros(dataset.num_items + 1, bool)
    known[dataset.events[dataset.clock() < targets.moment]] = True
    assert targets.view.targets is not None
    return ProtocolReport(
        data=dataset.name,
        protocol=protocol,
        moment=when(targets.moment, dataset.time_unit),
        users=len(np.unique(targets.view.users)),
        targets=len(targets.view),
        new_items=int((~known[targets.view.targets]).sum()),
        newcomers=targets.newcomers,
        rows=tuple(rows),
        exclude_seen=served,
    )


def _rows(scorer: Scorer, targets: Targets, protocol: str, served: bool, progress: Progress) -> list[ProtocolRow]:
    """Masked and unmasked figures of one scorer."""
    parts: list[tuple[Ranks, Ranks]] = []
    order: list[np.ndarray] = []
    listed = [np.zeros(targets.view.dataset.num_items + 1, bool) for _ in range(2)]
    view, questions = targets.view, targets.questions()
    first = np.searchsorted(targets.question, np.arange(len(questions) + 1))
    assert view.targets is not None
    with torch.inference_mode():
        for asked, scores in _scored(scorer, questions, targets.elapsed[first[:-1]]):
            progress(sum(map(len, order)), len(view), f"{protocol}, all items ranked, {scorer.name}")
            if bool(scores.sum().isnan()):
                raise RunError(f"expected finite scores from '{scorer.name}'; got NaN; train the model again")
            own = np.concatenate([np.arange(first[one], first[one + 1]) for one in asked])
            which = np.repeat(np.arange(len(asked)), np.diff(first)[asked])
            for at in range(0, len(own), max(1, SCORES // scores.shape[1])):
                piece = slice(at, at + max(1, SCORES // scores.shape[1]))
                rows, each = own[piece], scores[torch.from_numpy(which[piece]).to(scores.device)]
                wanted = torch.from_numpy(view.targets[rows]).to(scores.device)
                unmasked = target_ranks(each, wanted)
                parts.append((masked_ranks(unmasked, each, wanted, [view.history(row) for row in rows]), unmasked))
                order.append(rows)
            _list(scores, [questions.history(one) for one in asked], listed)
    back = np.argsort(np.concatenate(order))
    found = []
    for number, kind in enumerate(zip(*parts, strict=True)):
        ranks = Ranks.concatenate(kind)
        ranks = Ranks(ranks.better[back], ranks.tied[back])
        coverage = float(listed[number][1:].mean())
        ages = _by_age(ranks, targets, protocol) if (number == 0) == served else ()
        found.append(ProtocolRow(scorer.name, number == 0, figures(ranks, targets.question, protocol), coverage, ages))
    return found


def _scored(scorer: Scorer, questions: SplitView, elapsed: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Which questions, and scores [B, N + 1] for each: of a walker by users, of another by batches of like length."""
    if getattr(scorer, "walks", hasattr(scorer, "walk")):
        walker = cast(Walker, scorer)
        rows = max(1, SCORES // (questions.dataset.num_items + 1))
        for asked, users in _walked(walker, questions):
            for at in range(0, len(asked), rows):
                part = asked[at : at + rows]
                yield part, walker.score(users[at : at + rows], elapsed[part])
        return
    for batch in EvaluationBatches(questions, np.arange(len(questions)), scorer.chunk, elapsed):
        yield batch.positions, scorer.scores(batch.histories, batch.elapsed)


def _walked(walker: Walker, questions: SplitView) -> Iterator[tuple[np.ndarray, Tensor]]:
    """User vectors of the questions, of as many users at a time as fit: a user's questions follow each other."""
    begins = np.flatnonzero(np.diff(questions.users, prepend=-1))
    counts = np.diff(begins, append=len(questions))
    for block in np.array_split(np.arange(len(begins)), max(1, -(-len(questions) // TOKENS))):
        if len(block):
            last = begins[block] + counts[block] - 1
            histories = [questions.history(row) for row in last]
            yield np.arange(begins[block[0]], last[-1] + 1), walker.walk(histories, counts[block])


def _list(scores: Tensor, histories: list[np.ndarray], listed: list[np.ndarray]) -> None:
    """Marks what the lists hold, without the seen items and with them."""
    k = min(LISTED, scores.shape[1] - 1)
    listed[1][scores.topk(k).indices.unique().cpu().numpy()] = True
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    left = scores.clone()
    left[
        torch.from_numpy(rows).to(scores.device), torch.from_numpy(np.concatenate(histories)).to(scores.device)
    ] = -torch.inf
    best = left.topk(k)
    listed[0][best.indices[best.values > -torch.inf].unique().cpu().numpy()] = True


def figures(ranks: Ranks, question: np.ndarray, protocol: str) -> dict[str, float]:
    """Means of the metrics over the targets, or, of the protocol holdout, over the lists that hold several.

    Of one list with T targets the HR and the MRR are those of the best placed; the NDCG adds the targets' gains over
    the most that min(T, k) can reach.
    """
    if protocol == "successive":
        return ranks.metrics()
    first = np.flatnonzero(np.diff(question, prepend=-1))
    sizes = np.diff(first, append=len(question))
    order = np.lexsort((ranks.tied, ranks.better, question))
    best = Ranks(ranks.better[order][first], ranks.tied[order][first]).metrics()
    for k in CUTOFFS:
        ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(sizes, k) - 1]
        best[f"ndcg@{k}"] = float((np.add.reduceat(ranks.per_user(f"ndcg@{k}"), first) / ideal).mean())
    return best


def _by_age(ranks: Ranks, targets: Targets, protocol: str) -> tuple[AgeRow, ...]:
    """Figures of the targets by how old the model was when they came."""
    found = []
    for start, stop in zip(AGES, (*AGES[1:], np.inf), strict=True):
        inside = (targets.ages >= start) & (targets.ages < stop)
        if inside.any():
            part = Ranks(ranks.better[inside], ranks.tied[inside])
            found.append(AgeRow(start, int(inside.sum()), figures(part, targets.question[inside], protocol)))
    return tuple(found)
