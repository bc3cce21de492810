"""A step over time: the loop and the exported Scan compute the same, for any length."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deployrec.models import State, unroll


def step(x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
    total = state["total"] + x.sum(1)
    return total * y, {"total": total, "last": x}


def inputs(batch: int, time: int) -> tuple[Tensor, Tensor, State]:
    x, y = torch.randn(batch, time, 3, dtype=torch.float64), torch.randn(batch, time, dtype=torch.float64)
    return x, y, {"total": torch.ones(batch, dtype=torch.float64), "last": torch.zeros(batch, 3, dtype=torch.float64)}


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_outputs_are_the_steps_and_the_state_is_that_at_each_rows_end(lengths: list[int]) -> None:
    x, y, start = inputs(len(lengths), 6)
    outputs, state = unroll(step, (x, y), start, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        totals = 1 + x[row, :length].sum(1).cumsum(0)
        torch.testing.assert_close(outputs[row, :length], totals * y[row, :length])
        torch.testing.assert_close(state["total"][row], totals[-1] if length else torch.ones((), dtype=torch.float64))
        torch.testing.assert_close(state["last"][row], x[row, length - 1] if length else start["last"][row])


def test_it_exports_for_any_batch_and_time() -> None:
    class Module(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
            return unroll(step, (x, y), state, lengths)

    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes = ({0: batch, 1: time}, {0: batch, 1: time}, {"total": {0: batch}, "last": {0: batch}}, {0: batch})
    program = torch.export.export(Module(), (*inputs(3, 5), torch.tensor([5, 0, 2])), dynamic_shapes=shapes)
    for rows, events in ((2, 9), (4, 3)):
        given, lengths = inputs(rows, events), torch.randint(0, events + 1, (rows,))
        outputs, state = program.module()(*given, lengths)
        expected, final = unroll(step, given[:2], given[2], lengths)
        torch.testing.assert_close(state, final)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(outputs[row, :length], expected[row, :length])


def test_compiled_around_it_does_the_same() -> None:
    compiled = torch.compile(lambda *args: unroll(step, args[:2], args[2], args[3])[1]["total"] * 2, backend="eager")
    x, y, start = inputs(2, 4)
    lengths = torch.tensor([4, 1])
    torch.testing.assert_close(compiled(x, y, start, lengths), 2 * unroll(step, (x, y), start, lengths)[1]["total"])
