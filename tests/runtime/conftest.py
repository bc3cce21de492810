"""Small bundles built with onnx.helper and their numpy twins: the runtime is tested without any training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.parity import CERTIFIED_K, ParityCases
from deployrec.files import sha256_file
from deployrec.runtime.backends.base import Backend, Copying
from deployrec.runtime.recommender import Recommender, UserRecord
from deployrec.state import StateSpec, StateTensor

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
WINDOW = 6
CHUNK = 8


@dataclass
class Twin:
    """The same recommender in float64 numpy; `kind` is "gru", "window" (exact up to WINDOW) or "encode-only"; `unit` of
    a time-aware one is that of its times."""

    kind: str = "gru"
    num_items: int = 30
    dim: int = 4
    seed: int = 0
    unit: str = ""
    weights: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        d = self.dim
        shapes = {
            "table": (self.num_items + 1, d),
            "input": (d, 3 * d),
            "recurrent": (d, 3 * d),
            "position": (WINDOW, d),
            "moment": (d,),
        }
        self.weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        self.weights["table"][0] = 0

    @property
    def spec(self) -> StateSpec:
        d = self.dim
        if self.kind == "gru":
            return StateSpec((StateTensor("0.hidden", (d,)), StateTensor("0.conv", (2, d))))
        if self.kind == "window":
            return StateSpec((StateTensor("0.total", (d,)), StateTensor("0.count", (1,))), exact_up_to=WINDOW)
        return StateSpec()

    def read(self, rows: list[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """User vector [D] and state after a history, read from the start."""
        w = {name: value.astype(np.float64) for name, value in self.weights.items()}
        if self.kind != "gru":
            rows = rows[-WINDOW:]
            total = np.sum([w["position"][p] * w["table"][row] for p, row in enumerate(rows)], axis=0) + np.zeros(
                self.dim
            )
            return total, {"0.total": total, "0.count": np.array([float(len(rows))])} if self.kind == "window" else {}
        hidden, conv = np.zeros(self.dim), np.zeros((2, self.dim))
        user = np.zeros(self.dim)
        for row in rows:
            x = w["table"][row]
            rx, zx, nx = np.split(x @ w["input"], 3)
            rh, zh, nh = np.split(hidden @ w["recurrent"], 3)
            r, z = 1 / (1 + np.exp(-(rx + rh))), 1 / (1 + np.exp(-(zx + zh)))
            hidden = (1 - z) * np.tanh(nx + r * nh) + z * hidden
            user = hidden + conv.sum(0)
            conv = np.stack([conv[1], x])
        return user, {"0.hidden": hidden, "0.conv": conv}

    def asked(self, rows: list[int], elapsed: float = -1) -> np.ndarray:
        """The user vector [D] whose products with the items are the scores, `elapsed` seconds after a history."""
        user = self.read(rows)[0]
        return user + self.weights["moment"] * (np.log1p(elapsed) if elapsed >= 0 else -1) if self.unit else user

    def top(self, rows: list[int], exclude: list[int], k: int, elapsed: float = -1) -> tuple[list[int], np.ndarray]:
        """The best k rows and their scores, as the graphs answer."""
        scores = self.weights["table"].astype(np.float64) @ self.asked(rows, elapsed)
        scores[[0, *exclude]] = -np.inf
        order = np.argsort(-scores, kind="stable")[:k]
        return np.where(np.isfinite(scores[order]), order, 0).tolist(), scores[order]

    def item_ids(self) -> list[str]:
        return [f"i{row}" for row in range(1, self.num_items + 1)]

    def items(self) -> str:
        lines = [f'i{row},"Title {row}, ""the"" film",{row},drama' for row in range(1, self.num_items + 1)]
        return "\n".join(["item_id,title,popularity,genre", *lines]) + "\n"

    def write(self, folder: Path) -> Bundle:
        """Writes and opens a complete bundle."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "items.bin").write_bytes(self.weights["table"].tobytes())
        save_file(self.weights, folder / "weights.safetensors")
        (folder / "items.csv").write_text(self.items())
        (folder / "parity.json").write_text("{}\n")
        names = ["encode", "score"] if self.kind == "encode-only" else ["step", "advance", "encode", "score"]
        names += ["moment"] if self.unit else []
        graphs = {}
        for name in names:
            model = getattr(GraphBuilder(self), name)()
            (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
            onnx.checker.check_model(str(folder / f"{name}.onnx"))
            graphs[name] = {
                "file": f"{name}.onnx",
                "inputs": [describe(value) for value in model.graph.input],
                "outputs": [describe(value) for value in model.graph.output],
            }
        document: dict[str, Any] = {
            "created": "2026-01-01T00:00:00Z",
            "model": {"key": self.kind, "config": {"dim": self.dim}, "num_items": self.num_items, "dim": self.dim},
            "state": self.spec.to_dict(),
            "graphs": graphs,
            "opset": 20,
            "encode_chunk": WINDOW if self.kind == "encode-only" else CHUNK,
            "certificate": {"lengths": self.cases().lengths, "endless": {}},
            "data": {"name": "twin", "digest": "0", "num_users": 1, "num_items": self.num_items, "num_events": 1},
            "training": {"preset": "none", "seed": self.seed, "metrics": {"hr@10": 0.5}},
            "versions": {"onnx": onnx.__version__},
        }
        if self.unit:
            document["time"] = {"unit": self.unit, "resolution": "second", "max_gap": 1e6}
        self.cases({path.name: sha256_file(path) for path in folder.iterdir()}).save(folder / "parity_cases.npz")
        seal(folder, document)
        return Bundle.open(folder)

    def cases(self, files: Mapping[str, str] | None = None) -> ParityCases:
        rng = np.random.default_rng(1)
        lengths = [0, 1, 2, WINDOW - 1, WINDOW, CHUNK - 1, CHUNK, CHUNK + 1, *([40] if self.kind == "gru" else [])]
        histories = [rng.integers(1, self.num_items + 1, length).tolist() for length in lengths]
        k = min(CERTIFIED_K, self.num_items)
        exclude = np.zeros((len(histories), 3), np.int64)
        for case, rows in enumerate(histories):
            exclude[case, : len(rows[-3:])] = rows[-3:]
        elapsed = np.resize([-1, 0, 1, 60, 1e5, 1e9], len(histories)).astype(np.float32)
        answers = [self.top(rows, exclude[n].tolist(), k, float(elapsed[n])) for n, rows in enumerate(histories)]
        reads = [self.read(rows) for rows in histories]
        return ParityCases(
            rows=np.concatenate(histories).astype(np.int64),
            offsets=np.cumsum([0, *lengths]),
            names=np.array(["drawn"] * len(lengths)),
            user=np.stack([user for user, _ in reads]),
            state={t.name: np.stack([state[t.name] for _, state in reads]) for t in self.spec.tensors},
            topk_items=np.array([items for items, _ in answers]),
            topk_scores=np.stack([scores for _, scores in answers]),
            exclude=exclude,
            files=files or {},
            item_l1_max=float(np.abs(self.weights["table"]).sum(1).max()),
            elapsed=elapsed if self.unit else None,
        )


class GraphBuilder:
    """The graphs of a twin with the bundle's inputs and outputs; the item table lies in items.bin."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.spec = twin.spec
        self.nodes: list[onnx.NodeProto] = []
        table = twin.weights["table"]
        external = TensorProto(name="table", data_type=FLOAT, dims=table.shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "items.bin"), ("offset", "0"), ("length", str(table.nbytes))):
            external.external_data.add(key=key, value=value)
        mask = np.zeros(len(table), np.float32)
        mask[0] = -np.inf
        self.initializers = [external] + [
            numpy_helper.from_array(value, name)
            for name, value in {
                **{name: value for name, value in twin.weights.items() if name != "table"},
                "mask": mask,
                "minus_inf": np.array(-np.inf, np.float32),
                "zero": np.array(0, np.int64),
                "one": np.array(1, np.int64),
                "axis1": np.array([1]),
                "axis2": np.array([1, 2]),
                "from1": np.array([1]),
                "to2": np.array([2]),
                "last_position": np.array(WINDOW - 1, np.float32),
                "one_float": np.array(1, np.float32),
                "zero_float": np.array(0, np.float32),
                "unknown": np.array(-1, np.float32),
            }.items()
        ]

    def add(self, op: str, inputs: str, outputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs.split(), outputs.split(), **attributes))

    def cell(self) -> None:
        """id [B] and in.{state} -> new_user, out.{state}."""
        self.add("Gather", "table id", "x")
        if self.twin.kind == "gru":
            self.add("MatMul", "x input", "gates_x")
            self.add("MatMul", "in.0.hidden recurrent", "gates_h")
            self.add("Split", "gates_x", "rx zx nx", axis=1, num_outputs=3)
            self.add("Split", "gates_h", "rh zh nh", axis=1, num_outputs=3)
            for gate in "rz":
                self.add("Add", f"{gate}x {gate}h", f"{gate}_logit")
                self.add("Sigmoid", f"{gate}_logit", gate)
            self.add("Mul", "r nh", "rnh")
            self.add("Add", "nx rnh", "n_logit")
            self.add("Tanh", "n_logit", "n")
            self.add("Sub", "in.0.hidden n", "from_n")
            self.add("Mul", "z from_n", "kept")
            self.add("Add", "n kept", "out.0.hidden")
            self.add("ReduceSum", "in.0.conv axis1", "taps", keepdims=0)
            self.add("Add", "out.0.hidden taps", "new_user")
            self.add("Slice", "in.0.conv from1 to2 axis1", "newest")
            self.add("Unsqueeze", "x axis1", "x_row")
            self.add("Concat", "newest x_row", "out.0.conv", axis=1)
            return
        self.add("Min", "in.0.count last_position", "position_float")
        self.add("Cast", "position_float", "position_column", to=INT)
        self.add("Squeeze", "position_column axis1", "position_index")
        self.add("Gather", "position position_index", "weight")
        self.add("Mul", "weight x", "weighted")
        self.add("Add", "in.0.total weighted", "out.0.total")
        self.add("Identity", "out.0.total", "new_user")
        self.add("Add", "in.0.count one_float", "out.0.count")

    def at_moment(self) -> None:
        """user and elapsed [B] -> user_now."""
        self.add("Less", "elapsed zero_float", "is_unknown")
        self.add("Add", "elapsed one_float", "later")
        self.add("Log", "later", "log_later")
        self.add("Where", "is_unknown unknown log_later", "factor")
        self.add("Unsqueeze", "factor axis1", "factor_column")
        self.add("Mul", "factor_column moment", "shift")
        self.add("Add", "user shift", "user_now")

    def topk(self, user: str) -> None:
        if self.twin.unit:
            self.at_moment()
            user = "user_now"
        self.add("Transpose", "table", "table_t", perm=[1, 0])
        self.add("MatMul", f"{user} table_t", "raw")
        self.add("Add", "raw mask", "masked")
        self.add("Shape", "exclude_items", "exclude_shape")
        self.add("Expand", "minus_inf exclude_shape", "updates")
        self.add("ScatterElements", "masked exclude_items updates", "scores", axis=1)
        self.add("TopK", "scores k", "topk_scores best", axis=1)
        self.add("Equal", "topk_scores minus_inf", "exhausted")
        self.add("Where", "exhausted zero best", "topk_items")

    def advance(self, lists: bool = False) -> onnx.ModelProto:
        self.add("Identity", "item_id", "id")
        for tensor in self.spec.tensors:
            self.add("Identity", tensor.past, f"in.{tensor.name}")
        self.cell()
        self.add("Identity", "new_user", "user")
        for tensor in self.spec.tensors:
            self.add("Identity", f"out.{tensor.name}", tensor.present)
        if lists:
            self.topk("user")
        return self.model([value("item_id", INT, "B")], state=True, lists=lists)

    def step(self) -> onnx.ModelProto:
        return self.advance(lists=True)

    def encode(self) -> onnx.ModelProto:
        d = self.twin.dim
        hidden = self.spec.tensors or Twin("window", dim=d).spec.tensors
        self.cell()
        self.add("Less", "t_in lengths", "alive")
        self.add("Unsqueeze", "alive axis1", "alive1")
        self.add("Unsqueeze", "alive axis2", "alive2")
        for tensor in hidden:
            alive = f"alive{len(tensor.shape)}"
            self.add("Where", f"{alive} out.{tensor.name} in.{tensor.name}", f"kept.{tensor.name}")
        self.add("Where", "alive1 new_user user_in", "user_out")
        self.add("Add", "t_in one", "t_out")
        states = [(f"in.{t.name}", f"kept.{t.name}", t.shape) for t in hidden] + [("user_in", "user_out", (d,))]
        body = helper.make_graph(
            self.nodes,
            "body",
            [
                *(value(name, FLOAT, "B", *shape) for name, _, shape in states),
                value("t_in", INT),
                value("id", INT, "B"),
            ],
            [*(value(name, FLOAT, "B", *shape) for _, name, shape in states), value("t_out", INT)],
        )
        self.nodes = []
        self.add("Shape", "lengths", "batch")
        for tensor in hidden:
            if self.spec.tensors:
                self.add("Identity", tensor.past, f"start.{tensor.name}")
            else:
                self.constant(f"dims.{tensor.name}", np.array(tensor.shape))
                self.add("Concat", f"batch dims.{tensor.name}", f"shape.{tensor.name}", axis=0)
                self.add("ConstantOfShape", f"shape.{tensor.name}", f"start.{tensor.name}")
        self.constant("dim", np.array([d]))
        self.add("Concat", "batch dim", "user_shape", axis=0)
        self.add("ConstantOfShape", "user_shape", "user_start")
        ends = [t.present if self.spec.tensors else f"end.{t.name}" for t in hidden]
        inputs = " ".join([*(f"start.{t.name}" for t in hidden), "user_start", "zero", "item_ids"])
        self.add("Scan", inputs, " ".join([*ends, "user", "t_end"]), body=body, num_scan_inputs=1, scan_input_axes=[1])
        return self.model([value("item_ids", INT, "B", "T"), value("lengths", INT, "B")], state=True, lists=False)

    def score(self) -> onnx.ModelProto:
        self.topk("user")
        return self.model([value("user", FLOAT, "B", self.twin.dim)], state=False, lists=True)

    def moment(self) -> onnx.ModelProto:
        self.at_moment()
        del self.initializers[0]  # the table
        d = self.twin.dim
        sides = [value("user", FLOAT, "B", d), value("elapsed", FLOAT, "B")], [value("user_now", FLOAT, "B", d)]
        return self.made(*sides)

    def constant(self, name: str, content: np.ndarray) -> None:
        self.initializers.append(numpy_helper.from_array(content, name))

    def model(self, inputs: list[onnx.ValueInfoProto], state: bool, lists: bool) -> onnx.ModelProto:
        outputs = []
        if lists:
            inputs = [*inputs, value("exclude_items", INT, "B", "E"), value("k", INT, 1)]
            inputs += [value("elapsed", FLOAT, "B")] if self.twin.unit else []
            outputs = [value("topk_items", INT, "B", "K"), value("topk_scores", FLOAT, "B", "K")]
        if state:
            outputs.append(value("user", FLOAT, "B", self.twin.dim))
            inputs += [value(t.past, FLOAT, "B", *t.shape) for t in self.spec.tensors]
            outputs += [value(t.present, FLOAT, "B", *t.shape) for t in self.spec.tensors]
        return self.made(inputs, outputs)

    def made(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "twin", inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def value(name: str, dtype: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def describe(info: onnx.ValueInfoProto) -> dict[str, object]:
    tensor = info.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return {"name": info.name, "dtype": "int64" if tensor.elem_type == INT else "float32", "shape": shape}


def stored(recommender: Recommender, user: str) -> UserRecord:
    """What is stored of a user, who must be known."""
    record = recommender.user(user)
    assert record is not None
    return record


def through_calls(recommender: Recommender) -> Backend:
    """The backend, whose methods a test can replace: single events go through them too, not through bound arrays."""
    updates = recommender._updates
    updates._in_place = Copying(updates.backend, updates._row, updates._one.past, updates._one.moved)
    return updates.backend


@pytest.fixture(scope="session")
def twin_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Bundles by Twin arguments; shared, never to be changed."""
    made: dict[str, Bundle] = {}

    def make(**arguments: Any) -> Bundle:
        key = repr(arguments)
        if key not in made:
            made[key] = Twin(**arguments).write(tmp_path_factory.mktemp("bundle"))
        return made[key]

    return make


@pytest.fixture(scope="session")
def twin_of() -> Callable[..., Twin]:
    return lambda kind="gru": Twin(kind)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Bundle]:
    """A private copy of a bundle, to be changed."""
    return lambda bundle: Bundle.open(shutil.copytree(bundle.path, tmp_path / "copy"))
