"""A step graph that somebody has already becomes a bundle whose lists are the graph's own, however it is dressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployrec.bundle import Bundle
from deployrec.errors import ConfigError, DataError, ParityError
from deployrec.evaluation import evaluate
from deployrec.importing.float64 import Float64Graph, in_float64
from deployrec.importing.onnx import import_onnx
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.importing.step_models import DIM, ITEMS, Dress, write_items

STATE = ["past.*=present.*"]
DRESSES = {
    "plain": Dress(),
    "without padding": Dress(padding=False),
    "gemm with a bias": Dress(head="gemm"),
    "bias, without padding": Dress(head="bias", padding=False),
    "transposed table": Dress(head="transposed"),
    "a product with another shape": Dress(head="reshaped"),
    "branches": Dress(branches=True),
    "scores that are no product": Dress(head="normed", stretch=50.0),
    "no product, without padding": Dress(head="normed", padding=False),
    "int32 items [B, 1]": Dress(item_dtype=TensorProto.INT32, item_rank=2),
    "state with the batch in the middle": Dress(batch_axis=1),
    "a count of events": Dress(counts=True),
    "a large user vector": Dress(stretch=1000.0),
}


@pytest.mark.parametrize("name", DRESSES)
def test_a_bundle_answers_as_the_graph_does(name: str, tmp_path: Path) -> None:
    dress = DRESSES[name]
    step, items = dress.save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    report = import_onnx(step, items, tmp_path / "bundle", state=STATE)
    assert all(row.passed for row in report.comparisons)
    assert {"onnxruntime encode in a batch", "step.onnx as it came"} <= {row.comparison for row in report.comparisons}
    assert verify(tmp_path / "bundle").passed
    recommender = Recommender.load(tmp_path / "bundle")
    history = [3, 17, 3, 30, 1, 9]
    for position, item in enumerate(history[:3]):
        best = recommender.observe_and_recommend("step by step", f"f{item}", k=ITEMS, exclude_seen=False)
        assert_scores(best, dress.scores(history[: position + 1]))
    recommender.encode_history("at once", [f"f{item}" for item in history])
    best = recommender.recommend("at once", k=ITEMS)
    expected = dress.scores(history)
    assert {item for item, _, _ in best} == {f"f{n}" for n in range(1, ITEMS + 1)} - {f"f{n}" for n in history}
    assert_scores(best, expected)
    assert best[0].title == f"Film {best[0].item_id[1:]}"


def test_a_gru_of_another_framework_is_compared_by_the_reference_implementation(tmp_path: Path) -> None:
    """ONNX Runtime has no GRU in float64."""
    step = save_gru(tmp_path / "gru.onnx")
    report = import_onnx(step, write_items(tmp_path / "items.csv"), tmp_path / "bundle", state=["h=h_next"])
    manifest = report.bundle.manifest
    assert manifest.training["reference"] == "float64"
    assert manifest.model["key"] == "gru"
    assert [tensor.name for tensor in manifest.state.tensors] == ["h"]
    assert verify(tmp_path / "bundle").passed


def test_a_log_gives_histories_and_popularity(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = [f"u{n % 7},f{n % 5 + 1},{n}" for n in range(140)] + ["u1,f4,1000"]
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    step, items = Dress().save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    import_onnx(step, items, tmp_path / "bundle", state=STATE, data=log)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.data["num_events"] == 141
    assert bundle.catalogue().popularity[:6].tolist() == [0, 28, 28, 28, 29, 28]
    assert bundle.catalogue().columns["genre"][4] == "g1"
    assert Recommender.load(tmp_path / "bundle").recommend("new", k=1)[0].item_id == "f4"
    with pytest.raises(ConfigError, match="expected a log of the items"):
        evaluate(bundle)
    report = evaluate(bundle, log)
    assert (report.users, report.data) == (7, "log")
    log.write_text(log.read_text() + "u1,strange,1001\n")
    with pytest.raises(DataError, match="expected a log of the model's items; got 'strange' in log"):
        import_onnx(step, items, tmp_path / "other", state=STATE, data=log)


def test_an_embedding_that_is_the_item_table_is_kept_once(tmp_path: Path) -> None:
    dress = Dress(head="transposed")
    dress.weights["E"][0] = 0
    dress.weights["T"] = dress.weights["E"]
    step, items = dress.save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    bundle = import_onnx(step, items, tmp_path / "bundle", state=STATE).bundle
    for name in ("step", "advance", "encode", "score"):
        assert bundle.graph(name)[1], name
    assert bundle.manifest.files["advance.onnx"].bytes < 4 * dress.weights["E"].size + 2000


Change = Callable[[onnx.ModelProto], None]


def fixed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_value = 1


def growing_state(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "length"


def empty_state(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 0


def half_state(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[1], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.node.insert(2, helper.make_node("Cast", ["past.h"], ["past_cast"], to=TensorProto.FLOAT))
    model.graph.node[3].input[0] = "past_cast"
    model.graph.node[7].output[0] = "present_float"
    model.graph.node.insert(8, helper.make_node("Cast", ["present_float"], ["present.h"], to=TensorProto.DOUBLE))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("time", TensorProto.FLOAT, ["batch"]))


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("user", TensorProto.FLOAT, ["batch", DIM]))


def random_numbers(model: onnx.ModelProto) -> None:
    noise(model, helper.make_node("RandomNormalLike", ["sum"], ["noise"]))


def batch_mean(model: onnx.ModelProto) -> None:
    noise(model, helper.make_node("ReduceMean", ["sum"], ["noise"], axes=[0], keepdims=1))


def noise(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    tanh = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Tanh")
    model.graph.node[tanh].input[0] = "noisy"
    model.graph.node.insert(tanh, helper.make_node("Add", ["sum", "noise"], ["noisy"]))
    model.graph.node.insert(tanh, node)


def other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "QuickGelu"
    next(node for node in model.graph.node if node.op_type == "QuickGelu").domain = "com.microsoft"


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 12


def nan_weight(model: onnx.ModelProto) -> None:
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "W")
    weight.CopyFrom(numpy_helper.from_array(np.full((DIM, DIM), np.nan, np.float32), "W"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (fixed_batch, "expected one open axis of every state.*got past.h float"),
        (growing_state, "a state that grows with the history is none"),
        (empty_state, "expected a state with numbers in it"),
        (half_state, "expected a state of float32 or whole numbers .* got past.h double"),
        (second_input, "expected one input of item numbers .* got item int64 .*, time float"),
        (second_output, "expected one output of scores beside the state .* got scores, user; name it with --scores"),
        (random_numbers, "expected the same answer to the same item and state"),
        (batch_mean, "expected rows that do not depend on each other"),
        (other_domain, "expected ONNX's own operators.*got QuickGelu of com.microsoft"),
        (old_opset, "expected opset 13 or later .* got opset 12"),
        (nan_weight, "expected finite scores and states"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_unfit_graphs_are_refused_with_their_reason(change: Change, reason: str, tmp_path: Path) -> None:
    step, items = Dress().save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    model = onnx.load(step)
    change(model)
    onnx.save(model, step)
    with pytest.raises(ConfigError, match=reason) as refused:
        import_onnx(step, items, tmp_path / "bundle", state=STATE)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "step.onnx"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ([], "expected a state; got no --state"),
        (["past.h"], r"expected --state as past.\*=present.\* or input=output; got 'past.h'"),
        (["past.*=present.h"], "expected --state as"),
        (["before.*=after.*"], r"expected an input like 'before.\*' .* got item, past.h"),
        (["past.h=after"], "expected the output 'after' of the input 'past.h'"),
        (["item=present.h", "past.h=present.h"], "expected a next value of the type of"),
    ],
)
def test_states_that_are_named_wrongly(state: list[str], reason: str, tmp_path: Path) -> None:
    step, items = Dress().save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    with pytest.raises(ConfigError, match=reason):
        import_onnx(step, items, tmp_path / "bundle", state=state)


def test_items_that_do_not_fit_the_graph(tmp_path: Path) -> None:
    step, items = Dress().save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv", ITEMS + 3)
    with pytest.raises(ConfigError, match="expected a score for each of 33 items, or 34 with a padding item 0; got 31"):
        import_onnx(step, items, tmp_path / "bundle", state=STATE)
    items.write_text("item_id\n" + "f1\n" * ITEMS)
    with pytest.raises(DataError, match="expected every item once"):
        import_onnx(step, items, tmp_path / "bundle", state=STATE)


def test_files_that_are_no_graph(tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.csv")
    (tmp_path / "text.onnx").write_text("no graph")
    for path in (tmp_path / "text.onnx", tmp_path / "none.onnx"):
        with pytest.raises(ConfigError, match="expected an ONNX file") as refused:
            import_onnx(path, items, tmp_path / "bundle", state=STATE)
        assert "\n" not in str(refused.value)


def test_a_graph_that_is_not_what_its_certificate_says_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the table cut off the graph with a fault, every list would be another: no bundle, a report beside it."""
    from deployrec.importing import onnx as importing

    cut = importing.parts_of

    def faulty(*arguments: Any) -> Any:
        parts = cut(*arguments)
        parts.table[5] += 0.1
        return parts

    monkeypatch.setattr(importing, "parts_of", faulty)
    step, items = Dress().save(tmp_path / "step.onnx"), write_items(tmp_path / "items.csv")
    with pytest.raises(ParityError, match=r"expected step\.onnx as it came within"):
        import_onnx(step, items, tmp_path / "bundle", state=STATE)
    assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "bundle.parity-failed.json").is_file()


def test_float64_is_more_exact_than_float32(tmp_path: Path) -> None:
    dress = Dress()
    model = onnx.load(dress.save(tmp_path / "step.onnx"))
    assert {t.data_type for t in in_float64(model).graph.initializer} <= {TensorProto.DOUBLE, TensorProto.INT64}
    inputs = {"item": np.array([5, 9]), "past.h": np.zeros((2, 1, DIM), np.float32)}
    runner = Float64Graph(model, inputs)
    assert (runner.precision, runner.is_fast) == ("float64", True)
    _, scores = runner.run(inputs)
    np.testing.assert_allclose(scores[:, 1:], [dress.scores([5]), dress.scores([9])], atol=1e-14)


def assert_scores(best: Any, expected: np.ndarray) -> None:
    """Every recommended item with its own score, the best first."""
    assert [score for _, _, score in best] == sorted((score for _, _, score in best), reverse=True)
    tolerance = 1e-6 * max(1.0, float(np.abs(expected).max()))
    for item, _, score in best:
        assert abs(score - expected[int(item[1:]) - 1]) < 4 * tolerance, item


def save_gru(path: Path) -> Path:
    """ONNX's GRU over one event, its state [1, B, H] as PyTorch and Keras have it."""
    draw, hidden = np.random.default_rng(1), 5
    weights = {
        "E": draw.normal(size=(ITEMS + 1, DIM)),
        "W": draw.normal(size=(1, 3 * hidden, DIM)),
        "R": draw.normal(size=(1, 3 * hidden, hidden)),
        "T": draw.normal(size=(hidden, ITEMS + 1)),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors += [numpy_helper.from_array(np.array([0]), "time")]
    nodes = [
        helper.make_node("Gather", ["E", "item"], ["x"]),
        helper.make_node("Unsqueeze", ["x", "time"], ["x_t"]),
        helper.make_node("GRU", ["x_t", "W", "R", "", "", "h"], ["", "h_next"], hidden_size=hidden),
        helper.make_node("Squeeze", ["h_next", "time"], ["user"]),
        helper.make_node("MatMul", ["user", "T"], ["scores"]),
    ]
    batch: list[int | str | None] = ["batch"]
    state: list[int | str | None] = [1, "batch", hidden]
    graph = helper.make_graph(
        nodes,
        "gru",
        [
            helper.make_tensor_value_info("item", TensorProto.INT64, batch),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, state),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [*batch, ITEMS + 1]),
            helper.make_tensor_value_info("h_next", TensorProto.FLOAT, state),
        ],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
