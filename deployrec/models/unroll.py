"""A step taken over time: a loop in torch, one Scan over any length where the model is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]
"""State tensors by the names of the model's `state_spec`, each with a batch axis in front."""

Step = Callable[..., tuple[Tensor, State]]


def unroll(step: Step, events: Sequence[Tensor], state: State, lengths: Tensor) -> tuple[Tensor, State]:
    """step(*events at t, state) -> (output [B, ...], state) for every t < lengths; behind, the state is kept.

    events: tensors [B, T, ...], T at least 1; lengths [B] int64. Returns the outputs [B, T, ...], unspecified behind a
    row's length, and the state after each row's end. What does not depend on the state is cheaper before the loop:

        outputs, state = unroll(self.cell, (self.to_gates(x),), state, lengths)
    """
    exporting = torch.compiler.is_exporting()
    time = events[0].shape[1]
    valid = torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)
    names = list(state)

    def masked(past: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        output, present = step(*now[:-1], dict(zip(names, past, strict=True)))
        kept = tuple(
            torch.where(now[-1].view(-1, *[1] * (old.dim() - 1)), present[name], old)
            for name, old in zip(names, past, strict=True)
        )
        return kept, output.clone() if exporting else output

    past, by_time = tuple(state.values()), tuple(x.movedim(1, 0) for x in (*events, valid))
    if exporting:
        # The loop would be written out for the T of the example.
        from torch._higher_order_ops.scan import scan

        past, outputs = scan(masked, past, by_time)
    else:
        steps = []
        for t in range(time):
            past, output = masked(past, tuple(x[t] for x in by_time))
            steps.append(output)
        outputs = torch.stack(steps)
    return outputs.movedim(0, 1), dict(zip(names, past, strict=True))
