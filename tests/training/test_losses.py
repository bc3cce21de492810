"""The chunked losses against torch's own cross-entropy, and what sampling does to the partition sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from deployrec.training.config import TrainingConfig
from deployrec.training.losses import NegativeSampler, NextItemLoss, SeenItems, chunked_cross_entropy, sampled_softmax


@given(
    positions=st.integers(1, 20),
    items=st.integers(2, 15),
    chunk=st.integers(1, 25),
    smoothing=st.sampled_from([0.0, 0.1, 0.7]),
    weighted=st.booleans(),
    seen_weight=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 2**31),
)
def test_chunked_equals_plain_cross_entropy(
    positions: int, items: int, chunk: int, smoothing: float, weighted: bool, seen_weight: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    table = torch.randn(items, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(items, (positions,), generator=generator)
    weights = torch.rand(positions, generator=generator).double() + 0.1 if weighted else None

    def gradients(loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(3 * loss, (hidden, table))

    logits = hidden @ table.T
    mean_logit = logits.mean(1)
    first = torch.randint(-1, 4, (3, items), generator=generator)
    row, time = (torch.randint(most, (positions,), generator=generator) for most in (3, 4))
    counts = torch.where(first[row] <= time[:, None], seen_weight, 1.0).double()
    counts[torch.arange(positions), targets] = 1
    target = logits[torch.arange(positions), targets]
    plain = (logits.exp() * counts).sum(1).log() - (1 - smoothing) * target - smoothing * mean_logit
    plain = plain.mean() if weights is None else (plain * weights).sum() / weights.sum()
    chunked = chunked_cross_entropy(
        hidden, table, targets, weights, smoothing, SeenItems(first, row, time, seen_weight), chunk
    )
    torch.testing.assert_close(chunked, plain, rtol=1e-9, atol=1e-12)
    for got, expected in zip(gradients(chunked), gradients(plain), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_logits_of_all_positions_never_exist_at_once() -> None:
    largest = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(
            self,
            func: Callable[..., Any],
            types: object,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max(largest, out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    hidden, table = torch.randn(300, 4, requires_grad=True), torch.randn(1000, 4, requires_grad=True)
    with Largest():
        chunked_cross_entropy(hidden, table, torch.arange(300), chunk=10).backward()
    assert largest <= 10 * 1000


def test_seen_negatives_do_not_count() -> None:
    torch.manual_seed(0)
    hidden, table, targets = torch.randn(40, 6), torch.randn(50, 6), torch.randint(10, (40,))
    first = torch.full((4, 50), 99)
    first[:, 10:] = 0
    seen = SeenItems(first, torch.arange(40) % 4, torch.zeros(40, dtype=torch.int64), 0.0)
    sampler = NegativeSampler(torch.ones(50), 0.0)
    among_ten = F.cross_entropy(hidden @ table[:10].T, targets)
    sampled = sampled_softmax(hidden, table, targets, sampler, 400_000, corrected=True, seen=seen)
    torch.testing.assert_close(sampled, among_ten, rtol=0.01, atol=0)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_corrected_sample_has_the_full_loss_as_its_limit(power: float) -> None:
    torch.manual_seed(0)
    hidden, table, targets = torch.randn(40, 6), torch.randn(50, 6), torch.randint(50, (40,))
    sampler = NegativeSampler(torch.arange(50) ** 2, power)
    full = F.cross_entropy(hidden @ table.T, targets)
    sampled = sampled_softmax(hidden, table, targets, sampler, 400_000, corrected=True)
    torch.testing.assert_close(sampled, full, rtol=0.01, atol=0)


def test_the_sampler_draws_by_powers_of_counts() -> None:
    torch.manual_seed(0)
    sampler = NegativeSampler(torch.tensor([0, 3, 8]), 0.5)
    share = torch.bincount(sampler(60_000), minlength=3) / 60_000
    torch.testing.assert_close(share, torch.tensor([1, 2, 3]) / 6, rtol=0.03, atol=0)
    torch.testing.assert_close(sampler.log_probability.exp(), torch.tensor([1, 2, 3]) / 6)


@pytest.mark.parametrize("weighted", [False, True])
def test_without_correction_it_is_the_softmax_over_the_sample_less_the_target(weighted: bool) -> None:
    torch.manual_seed(0)
    hidden, table, targets = torch.randn(7, 6), torch.randn(9, 6), torch.randint(9, (7,))
    weights = torch.rand(7) if weighted else torch.ones(7)
    sampler = NegativeSampler(torch.zeros(9), 0.0)
    torch.manual_seed(5)
    loss = sampled_softmax(hidden, table, targets, sampler, 20, corrected=False, weights=weights, group=7)
    torch.manual_seed(5)
    sample = sampler(20)
    expected = []
    for vector, target in zip(hidden, targets, strict=True):
        candidates = torch.cat([target[None], sample[sample != target]])
        expected.append(F.cross_entropy(table[candidates] @ vector, torch.tensor(0)))
    torch.testing.assert_close(loss, (torch.stack(expected) * weights).sum() / weights.sum())


def test_a_temperature_scores_by_cosine() -> None:
    hidden, table, targets = torch.randn(7, 6), torch.randn(9, 6), torch.randint(9, (7,))
    loss = NextItemLoss(TrainingConfig(temperature=0.05), torch.ones(9))
    cosine = F.cosine_similarity(hidden[:, None], table[None], dim=-1)
    torch.testing.assert_close(loss(hidden, table, targets), F.cross_entropy(cosine / 0.05, targets))
    torch.testing.assert_close(loss(5 * hidden, 3 * table, targets), loss(hidden, table, targets))


def test_auto_samples_from_a_hundred_thousand_items_on() -> None:
    torch.manual_seed(0)
    hidden, table, targets = torch.randn(2, 3), torch.randn(100_000, 3), torch.tensor([0, 1])
    for items, full in ((table[1:], True), (table, False)):
        loss = NextItemLoss(TrainingConfig(negatives=4), torch.ones(len(items)))(hidden, items, targets)
        assert torch.allclose(loss, F.cross_entropy(hidden @ items.T, targets), rtol=1e-4) == full
