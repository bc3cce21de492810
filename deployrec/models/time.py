"""The moment of a request: what the seconds since a user's last event, and the day, say about the next one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.options import option
from deployrec.state import UNKNOWN_TIME

EDGES = (0.0, *(2.0**power for power in range(32)))
"""Seconds at which a bucket begins: at once, from 1 on, from 2 on, ..., from 68 years on; before the first, unknown."""
EXPANSION = 2
PIECES = 64
"""Of the calendar, each with as many of the training's events."""
NEVER = 1e9
"""A day beyond any other, on which the pieces begin that few days leave without any."""


def time_option() -> Any:
    """The option of a model to know how long ago a user's last event was."""
    return option(False, "true: how long ago the last event was changes the scores; wants a log with real times")


def calendar_option() -> Any:
    """The option of a time-aware model to know the day of a request."""
    return option(False, "true: so does the day, as where fashions come and go; wants time=true")


class Moment(nn.Module):
    """Mixes the seconds since the last event into a user vector: user + two-layer network of (user, bucket).

    Buckets double in width. What a bucket adds to the first layer is the sum of all steps up to it, so that neighbours
    learn from each other, and seconds beyond any in training are the last ones that were there. Untrained, it is the
    identity; the vector before it is what is stored, and answers any later moment. With a `calendar` the day of the
    request adds to the first layer too.
    """

    edges: Tensor

    def __init__(self, dim: int, calendar: bool = False) -> None:
        super().__init__()
        self.user = nn.Linear(dim, EXPANSION * dim)
        self.steps = nn.Parameter(torch.zeros(len(EDGES), EXPANSION * dim))
        self.out = nn.Parameter(torch.zeros(dim, EXPANSION * dim))
        self.calendar = Calendar(EXPANSION * dim) if calendar else None
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)

    def forward(self, user: Tensor, elapsed: Tensor) -> Tensor:
        """user [..., D], elapsed [...] in seconds, negative where unknown -> [..., D].

        With a calendar elapsed is [..., 2]: beside the seconds stand the days since 1970, negative with them.
        """
        seconds = elapsed.unsqueeze(-1) if self.calendar is None else elapsed[..., :1]
        mixed = self.user(user) + (seconds >= self.edges).to(user.dtype) @ self.steps
        if self.calendar is not None:
            mixed = mixed + self.calendar(elapsed[..., 1:])
        return user + F.linear(F.gelu(mixed), self.out)

    def fit(self, days: np.ndarray) -> None:
        """Lays the calendar, if there is one, over days [M] since 1970 of the training's events."""
        if self.calendar is not None:
            self.calendar.fit(days)

    def told(self, asked: Any) -> Any:
        """What this moment looks at of (seconds, days) [..., 2]: `elapsed`."""
        return asked[..., 0] if self.calendar is None else asked

    def unknown(self, user: Tensor) -> Tensor:
        """What `elapsed` is for users [..., D] whose moment nobody knows."""
        shape = user.shape[:-1] if self.calendar is None else (*user.shape[:-1], 2)
        return user.new_full(shape, UNKNOWN_TIME)


class Calendar(nn.Module):
    """What a day adds: PIECES stretches of time, each with as many of training's events, add a step each as they pass.

    Days before the first are the first, and later ones the last that training knew.
    """

    starts: Tensor
    lengths: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.zeros(PIECES, width))
        self.register_buffer("starts", torch.zeros(PIECES))
        self.register_buffer("lengths", torch.ones(PIECES))

    def fit(self, days: np.ndarray) -> None:
        """Lays the pieces over days [M]; many events at one moment leave some without any."""
        edges = torch.from_numpy(np.unique(np.quantile(days, np.linspace(0, 1, PIECES + 1)).astype(np.float32)))
        self.starts.fill_(NEVER)
        self.lengths.fill_(1.0)
        self.starts[: len(edges) - 1] = edges[:-1]
        self.lengths[: len(edges) - 1] = edges.diff()

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last day that training knew."""
        used = self.starts < NEVER
        return float(self.starts.min()), float((self.starts + self.lengths)[used].max()) if used.any() else NEVER

    def forward(self, day: Tensor) -> Tensor:
        """day [..., 1], float32 since 1970 -> [..., width]: 0 on the first."""
        passed = ((day - self.starts) / self.lengths).clamp(0, 1)
        return passed @ self.steps
