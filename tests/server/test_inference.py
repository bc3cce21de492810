"""Open Inference Protocol v2: a bundle's graphs by Triton's own client, held against the certificate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from benchmarks.callers import Server
from deployrec.bundle import Bundle
from deployrec.runtime import Recommender
from tests.server.test_refused import refused

TYPES = {"int64": "INT64", "float32": "FP32"}


def zeros(bundle: Bundle, graph: str, batch: int) -> dict[str, np.ndarray]:
    """Sound inputs."""
    sizes = {"B": batch, "T": 3, "E": 1}
    arrays = {
        tensor.name: np.zeros([sizes[a] if isinstance(a, str) else a for a in tensor.shape], tensor.dtype)
        for tensor in bundle.manifest.graphs[graph].inputs
    }
    if "k" in arrays:
        arrays["k"][:] = 4
    return arrays


def as_json(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    inputs = [
        {"name": name, "shape": list(a.shape), "datatype": TYPES[str(a.dtype)], "data": a.ravel().tolist()}
        for name, a in arrays.items()
    ]
    return {"inputs": inputs, "id": "7"}


def test_metadata_and_readiness(client: TestClient, bundle: Bundle) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for name, graph in bundle.manifest.graphs.items():
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/1"):
            about = client.get(path).json()
            assert [tensor["name"] for tensor in about["inputs"]] == [tensor.name for tensor in graph.inputs]
            assert about["inputs"][0]["shape"][0] == -1
            assert client.get(f"{path}/ready").status_code == 200
    refused(client.get("/v2/models/other"), 404)
    refused(client.get("/v2/models/step/versions/2"), 404)


@pytest.mark.parametrize("binary", [False, True])
def test_step_after_step_is_the_certificates_answer(client: TestClient, bundle: Bundle, binary: bool) -> None:
    cases = bundle.cases()
    case = cases.lengths.index(8)
    arrays, exclude = zeros(bundle, "step", 1), cases.exclude[case : case + 1]
    arrays["exclude_items"], arrays["k"][:] = exclude, cases.topk_items.shape[1]
    outputs: dict[str, np.ndarray] = {}
    for row in cases.history(case):
        arrays["item_id"][:] = row
        outputs = infer(client, "step", arrays, binary)
        for tensor in bundle.manifest.state.tensors:
            arrays[tensor.past] = outputs[tensor.present]
    np.testing.assert_allclose(outputs["user"][0], cases.user[case], atol=1e-5)
    items, scores = outputs["topk_items"][0], outputs["topk_scores"][0]
    known = np.isfinite(cases.topk_scores[case])
    assert items[known].tolist() == cases.topk_items[case][known].tolist()
    np.testing.assert_allclose(scores[known], cases.topk_scores[case][known], rtol=1e-4, atol=1e-5)


def infer(client: TestClient, model: str, arrays: dict[str, np.ndarray], binary: bool) -> dict[str, np.ndarray]:
    """The outputs; with `binary`, all tensors go and come as bytes."""
    request = as_json(arrays)
    headers, content = {}, json.dumps(request).encode()
    if binary:
        for tensor, array in zip(request["inputs"], arrays.values(), strict=True):
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        head = json.dumps({**request, "parameters": {"binary_data_output": True}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        content = b"".join([head, *(array.tobytes() for array in arrays.values())])
    answer = client.post(f"/v2/models/{model}/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    size = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    document, rest = json.loads(answer.content[:size]), answer.content[size:]
    assert (document["model_name"], document["id"]) == (model, "7")
    found = {}
    for tensor in document["outputs"]:
        dtype = {"INT64": np.int64, "FP32": np.float32}[tensor["datatype"]]
        count = tensor.get("parameters", {}).get("binary_data_size", 0)
        values = np.frombuffer(rest[:count], dtype) if count else np.array(tensor["data"], float).astype(dtype)
        rest = rest[count:]
        found[tensor["name"]] = values.reshape(tensor["shape"])
    assert rest == b""
    return found


def test_encode_then_score_is_what_the_library_recommends(client: TestClient, bundle: Bundle) -> None:
    library = Recommender.load(bundle.path)
    library.encode_history("u", ["i4", "i9", "i2"])
    arrays = zeros(bundle, "encode", 2)
    arrays["item_ids"][:], arrays["lengths"][:] = [[4, 9, 2], [1, 0, 0]], [3, 1]
    user = infer(client, "encode", arrays, binary=True)["user"]
    scored = zeros(bundle, "score", 2) | {"user": user, "exclude_items": np.array([[4, 9, 2], [1, 0, 0]])}
    items = infer(client, "score", scored, binary=False)["topk_items"]
    assert [f"i{row}" for row in items[0]] == [item for item, _, _ in library.recommend("u", 4)]


def changed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(request: dict[str, Any]) -> None:
        request["inputs"][0].update(changes)

    return change


def dropped(request: dict[str, Any]) -> None:
    del request["inputs"][0]


def doubled(request: dict[str, Any]) -> None:
    request["inputs"].append(request["inputs"][0])


def other_output(request: dict[str, Any]) -> None:
    request["outputs"] = [{"name": "none such"}]


@pytest.mark.parametrize(
    "change",
    [
        changed(data=[31]),
        changed(data=[-1]),
        changed(data=[2**63]),
        changed(data=[1.5]),
        changed(data=[True]),
        changed(data=["1"]),
        changed(data=[[1], [2, 3]]),
        changed(data=[]),
        changed(data=None),
        changed(shape=[2]),
        changed(shape=[-1]),
        changed(shape=[0], data=[]),
        changed(shape=[1, 1]),
        changed(shape=[2**62]),
        changed(shape=[1] * 100),
        changed(datatype="FP32"),
        changed(datatype="BYTES"),
        changed(name="other"),
        changed(parameters={"binary_data_size": 8}),
        changed(parameters={"binary_data_size": -8}),
        changed(parameters={"binary_data_size": "x"}),
        dropped,
        doubled,
        other_output,
    ],
)
def test_wrong_tensors_are_one_line(
    client: TestClient, bundle: Bundle, change: Callable[[dict[str, Any]], None]
) -> None:
    request = as_json(zeros(bundle, "step", 1))
    change(request)
    refused(client.post("/v2/models/step/infer", content=json.dumps(request)), 400)


@pytest.mark.parametrize("lengths", [[4], [-1], [2**62]])
def test_lengths_beyond_the_history_are_refused(client: TestClient, bundle: Bundle, lengths: list[int]) -> None:
    request = as_json(zeros(bundle, "encode", 1) | {"lengths": np.array(lengths)})
    refused(client.post("/v2/models/encode/infer", content=json.dumps(request)), 400)


@pytest.mark.parametrize("length", ["-1", "x", "99999", "3"])
def test_a_wrong_header_length_is_refused(client: TestClient, bundle: Bundle, length: str) -> None:
    content = json.dumps(as_json(zeros(bundle, "step", 1)))
    headers = {"Inference-Header-Content-Length": length}
    refused(client.post("/v2/models/step/infer", content=content, headers=headers), 400)


@pytest.mark.slow
def test_tritons_own_client_talks_to_it(bundle: Bundle) -> None:
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient")
    with Server(bundle.path) as server, http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("step")
        assert client.get_model_metadata("encode")["name"] == "encode"
        for binary in (False, True):
            arrays = zeros(bundle, "step", 2)
            arrays["item_id"][:] = [3, 5]
            inputs = []
            for name, array in arrays.items():
                inputs.append(http.InferInput(name, array.shape, TYPES[str(array.dtype)]))
                inputs[-1].set_data_from_numpy(array, binary_data=binary)
            outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in ("topk_items", "user")]
            answer = client.infer("step", inputs, outputs=outputs)
            library = Recommender.load(bundle.path)
            lists = library.observe_many([("a", "i3"), ("b", "i5")], recommend=4, exclude_seen=False)[1]
            for rows, found in zip(answer.as_numpy("topk_items"), lists.values(), strict=True):
                assert [f"i{row}" for row in rows] == [item for item, _, _ in found]
            assert answer.as_numpy("user").shape == (2, bundle.manifest.dim)
