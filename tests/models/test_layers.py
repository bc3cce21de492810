"""Dropout's masks: how often, how large, and what comes back through them."""

from __future__ import annotations

import pytest
import torch

from deployrec.models.layers import Dropout


@pytest.mark.parametrize("p", [0.001, 0.2, 0.5, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 997, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(1 - kept.float().mean().item() - p) < 5 * deviation + 2**-17
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(2**20)) != 0).float() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs((kept[lag:] * kept[:-lag]).mean().item()) < 5 * 0.25 / 2**10


def test_dropout_follows_the_seed_and_rests_in_eval() -> None:
    x, dropout = torch.randn(7, 5, dtype=torch.float64), Dropout(0.4)
    masks = []
    for _ in range(2):
        torch.manual_seed(3)
        masks.append(dropout(x))
    assert torch.equal(*masks)
    assert masks[0].dtype == x.dtype
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert Dropout(0.5)(x[:0]).shape == (0, 5)
