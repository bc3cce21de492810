"""A graph of float32 in float64, as what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from deployrec.importing.step_graph import subgraphs

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
TYPES = ("to", "dtype", "output_dtype")
"""Attributes that name a type."""


class Float64Graph:
    """Runs a float32 model in float64: by ONNX Runtime where its operators are made for that, else by ONNX's own
    reference implementation, which is slow; `precision` is "float32" where neither runs it so."""

    def __init__(self, model: onnx.ModelProto, trial: Mapping[str, np.ndarray]) -> None:
        """trial: inputs to find out with, floats in float32."""
        doubled = in_float64(model)
        self.precision, self.is_fast = "float64", True
        self._run = self._by_onnxruntime(doubled)
        if not self._works(trial):
            self.is_fast, self._run = False, self._by_reference(doubled)
        if not self._works(trial):
            self.precision, self.is_fast = "float32", True
            self._run = self._by_onnxruntime(model)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs; floats go in and come out in `precision`."""
        assert self._run is not None
        return [np.asarray(output) for output in self._run(self._cast(inputs))]

    def _cast(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kinds = {name: self.precision if value.dtype.kind == "f" else value.dtype for name, value in inputs.items()}
        return {name: value.astype(kinds[name], copy=False) for name, value in inputs.items()}

    def _works(self, trial: Mapping[str, np.ndarray]) -> bool:
        try:
            outputs = self.run(trial)
        except Exception:  # neither runtime's errors share a base
            return False
        return all(output.dtype == self.precision for output in outputs if output.dtype.kind == "f")

    @staticmethod
    def _by_onnxruntime(model: onnx.ModelProto) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # an operator without float64
            return None
        return lambda inputs: session.run(None, inputs)

    @staticmethod
    def _by_reference(model: onnx.ModelProto) -> Any:
        try:
            evaluator = ReferenceEvaluator(model)
        except Exception:  # an operator that it lacks
            return None
        return lambda inputs: evaluator.run(None, inputs)


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with every float32 weight, constant, cast, input and output in float64."""
    doubled = onnx.ModelProto()
    doubled.CopyFrom(model)
    _double(doubled.graph)
    return doubled


def _double(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _double_tensor(attribute.t)
            if attribute.name in TYPES and attribute.i == FLOAT:
                attribute.i = DOUBLE
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = np.array(helper.get_attribute_value(attribute), np.float64)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(numbers)))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            node.attribute.append(helper.make_attribute("value", helper.make_tensor("value", DOUBLE, [1], [0.0])))
        for inner in subgraphs(node):
            _double(inner)


def _double_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == FLOAT:
        doubled = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        tensor.CopyFrom(doubled)
