"""The definition of every recurrence, its step once an event; what each faster form is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def unroll(
    step: Callable[..., Tensor], events: Sequence[Tensor], state: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """step(*events at t, state) -> state for every t < lengths; behind, the state is kept.

    events: tensors [B, T, ...]; state [B, ...]. Returns all states [B, T, ...] and the last one.
    """
    states = [state]
    for t in range(events[0].shape[1]):
        following = step(*(x[:, t] for x in events), state)
        if lengths is not None:
            following = torch.where((t < lengths).view(-1, *[1] * (state.dim() - 1)), following, state)
        state = following
        states.append(state)
    return torch.stack(states, 1)[:, 1:], state
