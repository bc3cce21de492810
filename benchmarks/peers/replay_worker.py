"""RePlay's compiled SASRec in RePlay's environment: two layers of 64 over the newest 200 events, random weights.

A call is `SasRecCompiled.predict`, the way RePlay documents for a CPU, and torch's top-k of its scores; or the ONNX
graph that it compiles from, in ONNX Runtime, with the same top-k.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import openvino
import torch
from replay.data import FeatureHint, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorSchema
from replay.models.nn.sequential.compiled import SasRecCompiled
from replay.models.nn.sequential.sasrec import SasRec

from benchmarks.peers.cells import Cells, K, versions
from benchmarks.workers import serve

WINDOW, DIM, LAYERS = 200, 64, 2
ITEM = "item_id"
PACKAGES = ("replay-rec", "openvino", "onnxruntime", "torch")

Scores = Callable[[torch.Tensor], torch.Tensor]
"""Items [B, T], 0..N-1, to scores [B, N]."""


def main() -> None:
    engine, num_items = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Compiled(engine, num_items, Path(folder) / "sasrec.onnx")
        serve({"versions": versions(*PACKAGES), "window": WINDOW}, Cells(model))


class Compiled:
    """See `Model`. engine: "openvino", "openvino-float32" or "onnxruntime"; compiled anew for each batch size."""

    def __init__(self, engine: str, num_items: int, graph: Path) -> None:
        self.engine, self.graph = engine, graph
        torch.manual_seed(0)
        self.schema = TensorSchema(
            TensorFeatureInfo(
                ITEM,
                FeatureType.CATEGORICAL,
                is_seq=True,
                feature_hint=FeatureHint.ITEM_ID,
                cardinality=num_items,
                embedding_dim=DIM,
                padding_value=num_items,
            )
        )
        self.model = SasRec(self.schema, block_count=LAYERS, hidden_size=DIM, max_seq_len=WINDOW).eval()

    def prepare(
        self, histories: list[list[list[int]]], threads: int
    ) -> tuple[list[Callable[[], object]], dict[str, Any]]:
        batches = [torch.tensor(rows)[:, -WINDOW:] - 1 for rows in histories]
        scores, precision = self._compiled(len(batches[0]), threads)
        calls: list[Callable[[], object]] = [partial(_list, scores, rows) for rows in batches]
        return calls, self._difference(scores, batches) | {"precision": precision}

    def _compiled(self, batch: int, threads: int) -> tuple[Scores, str]:
        """The compiled model, and the numbers that it computes with."""
        compiled = SasRecCompiled.compile(
            self.model, mode="batch", batch_size=batch, num_threads=threads, onnx_path=str(self.graph)
        )
        self.model.eval()  # an export may leave it in training
        if self.engine == "onnxruntime":
            return self._onnxruntime(threads), "float32"
        if self.engine == "openvino-float32":
            compiled = SasRecCompiled(self._float32(batch, threads), self.schema)
        precision = compiled._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        return lambda rows: compiled.predict(_request(rows)), {"f32": "float32", "bf16": "bfloat16"}.get(
            precision, precision
        )

    def _float32(self, batch: int, threads: int) -> openvino.CompiledModel:
        """As RePlay compiles it but for the numbers: where the processor can, OpenVINO computes in bfloat16."""
        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})
        shapes = [(ITEM, [batch, WINDOW]), ("padding_mask", [batch, WINDOW])]
        return core.compile_model(openvino.convert_model(str(self.graph), input=shapes), "CPU")

    def _onnxruntime(self, threads: int) -> Scores:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])

        def scores(rows: torch.Tensor) -> torch.Tensor:
            padded = torch.nn.functional.pad(rows, (WINDOW - rows.shape[1], 0))
            known = torch.nn.functional.pad(torch.ones_like(rows, dtype=torch.bool), (WINDOW - rows.shape[1], 0))
            feed = {ITEM: padded.numpy(), "padding_mask": known.numpy()}
            return torch.from_numpy(session.run(None, feed)[0])

        return scores

    def _difference(self, scores: Scores, batches: list[torch.Tensor]) -> dict[str, float]:
        found, own = [], []
        with torch.inference_mode():
            for rows in batches:
                found.append(scores(rows).clone())
                own.append(self.model.predict(_request(rows)))
        left, right = torch.cat(found), torch.cat(own)
        same = (left.topk(K).indices == right.topk(K).indices).all(1)
        return {
            "scores": float((left - right).abs().max()),
            "largest_score": float(right.abs().max()),
            "same_lists": float(same.float().mean()),
        }


def _list(scores: Scores, rows: torch.Tensor) -> object:
    return torch.topk(scores(rows), K)


def _request(rows: torch.Tensor) -> dict[str, Any]:
    return {"feature_tensor": {ITEM: rows}, "padding_mask": torch.ones_like(rows, dtype=torch.bool)}


if __name__ == "__main__":
    main()
