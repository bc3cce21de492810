"""The Lightning module: one training step over a batch of windows, validation by full ranking."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deployrec.data import LeaveOneOut
from deployrec.errors import RunError
from deployrec.models import SequentialRecommender, State
from deployrec.models.time import Moment
from deployrec.state import UNKNOWN_TIME
from deployrec.training.config import TrainingConfig
from deployrec.training.evaluate import EvaluationBatch, EvaluationBatches, rank_batch
from deployrec.training.losses import NextItemLoss, SeenItems
from deployrec.training.metrics import Ranks
from deployrec.training.scorers import WindowedScorer, encode_histories
from deployrec.training.windows import WindowBatch, WindowBatches

MONITOR = "ndcg@10"
CHECK_EVERY = 20
NO_TIME = 0.1
"""Share of a time-aware model's targets that are asked for at an unknown moment, so that it can do without."""


class DivergedError(RunError):
    """A loss that is no longer finite: training on cannot mend it."""


class TrainingModule(lightning.LightningModule):
    """Trains `model` by `config`; `counts` [N] are the items' training events.

    Validation logs metrics as the model will serve under their names, the others as "unmasked/..." or "masked/...".
    `batches_done` of the present epoch are in a checkpoint with the state of all randomness, so that a run goes on
    within an epoch as if it had not stopped.
    """

    def __init__(self, model: SequentialRecommender, config: TrainingConfig, counts: Tensor) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.recent_loss = math.nan
        self.batches_done = 0
        self._random: dict[str, Any] | None = None
        self._since, self._seconds_before = time.monotonic(), 0.0
        self._next_item_loss = NextItemLoss(config, counts)
        self._ranks: list[tuple[Ranks, Ranks]] = []
        if config.temperature > 0:
            parametrize.register_parametrization(model.embedding, "weight", UnitRows())

    def on_train_start(self) -> None:
        self._since = time.monotonic()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["position"] = {
            "seconds": self.seconds,
            "recent_loss": self.recent_loss,
            "batches_done": self.batches_done,
            "random": random,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        position = checkpoint["position"]
        self._seconds_before, self.recent_loss = position["seconds"], position["recent_loss"]
        self.batches_done = position["batches_done"]
        self._random = position["random"] if self.batches_done else None  # an epoch begins by its own seed

    @property
    def seconds(self) -> float:
        """Wall time spent in training, over all sessions of an interrupted run."""
        return self._seconds_before + time.monotonic() - self._since

    def configure_optimizers(self) -> torch.optim.Optimizer:
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        vectors = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        # Lightning does not clip the gradients of fused optimisers under mixed precision.
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, fused=self.config.precision == "32")

    def on_train_epoch_start(self) -> None:
        # An epoch's randomness depends on nothing but the seed and its number, so that a resumed run repeats it.
        seed = np.random.SeedSequence([self.config.seed, self.current_epoch]).generate_state(1)[0]
        torch.manual_seed(int(seed))

    def on_train_batch_start(self, batch: WindowBatch, batch_idx: int) -> None:
        if self._random is not None:
            torch.set_rng_state(self._random["cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self._random["cuda"], self.device)
            self._random = None
        progress = (self.current_epoch + batch_idx / self.trainer.num_training_batches) / self.config.epochs
        rate = learning_rate(self.config, self.global_step, progress)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_epoch_end(self) -> None:
        self.batches_done = 0

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        self.batches_done = batch_idx + 1
        with parametrize.cached():
            hidden, targets = self.model.predict(batch.items, batch.lengths, batch.targets, self._start_state(batch))
            batch, real = batch._replace(targets=targets), targets > 0
            if batch.elapsed is not None:
                elapsed = batch.elapsed[real]
                elapsed[torch.rand(len(elapsed), device=elapsed.device) < NO_TIME] = UNKNOWN_TIME
                hidden = self.model.at_moment(hidden, elapsed)
            weights = self._position_weights(batch)[real] if self.config.context_power else None
            items = self.model.embedding.weight[1:]
            seen = seen_items(batch, len(items), self.config.seen_weight) if self.config.seen_weight != 1 else None
            return self._next_item_loss(hidden, items, targets[real] - 1, weights, seen)

    def on_train_batch_end(self, outputs: Any, batch: WindowBatch, batch_idx: int) -> None:
        if batch_idx % CHECK_EVERY == 0 or batch_idx + 1 == self.trainer.num_training_batches:
            self.recent_loss = float(outputs["loss"])
            if not math.isfinite(self.recent_loss):
                raise DivergedError(
                    f"expected a finite loss; got {self.recent_loss} in epoch {self.current_epoch + 1}, "
                    f"batch {batch_idx + 1}; train again with a lower learning_rate or clip"
                )

    def on_validation_epoch_start(self) -> None:
        self._ranks = []

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        self._ranks.append(rank_batch(WindowedScorer(self.model, self.config.window), batch))

    def on_validation_epoch_end(self) -> None:
        masked, unmasked = (Ranks.concatenate(kind).metrics() for kind in zip(*self._ranks, strict=True))
        served, other = (masked, unmasked) if self.config.exclude_seen else (unmasked, masked)
        self.log_dict(served)
        self.log_dict(
            {f"{'unmasked' if self.config.exclude_seen else 'masked'}/{name}": value for name, value in other.items()}
        )

    def trained_model(self) -> SequentialRecommender:
        """The model in eval mode, with nothing of training left on it."""
        if parametrize.is_parametrized(self.model.embedding, "weight"):
            parametrize.remove_parametrizations(self.model.embedding, "weight", leave_parametrized=True)
        return self.model.eval()

    def _start_state(self, batch: WindowBatch) -> State | None:
        """Zeros, and the detached state as it would be served, without dropout, for the carried rows."""
        if not len(batch.carried):
            return None
        self.model.eval()
        with torch.no_grad():
            earlier = [batch.earlier[row] for row in batch.carried]
            _, carried = encode_histories(self.model, earlier, self.config.window)
        self.model.train()
        state = self.model.initial_state(len(batch.items))
        return {name: tensor.index_copy(0, batch.carried, carried[name].to(tensor)) for name, tensor in state.items()}

    def _position_weights(self, batch: WindowBatch) -> Tensor:
        earlier = batch.lengths.new_tensor([len(events) for events in batch.earlier])
        before = torch.zeros_like(earlier).index_copy(0, batch.carried, earlier[batch.carried])
        context = before[:, None] + torch.arange(1, batch.items.shape[1] + 1, device=before.device)
        return context.float() ** self.config.context_power


class UnitRows(nn.Module):
    """Rows of unit length; a zero row stays zero."""

    def forward(self, weight: Tensor) -> Tensor:
        return F.normalize(weight, dim=-1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return F.normalize(weight, dim=-1)


class LeaveOneOutData(lightning.LightningDataModule):
    """Training windows, cut anew each epoch, and the validation users; with what the `moment` of a model is told."""

    def __init__(self, views: LeaveOneOut, config: TrainingConfig, carried_state: bool, moment: Moment | None) -> None:
        super().__init__()
        self._views, self._config = views, config
        self._carried = config.carried_state if carried_state else 0.0
        self._asked = None if moment is None else moment.told(views.train.dataset.asked())

    def train_dataloader(self) -> WindowBatches:
        epoch, done = 0, 0
        if self.trainer:
            module = self.trainer.lightning_module
            assert isinstance(module, TrainingModule)
            epoch, done = self.trainer.current_epoch, module.batches_done
        config = self._config
        return WindowBatches(
            self._views.train, config.window, config.tokens, self._carried, config.seed, epoch, done, self._asked
        )

    def val_dataloader(self) -> EvaluationBatches:
        rows = np.arange(len(self._views.validation))
        if 0 < self._config.validation_users < len(rows):
            rows = np.random.default_rng(self._config.seed).choice(rows, self._config.validation_users, replace=False)
        return EvaluationBatches(self._views.validation, rows, self._config.window)


def seen_items(batch: WindowBatch, num_items: int, weight: float) -> SeenItems:
    """What the positions with a target have seen, the events before their window included."""
    width = batch.items.shape[1]
    time = torch.arange(width, dtype=torch.int32, device=batch.items.device).expand_as(batch.items)
    first = torch.full((len(batch.items), num_items + 1), width, dtype=torch.int32, device=batch.items.device)
    first.scatter_reduce_(1, batch.items, time, "amin")
    for row, events in zip(first, batch.earlier, strict=True):
        row[torch.tensor(events)] = -1
    rows, _ = torch.nonzero(batch.targets, as_tuple=True)
    return SeenItems(first[:, 1:], rows, time[batch.targets > 0], weight)


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """The rate at optimiser step `step`, `progress` in [0, 1] through all epochs: linear warm-up, then the schedule."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "constant":
        return rate
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
