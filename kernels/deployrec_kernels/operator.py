"""How a recurrence becomes a torch operator: schema, shapes for tracing, gradient, and kernels by device."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from deployrec_kernels.launch import has_triton

ROWS = ("initial_state", "lengths")


class Operator:
    """`deployrec::NAME(*inputs, initial_state, lengths) -> (hidden, final_state)` and `NAME_backward`, its gradient.

    inputs: the differentiable ones in front of the rows' arguments, each with the input whose shape and dtype its
    gradient has; those named there are all that is kept for the backward, beside hidden. The first one is [B, T, ...].
    The kernels are `NAME_cpu` and `NAME_backward_cpu` in NAME/cpu.py, and the same with triton; the backward takes
    (grad_hidden, grad_final, *kept, hidden, initial_state, lengths) and returns a gradient for every input and
    for the initial state.
    """

    def __init__(self, name: str, inputs: dict[str, str]) -> None:
        self.name = name
        taken = (*inputs, *ROWS)
        kept = tuple(dict.fromkeys(inputs.values()))
        given = ("grad_hidden", "grad_final", *kept, "hidden", *ROWS)
        like = [given.index(other) for other in (*inputs.values(), "initial_state")]
        self.forward = self._define(name, taken, 2)
        self.backward = self._define(f"{name}_backward", given, len(like))

        def fake_forward(*arguments: Tensor) -> tuple[Tensor, ...]:
            events, state = arguments[0], arguments[-2]
            return events.new_empty((*events.shape[:2], state.shape[-1])), state.new_empty(state.shape)

        def fake_backward(*arguments: Tensor) -> tuple[Tensor, ...]:
            return tuple(arguments[at].new_empty(arguments[at].shape) for at in like)

        def keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            by_name = dict(zip(taken, inputs, strict=True))
            ctx.save_for_backward(*(by_name[other] for other in kept), output[0], *inputs[-2:])

        def differentiate(ctx: Any, grad_hidden: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
            run = getattr(torch.ops.deployrec, f"{name}_backward")
            return *run(grad_hidden, grad_final, *ctx.saved_tensors), None

        self.forward.register_fake(fake_forward)
        self.backward.register_fake(fake_backward)
        self.forward.register_autograd(differentiate, setup_context=keep)
        self.use("cuda", "triton" if has_triton() else "cpu")

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        hidden, final_state = getattr(torch.ops.deployrec, self.name)(*arguments)
        return hidden, final_state

    def use(self, device_type: str, kernels: str) -> None:
        """Computes the operator on this device type by the kernels of the module NAME/KERNELS.py ("cpu", "triton")."""
        self.forward.register_kernel(device_type, self._kernel(self.name, kernels))
        self.backward.register_kernel(device_type, self._kernel(f"{self.name}_backward", kernels))

    def _define(self, name: str, inputs: tuple[str, ...], outputs: int) -> Any:
        arguments = ", ".join(f"Tensor {argument}" for argument in inputs)
        schema = f"({arguments}) -> ({', '.join(['Tensor'] * outputs)})"
        kernel = self._kernel(name, "cpu")
        return torch.library.custom_op(f"deployrec::{name}", kernel, mutates_args=(), device_types="cpu", schema=schema)

    def _kernel(self, name: str, kernels: str) -> Callable[..., tuple[Tensor, ...]]:
        """The kernel, whose module is imported when it is first run: Triton takes a second."""

        def run(*arguments: Tensor) -> tuple[Tensor, ...]:
            module = import_module(f"deployrec_kernels.{self.name}.{kernels}")
            outputs: tuple[Tensor, ...] = getattr(module, f"{name}_{kernels}")(*arguments)
            return outputs

        return run
