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
    if torch.compiler.is_exporting():
        return _scan(step, events, state, lengths)
    if torch.compiler.is_compiling():  # compiled, the loop would be written out for every T
        return torch.compiler.disable(_loop)(step, events, state, lengths)
    return _loop(step, events, state, lengths)


def _loop(step: Step, events: Sequence[Tensor], state: State, lengths: Tensor) -> tuple[Tensor, State]:
    outputs, shortest = [], int(lengths.min())
    for t, now in enumerate(zip(*(x.unbind(1) for x in events), strict=True)):
        output, present = step(*now, state)
        state = present if t < shortest else _keep(t < lengths, present, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def _scan(step: Step, events: Sequence[Tensor], state: State, lengths: Tensor) -> tuple[Tensor, State]:
    from torch._higher_order_ops.scan import scan

    def body(past: tuple[Tensor, ...], now: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        old = dict(zip(state, past, strict=True))
        output, present = step(*now[:-1], old)
        kept = _keep(now[-1], present, old)
        return tuple(kept[name] for name in state), output.clone()  # an output must not be a state

    valid = torch.arange(events[0].shape[1], device=lengths.device) < lengths.unsqueeze(1)
    by_time = tuple(x.movedim(1, 0) for x in (*events, valid))
    final, outputs = scan(body, tuple(state.values()), by_time)
    return outputs.movedim(0, 1), dict(zip(state, final, strict=True))


def _keep(valid: Tensor, present: State, past: State) -> State:
    """The present state in rows that are valid [B], the past one in others."""
    return {name: torch.where(valid.view(-1, *[1] * (old.dim() - 1)), present[name], old) for name, old in past.items()}
