"""A training step: which state windows start from, and what positions weigh."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec.data import Dataset, leave_one_out
from deployrec.models import build_model
from deployrec.training.config import TrainingConfig
from deployrec.training.module import TrainingModule, seen_items
from deployrec.training.windows import WindowBatch, WindowBatches


def step(data: Dataset, config: TrainingConfig, dropout: float) -> tuple[TrainingModule, WindowBatch]:
    torch.manual_seed(0)
    model = build_model("recblr", data.num_items, {"dim": 16, "dropout": dropout})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batches = WindowBatches(leave_one_out(data).train, config.window, 400, config.carried_state, seed=1, epoch=0)
    batch = next(batch for batch in batches if len(batch.carried) or not config.carried_state)
    return TrainingModule(model, config, torch.ones(data.num_items)).train(), batch


def whole_loss(module: TrainingModule, batch: WindowBatch, power: float = 0.0) -> Tensor:
    """The loss of `batch` with every carried window read in one piece from its user's first event."""
    losses, weights = [], []
    carried = set(batch.carried.tolist())
    for row, length in enumerate(batch.lengths.tolist()):
        past = torch.tensor(batch.earlier[row] if row in carried else [], dtype=torch.int64)
        items = torch.cat([past, batch.items[row, :length]])[None]
        hidden, _ = module.model.encode(items, torch.tensor([items.shape[1]]))
        scores = module.model.score(hidden[0, len(past) :])[:, 1:]
        losses.append(F.cross_entropy(scores, batch.targets[row, :length] - 1, reduction="none"))
        weights.append((len(past) + torch.arange(1, length + 1)) ** power)
    return (torch.cat(losses) * torch.cat(weights)).sum() / torch.cat(weights).sum()


@pytest.mark.parametrize("power", [0.0, 0.7])
@pytest.mark.parametrize("carried", [0.0, 1.0])
def test_a_carried_window_continues_its_users_history(carried: float, power: float, cycles: Dataset) -> None:
    config = TrainingConfig(window=10, carried_state=carried, context_power=power)
    module, batch = step(cycles, config, dropout=0.0)
    assert bool(len(batch.carried)) == bool(carried)
    torch.testing.assert_close(module.training_step(batch, 0), whole_loss(module, batch, power), rtol=1e-5, atol=1e-5)


def test_the_past_is_detached_and_read_without_dropout(cycles: Dataset) -> None:
    module, batch = step(cycles, TrainingConfig(window=10, carried_state=1.0), dropout=0.5)
    states = [module._start_state(batch) for _ in range(2)]
    assert states[0] is not None
    assert states[1] is not None
    for name, tensor in states[0].items():
        assert not tensor.requires_grad
        assert torch.equal(tensor, states[1][name])
        assert tensor[batch.carried].abs().sum() > 0
    assert module.model.training


@pytest.mark.parametrize("carried", [0.0, 1.0])
def test_seen_items_are_those_of_the_window_so_far_and_of_all_events_before_it(carried: float, cycles: Dataset) -> None:
    _, batch = step(cycles, TrainingConfig(window=10, carried_state=carried), dropout=0.0)
    assert any(len(events) for events in batch.earlier)
    seen = seen_items(batch, cycles.num_items, weight=0.0)
    weighed = seen.weigh(torch.zeros(len(seen.row), cycles.num_items), slice(None))
    found = [set((row.isinf().nonzero().flatten() + 1).tolist()) for row in weighed]
    expected = [
        {*batch.earlier[row].tolist(), *batch.items[row, : position + 1].tolist()}
        for row, length in enumerate(batch.lengths.tolist())
        for position in range(length)
    ]
    assert found == expected
    columns = torch.tensor([4, 0])
    assert torch.equal(seen.weigh(torch.zeros(6, 2), slice(3, 9), columns), weighed[3:9, columns])


def test_a_step_without_seen_negatives_equals_a_plain_loop(cycles: Dataset) -> None:
    module, batch = step(cycles, TrainingConfig(window=10, carried_state=0.0, seen_weight=0.0), dropout=0.0)
    losses = []
    for row, length in enumerate(batch.lengths.tolist()):
        hidden, _ = module.model.encode(batch.items[row : row + 1, :length], torch.tensor([length]))
        scores = module.model.score(hidden[0])
        for position, target in enumerate(batch.targets[row, :length].tolist()):
            known = {*batch.earlier[row].tolist(), *batch.items[row, : position + 1].tolist()} - {target}
            unseen = [item for item in range(1, cycles.num_items + 1) if item not in known]
            losses.append(scores[position, unseen].logsumexp(0) - scores[position, target])
    torch.testing.assert_close(module.training_step(batch, 0), torch.stack(losses).mean(), rtol=1e-5, atol=1e-5)
