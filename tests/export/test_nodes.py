"""Each recurrence becomes one ONNX node whose body computes what the torch operator computes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deployrec_kernels import bd_lru, gru, linear_recurrence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployrec.bundle.graph import Graph, GraphTensor
from deployrec.errors import ConfigError
from deployrec.export.graphs import to_onnx
from deployrec.models.recblr import BDLRULayer, RecBLRConfig

D = 4
Inputs = dict[str, tuple[str | int, ...]]


class Linear(torch.nn.Module):
    inputs: ClassVar[Inputs] = {"a": ("B", "T", D), "b": ("B", "T", D), "initial_state": ("B", D), "lengths": ("B",)}

    def forward(self, a: Tensor, b: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return linear_recurrence(a, b, initial_state, lengths)


class Gated(torch.nn.Module):
    inputs: ClassVar[Inputs] = {
        "x": ("B", "T", D),
        "r": ("B", "T", D),
        "i": ("B", "T", D),
        "initial_state": ("B", D),
        "lengths": ("B",),
    }

    def __init__(self) -> None:
        super().__init__()
        self.decay = torch.nn.Parameter(torch.linspace(-25, 1, D))  # at -25, beta is the root of its 1e-8 alone

    def forward(self, x: Tensor, r: Tensor, i: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return bd_lru(x, r, i, self.decay, initial_state, lengths)


class Recurrent(torch.nn.Module):
    inputs: ClassVar[Inputs] = {"gates": ("B", "T", 3 * D), "initial_state": ("B", D), "lengths": ("B",)}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(3 * D, D))

    def forward(self, gates: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return gru(gates, self.weight, initial_state, lengths)


NODES: dict[str, type[Linear | Gated | Recurrent]] = {
    "LinearRecurrence": Linear,
    "GRURecurrence": Recurrent,
    "bd_lru": Gated,
}

Exported = tuple[Linear | Gated | Recurrent, onnx.ModelProto, onnxruntime.InferenceSession]


@pytest.fixture(scope="module")
def exported() -> dict[str, Exported]:
    """name -> (module, ONNX model, session); the same module is exported twice: the second must keep its axes open."""
    made: dict[str, Exported] = {}
    for name, kind in NODES.items():
        module = kind()
        inputs = tuple(
            GraphTensor(n, "int64" if n == "lengths" else "float32", shape) for n, shape in kind.inputs.items()
        )
        signature = Graph("", inputs, tuple(GraphTensor(n, "float32", s) for n, s in OUTPUTS.items()))
        to_onnx(module, signature)
        model = to_onnx(module, signature)
        made[name] = module, model, onnxruntime.InferenceSession(model.SerializeToString())
    return made


OUTPUTS = {"hidden": ("B", "T", D), "final_state": ("B", D)}


@pytest.mark.parametrize("name", NODES)
def test_one_node_with_plugin_attributes_and_a_body(exported: dict[str, Exported], name: str) -> None:
    _, model, _ = exported[name]
    (node,) = [node for node in model.graph.node if node.domain == "deployrec"]
    assert node.op_type == {"bd_lru": "LinearRecurrence"}.get(name, name)
    sizes = {"hidden_size": D} if name == "GRURecurrence" else {}
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes == {"plugin_namespace": b"", "plugin_version": b"1", **sizes}
    assert [(f.domain, f.name) for f in model.functions] == [("deployrec", node.op_type)]


@pytest.mark.parametrize("name", NODES)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), batch=st.integers(1, 11), time=st.integers(1, 9), seed=st.integers(0, 99))
def test_body_equals_float64_torch(
    exported: dict[str, Exported], name: str, data: st.DataObject, batch: int, time: int, seed: int
) -> None:
    module, _, session = exported[name]
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)))
    sizes = {"B": batch, "T": time}
    feed = {
        n: torch.randn(
            [axis if isinstance(axis, int) else sizes[axis] for axis in shape], generator=generator, dtype=torch.float32
        )
        for n, shape in module.inputs.items()
        if n != "lengths"
    }
    if name == "LinearRecurrence":
        feed["a"] = torch.sigmoid(feed["a"])
    with torch.no_grad():
        want = module.double()(*[t.double() for t in feed.values()], lengths)
    hidden, final = session.run(None, {**{n: t.numpy() for n, t in feed.items()}, "lengths": lengths.numpy()})
    np.testing.assert_allclose(final, want[1], atol=2e-6, rtol=0)
    for row, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(hidden[row, :length], want[0][row, :length], atol=2e-6, rtol=0)


def test_recurrences_of_two_widths_in_one_graph() -> None:
    """Nodes of a kind share one body, which must not hold the size of the first."""

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow = torch.nn.Parameter(torch.randn(3 * D, D))
            self.widen = torch.nn.Linear(D, 3 * (D + 2))
            self.wide = torch.nn.Parameter(torch.randn(3 * (D + 2), D + 2))

        def forward(self, gates: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            hidden, _ = gru(gates, self.narrow, lengths=lengths)
            return gru(self.widen(hidden), self.wide * 0.5, lengths=lengths)

    torch.manual_seed(0)
    module = Stack()
    inputs = (GraphTensor("gates", "float32", ("B", "T", 3 * D)), GraphTensor("lengths", "int64", ("B",)))
    outputs = (GraphTensor("hidden", "float32", ("B", "T", D + 2)), GraphTensor("final_state", "float32", ("B", D + 2)))
    session = onnxruntime.InferenceSession(to_onnx(module, Graph("", inputs, outputs)).SerializeToString())
    for batch in (2, 9):
        gates, lengths = torch.randn(batch, 5, 3 * D), torch.randint(0, 6, (batch,))
        with torch.no_grad():
            want = module(gates, lengths)[1]
        got = session.run(["final_state"], {"gates": gates.numpy(), "lengths": lengths.numpy()})[0]
        np.testing.assert_allclose(got, want, atol=2e-6, rtol=0)


def test_the_step_keeps_the_constant_under_the_root() -> None:
    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = BDLRULayer(RecBLRConfig(dim=D, expansion=1), number=0)

        def forward(self, x: Tensor, conv: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, state = self.layer.step(x, {"0.conv": conv, "0.hidden": hidden})
            return x, state["0.conv"], state["0.hidden"]

    step = Step().eval()
    with torch.no_grad():
        step.layer.decay.fill_(-25)
    shapes = {"x": ("B", D), "conv": ("B", 3, D), "hidden": ("B", D)}
    tensors = tuple(GraphTensor(name, "float32", shape) for name, shape in shapes.items())
    outputs = tuple(GraphTensor(f"present.{name}", "float32", shape) for name, shape in shapes.items())
    session = onnxruntime.InferenceSession(to_onnx(step, Graph("", tensors, outputs)).SerializeToString())
    feed = {"x": torch.randn(2, D), "conv": torch.randn(2, 3, D), "hidden": torch.zeros(2, D)}
    hidden = session.run(["present.hidden"], {name: tensor.numpy() for name, tensor in feed.items()})[0]
    step.double()
    want = step(*(tensor.double() for tensor in feed.values()))[2].detach().numpy()
    np.testing.assert_allclose(hidden, want, rtol=1e-4)
    assert abs(want).max() > 1e-6


def test_an_axis_that_the_exporter_fixes_is_refused() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1, keepdim=True) * torch.ones(5)

    signature = Graph("", (GraphTensor("x", "float32", ("B", "T")),), (GraphTensor("y", "float32", ("B", "T")),))
    with pytest.raises(ConfigError, match=r"expected y of shape \('B', 'T'\) in the exported graph; got .*, 5\]"):
        to_onnx(Fixed(), signature)
