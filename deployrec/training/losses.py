"""Next-item losses over large catalogues: chunked full softmax, and sampled softmax with or without correction."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec.training.config import TrainingConfig

CHUNK = (2**19, 2**24)  # logits at once on a CPU, on a GPU


class SeenItems(NamedTuple):
    """What P positions have seen, each at `row` [P] and `time` [P] of B rows, and how much it counts as a negative.

    first [B, N] is the time of an item's first event in a row: -1 before the row begins, its width or more for never.
    weight 0 leaves seen items out, 1 changes nothing, above 1 pushes them down harder.
    """

    first: Tensor
    row: Tensor
    time: Tensor
    weight: float

    def weigh(self, logits: Tensor, positions: slice, columns: Tensor | None = None) -> Tensor:
        """Logits [p, N or S] of all items or of `columns` [S], a seen one as if it stood there `weight` times."""
        first = self.first if columns is None else self.first[:, columns]
        seen = first[self.row[positions]] <= self.time[positions, None]
        return torch.where(seen, logits + (math.log(self.weight) if self.weight else -math.inf), logits)


class NextItemLoss:
    """The loss that a recipe names, for a catalogue with `counts` [N] training events per item."""

    def __init__(self, config: TrainingConfig, counts: Tensor) -> None:
        self._kind = config.loss_for(len(counts))
        self._config = config
        self._sampler = NegativeSampler(counts, config.negative_power if self._kind == "sampled" else 0.0)

    def __call__(
        self,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        seen: SeenItems | None = None,
    ) -> Tensor:
        """Mean loss of targets [P], rows of items [N, D], from hidden [P, D], weighted by weights [P].

        With a temperature the scores are cosines divided by it, else dot products. `seen` items count
        `config.seen_weight` times among the negatives; the target, should it be one of them, counts once.
        """
        if self._config.temperature > 0:
            hidden = F.normalize(hidden, dim=-1) / self._config.temperature
            items = F.normalize(items, dim=-1)
        if self._kind == "softmax":
            return chunked_cross_entropy(hidden, items, targets, weights, self._config.label_smoothing, seen)
        corrected = self._kind == "sampled"
        sampler = self._sampler.to(hidden.device)
        return sampled_softmax(hidden, items, targets, sampler, self._config.negatives, corrected, weights, seen)


def chunked_cross_entropy(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    seen: SeenItems | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Mean cross-entropy of targets [P] (rows 0..N-1 of items) under softmax(hidden [P, D] @ items [N, D].T).

    Equivalent to `F.cross_entropy(hidden @ items.T, targets, label_smoothing=...)`, with position weights [P] as
    sum(w * loss) / sum(w). Gradients are taken while a chunk's logits exist, so memory is chunk * N, not P * N; the
    default chunk fits the processor's cache, or a few MiB of a GPU.
    """
    precision = torch.promote_types(hidden.dtype, torch.float32)
    weights = torch.ones_like(targets, dtype=precision) if weights is None else weights.to(precision)
    chunk = chunk or max(16, CHUNK[hidden.device.type != "cpu"] // len(items))
    share = (weights / weights.sum())[:, None]
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, items, targets, share, label_smoothing, seen, chunk)
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """loss = share . (logsumexp(h E^T) - h e), e = (1 - smoothing) E[target] + smoothing mean(E)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        share: Tensor,
        smoothing: float,
        seen: SeenItems | None,
        chunk: int,
    ) -> Tensor:
        wanted = items[targets] * (1 - smoothing) + items.mean(0) * smoothing
        weighted = hidden * share
        total = -(weighted * wanted).sum()
        grad_hidden = -share * wanted
        grad_items = torch.zeros_like(items).index_add_(0, targets, weighted.to(items.dtype), alpha=smoothing - 1)
        grad_items -= weighted.sum(0) * (smoothing / len(items))
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = (hidden[rows] @ items.T).to(share.dtype)
            if seen is not None:
                own = targets[rows, None]
                logits = seen.weigh(logits, rows).scatter_(1, own, logits.gather(1, own))
            largest = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()
            sums = exponentials.sum(1, keepdim=True)
            total += ((sums.log() + largest) * share[rows]).sum()
            scale = share[rows] / sums
            grad_hidden[rows] += (exponentials @ items) * scale
            grad_items += exponentials.T @ (hidden[rows] * scale)
        ctx.save_for_backward(grad_hidden, grad_items)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_items = ctx.saved_tensors
        return grad_hidden * grads[0], grad_items * grads[0], *[None] * 5


class NegativeSampler:
    """Draws negatives with replacement, each item with probability q proportional to (count + 1) ** power.

    power 0 is uniform; `counts` [N] are the items' events in training.
    """

    def __init__(self, counts: Tensor, power: float) -> None:
        weight = (counts.double() + 1) ** power
        self.log_probability = (weight / weight.sum()).log().float()
        self._cumulative = (weight / weight.sum()).cumsum(0)

    def __call__(self, number: int) -> Tensor:
        """Item rows 0..N-1 [number], from torch's generator of the device."""
        draws = torch.rand(number, device=self._cumulative.device, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, draws).clamp_(max=len(self._cumulative) - 1)

    def to(self, device: torch.device) -> NegativeSampler:
        self.log_probability, self._cumulative = self.log_probability.to(device), self._cumulative.to(device)
        return self


def sampled_softmax(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sampler: NegativeSampler,
    negatives: int,
    corrected: bool,
    weights: Tensor | None = None,
    seen: SeenItems | None = None,
    group: int = 512,
) -> Tensor:
    """Mean cross-entropy of each target against `negatives` sampled items, shared by groups of `group` positions.

    `corrected` subtracts log(negatives * q) from every negative's logit, and nothing from the target's, which is in
    the sum with certainty: the partition sum is then unbiased (Jean et al., ACL 2015; Khrylchenko et al., RecSys
    2025). Without it the loss is the plain softmax over the sample, which favours rare items under popular
    negatives. Negatives that hit a position's own target are left out. Shapes as in `chunked_cross_entropy`.
    """
    samples = [sampler(negatives) for _ in range(0, len(hidden), group)]
    # Each row is taken out of the catalogue once: a gradient as large as the catalogue is made by every such look-up.
    taken, places = torch.cat([targets, *samples]).unique(return_inverse=True)
    vectors, places = F.embedding(taken, items), places.split([len(targets), *map(len, samples)])
    losses = []
    for number, sample in enumerate(samples):
        rows = slice(number * group, (number + 1) * group)
        logits = (hidden[rows] @ vectors[places[number + 1]].T).float()
        if corrected:
            logits = logits - (sampler.log_probability[sample] + math.log(negatives))
        logits = logits.masked_fill(sample == targets[rows, None], -torch.inf)
        if seen is not None:
            logits = seen.weigh(logits, rows, sample)
        positive = (hidden[rows] * vectors[places[0][rows]]).sum(1, keepdim=True).float()
        losses.append(torch.cat([positive, logits], 1).logsumexp(1) - positive.squeeze(1))
    loss = torch.cat(losses)
    return loss.mean() if weights is None else (loss * weights).sum() / weights.sum()
