"""Full-ranking HR, NDCG and MRR, with ties counted by their expected value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CUTOFFS = (10, 20)
METRICS = tuple(f"{name}@{k}" for k in CUTOFFS for name in ("hr", "ndcg", "mrr"))
_NEVER = np.int64(2**31)


@dataclass(frozen=True)
class Ranks:
    """Where each user's target stands among all items.

    `better` [U] counts the items scored strictly higher, `tied` [U] the other items with the target's score. Equal
    scores stand in random order, so the target's rank is uniform on better + 1 ... better + tied + 1, and every
    metric is its expectation over that order: a model that gives all items one score gets chance, not luck.
    """

    better: np.ndarray
    tied: np.ndarray

    def __len__(self) -> int:
        return len(self.better)

    def per_user(self, metric: str) -> np.ndarray:
        """The metric, such as "ndcg@10", of each user [U] in float64."""
        name, _, cutoff = metric.partition("@")
        k = int(cutoff)
        position = np.arange(1, k + 1)
        gain = {"hr": np.ones(k), "ndcg": 1 / np.log2(position + 1), "mrr": 1 / position}[name]
        cumulative = np.concatenate([[0.0], np.cumsum(gain)])
        first, last = np.minimum(self.better, k), np.minimum(self.better + self.tied + 1, k)
        return (cumulative[last] - cumulative[first]) / (self.tied + 1)

    def metrics(self, select: np.ndarray | None = None) -> dict[str, float]:
        """Means of all METRICS over the users, or over those that the boolean `select` [U] picks."""
        chosen = self if select is None else Ranks(self.better[select], self.tied[select])
        return {name: float(chosen.per_user(name).mean()) if len(chosen) else float("nan") for name in METRICS}

    @classmethod
    def concatenate(cls, parts: Sequence[Ranks]) -> Ranks:
        return cls(np.concatenate([p.better for p in parts]), np.concatenate([p.tied for p in parts]))


def target_ranks(scores: Tensor, targets: Tensor) -> Ranks:
    """Ranks of targets [B] (item rows) in scores [B, N + 1], column 0 being padding at -inf."""
    target_score = scores.gather(1, targets[:, None])
    better = (scores > target_score).sum(1, dtype=torch.int32)
    tied = (scores == target_score).sum(1, dtype=torch.int32) - 1
    return Ranks(better.long().cpu().numpy(), tied.long().cpu().numpy())


def masked_ranks(ranks: Ranks, scores: Tensor, targets: Tensor, seen: Sequence[np.ndarray]) -> Ranks:
    """`ranks` of the same scores once the items `seen` by each user are taken out, as serving takes them out.

    A target that is itself among the seen items can no longer be recommended and counts as missed.
    """
    unique = [np.unique(items) for items in seen]
    rows = np.repeat(np.arange(len(unique)), [len(items) for items in unique])
    columns = np.concatenate([*unique, np.empty(0, np.int64)]).astype(np.int64)
    target_items = targets.cpu().numpy()
    hit = columns == target_items[rows]
    at = torch.from_numpy(rows).to(scores.device), torch.from_numpy(columns).to(scores.device)
    target_score = scores.gather(1, targets[:, None]).squeeze(1)[at[0]]
    seen_score = scores[at]
    higher, equal = (seen_score > target_score).cpu().numpy(), (seen_score == target_score).cpu().numpy() & ~hit
    better = ranks.better - np.bincount(rows[higher], minlength=len(unique))
    tied = ranks.tied - np.bincount(rows[equal], minlength=len(unique))
    missed = np.bincount(rows[hit], minlength=len(unique)) > 0
    return Ranks(np.where(missed, _NEVER, better), np.where(missed, 0, tied))
