"""The operators as torch sees them: opcheck, compile, export, autocast, and what they say to wrong arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels.cases import BD_LRU, GRU, LINEAR_RECURRENCE, OPERATORS, RECURRENCES, Recurrence, randn


class Module(torch.nn.Module):
    def __init__(self, recurrence: Recurrence) -> None:
        super().__init__()
        self.op = recurrence.op

    def forward(self, inputs: dict[str, Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.op(**inputs, lengths=lengths)


def float_inputs(recurrence: Recurrence, *shape: int) -> dict[str, Tensor]:
    return {name: x.float() for name, x in recurrence.inputs(*shape).items()}


@pytest.mark.parametrize("recurrence", OPERATORS, ids=str)
def test_opcheck(recurrence: Recurrence) -> None:
    inputs = recurrence.inputs(3, 5, 4)
    lengths = torch.tensor([4, 0, 3])
    arguments: list[Any] = [x.requires_grad_() for x in inputs.values()]
    torch.library.opcheck(getattr(torch.ops.deployrec, recurrence.name).default, (*arguments, lengths))


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_compiles_to_one_graph_with_dynamic_shapes(recurrence: Recurrence) -> None:
    compiled = torch.compile(Module(recurrence), fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, time in ((3, 5), (4, 9), (2, 70)):
        inputs = float_inputs(recurrence, batch, time, 6)
        for x in inputs.values():
            x.requires_grad_()
        lengths = torch.randint(0, time + 1, (batch,))
        hidden, final = compiled(inputs, lengths)
        expected_hidden, expected_final = recurrence.op(**inputs, lengths=lengths)
        torch.testing.assert_close(hidden, expected_hidden)
        torch.testing.assert_close(final, expected_final)
        grads = torch.autograd.grad(hidden.sum() + final.sum(), list(inputs.values()))
        expected = torch.autograd.grad(expected_hidden.sum() + expected_final.sum(), list(inputs.values()))
        torch.testing.assert_close(grads, expected)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_exports_with_dynamic_batch_and_time(recurrence: Recurrence) -> None:
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time", min=1)
    inputs = float_inputs(recurrence, 3, 5, 6)
    shapes: dict[str, Any] = {name: {0: batch, 1: time} for name in recurrence.per_event}
    shapes |= {name: None for name in ("lambda_", "recurrent_weight") if name in inputs}
    dynamic = {name: shapes.get(name, {0: batch}) for name in inputs}
    program = torch.export.export(
        Module(recurrence), (inputs, torch.tensor([5, 0, 3])), dynamic_shapes=(dynamic, {0: batch})
    )
    if recurrence.is_operator:
        calls = [node for node in program.graph.nodes if str(node.target).startswith("deployrec.")]
        name = {"bd_lru": "linear_recurrence"}.get(recurrence.name, recurrence.name)
        assert [str(node.target) for node in calls] == [f"deployrec.{name}.default"]
    other = float_inputs(recurrence, 2, 41, 6)
    lengths = torch.tensor([41, 7])
    torch.testing.assert_close(program.module()(other, lengths), recurrence.op(**other, lengths=lengths))


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_trains_under_bfloat16_autocast(recurrence: Recurrence) -> None:
    torch.manual_seed(0)
    inputs = float_inputs(recurrence, 4, 20, 8)
    weight = torch.nn.Parameter(torch.eye(inputs[recurrence.per_event[-1]].shape[-1]))
    for x in inputs.values():
        x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        last = recurrence.per_event[-1]
        hidden, final = recurrence.op(**(inputs | {last: inputs[last] @ weight}))
        loss = hidden.float().square().mean() + final.square().mean()
    assert final.dtype == torch.float32
    loss.backward()
    exact = recurrence.reference(**{name: x.detach().double() for name, x in inputs.items()})[0]
    assert (hidden.double() - exact).abs().max() <= 3e-2 * exact.abs().max()
    for x in (*inputs.values(), weight):
        assert x.grad is not None
        assert x.grad.dtype == torch.float32
        assert x.grad.isfinite().all()
        assert x.grad.any()


def test_mixed_dtypes_are_promoted_and_the_state_is_float32() -> None:
    a, b = torch.rand(2, 3, 4), randn(2, 3, 4).bfloat16()
    hidden, final = LINEAR_RECURRENCE.op(a, b, initial_state=randn(2, 4))
    assert hidden.dtype == final.dtype == torch.float32
    hidden, final = LINEAR_RECURRENCE.op(a.bfloat16(), b)
    assert (hidden.dtype, final.dtype) == (torch.bfloat16, torch.float32)
    hidden, _ = BD_LRU.op(b, a, b, torch.zeros(4))
    assert hidden.dtype == torch.float32


@pytest.mark.parametrize("recurrence", OPERATORS, ids=str)
def test_strided_inputs_give_the_same(recurrence: Recurrence) -> None:
    inputs = recurrence.inputs(3, 5, 4)
    strided = {name: torch.stack((x, x), -1)[..., 1] for name, x in inputs.items()}
    torch.testing.assert_close(recurrence.op(**strided), recurrence.op(**inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": randn(2, 3, 5)}, "one shape"),
        ({"initial_state": randn(4)}, "initial_state of shape"),
        ({"lengths": torch.tensor([3])}, "2 lengths"),
        ({"lengths": torch.tensor([3, 4])}, "between 0 and T = 3"),
        ({"lengths": torch.tensor([1.0, 2.0])}, "int64"),
        ({"a": randn(6, 4), "b": randn(6, 4)}, "expected 3 axes"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Tensor], message: str) -> None:
    arguments = {"a": randn(2, 3, 4), "b": randn(2, 3, 4)} | change
    with pytest.raises(ValueError, match=message) as error:
        LINEAR_RECURRENCE.op(**arguments)
    assert "\n" not in str(error.value)


def test_gates_of_another_width_are_named() -> None:
    with pytest.raises(ValueError, match="order both r, z, n"):
        GRU.op(randn(2, 3, 8), randn(12, 4))
