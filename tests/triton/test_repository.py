"""A model repository for Triton Inference Server, and a real server that reads it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient import grpc, http
from tritonclient.grpc import model_config_pb2 as pb

from deployrec.bundle import Bundle
from deployrec.cli.main import run
from deployrec.errors import ConfigError
from deployrec.runtime import Recommender
from deployrec.triton.repository import build_repository

K = 20


@pytest.fixture
def repository(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> Path:
    build_repository(twin_bundle(), tmp_path / "repository", K, store=f"lmdb:{tmp_path / 'users'}")
    return tmp_path / "repository"


def config_of(repository: Path, model: str) -> Any:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), pb.ModelConfig())


def test_the_states_of_step_are_tritons_own(repository: Path, twin_bundle: Callable[..., Bundle]) -> None:
    spec = twin_bundle().manifest.state.tensors
    step, stateless = config_of(repository, "step"), config_of(repository, "step_stateless")
    assert [(s.input_name, s.output_name, tuple(s.dims)) for s in step.sequence_batching.state] == [
        (tensor.past, tensor.present, tensor.shape) for tensor in spec
    ]
    assert {tensor.name for tensor in step.input} == {"item_id", "exclude_items"}
    assert {tensor.past for tensor in spec} < {tensor.name for tensor in stateless.input}
    assert not stateless.HasField("sequence_batching")
    item = next(tensor for tensor in step.input if tensor.name == "item_id")
    assert (list(item.dims), list(item.reshape.shape)) == ([1], [])
    assert {tuple(tensor.dims) for tensor in step.output if tensor.name.startswith("topk")} == {(K,)}


def test_its_graphs_answer_as_the_certificate_says(repository: Path, twin_bundle: Callable[..., Bundle]) -> None:
    bundle = twin_bundle()
    cases = bundle.cases()
    case = cases.lengths.index(7)
    session = onnxruntime.InferenceSession(repository / "step" / "1" / "model.onnx")
    state = {t.past: np.zeros((1, *t.shape), np.float32) for t in bundle.manifest.state.tensors}
    for row in cases.history(case):
        feed = {"item_id": np.array([row]), "exclude_items": cases.exclude[case : case + 1], **state}
        found = dict(zip((value.name for value in session.get_outputs()), session.run(None, feed), strict=True))
        state = {t.past: found[t.present] for t in bundle.manifest.state.tensors}
    assert found["topk_items"][0].tolist() == cases.topk_items[case][:K].tolist()
    np.testing.assert_allclose(found["user"][0], cases.user[case], atol=1e-5)


def test_it_is_written_without_the_onnx_package(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    script = "import sys; sys.modules['onnx'] = None; from deployrec.cli.main import run; sys.exit(run(sys.argv[1:]))"
    build = ["build", "triton", str(twin_bundle().path), "--out", str(tmp_path / "out"), "--k", "5"]
    subprocess.run([sys.executable, "-c", script, *build], check=True)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "step" / "1" / "model.onnx")
    assert "k" not in {value.name for value in session.get_inputs()}


def test_a_repository_is_new_and_lists_fit(
    repository: Path, twin_bundle: Callable[..., Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="exists"):
        build_repository(twin_bundle(), repository)
    with pytest.raises(ConfigError, match="k from 1 to 30"):
        build_repository(twin_bundle(), tmp_path / "other", k=31)
    assert not (tmp_path / "other").exists()
    assert run(["build", "triton", str(twin_bundle().path), "--out", str(tmp_path / "by-cli")]) == 0
    assert "step, step_stateless, encode, recommender" in capsys.readouterr().out
    assert build_repository(twin_bundle(kind="encode-only"), tmp_path / "no-step", 5) == ["encode", "recommender"]


@pytest.mark.slow
@pytest.mark.parametrize("client", [http, grpc], ids=["http", "grpc"])
def test_a_real_server_answers_as_the_certificate_says(
    repository: Path,
    twin_bundle: Callable[..., Bundle],
    tritonserver: Callable[[Path], tuple[int, int]],
    client: Any,
    tmp_path: Path,
) -> None:
    bundle = twin_bundle()
    cases, ids = bundle.cases(), bundle.catalogue().item_ids
    library = Recommender.load(bundle.path)
    ports = tritonserver(repository)
    server = client.InferenceServerClient(f"127.0.0.1:{ports[client is grpc]}")
    assert server.is_model_ready("recommender")
    for case in (place for place, length in enumerate(cases.lengths) if length == 8):
        items = [ids[row] for row in cases.history(case)]
        user, end = f"user-{case}", len(items) - 1
        texts = ([user] * end, items[:end], [f"e{n}" for n in range(end)])
        asked(client, server, *texts)
        found = asked(client, server, [user], items[end:], ["last"])
        assert found["outcome"].tolist() == [[b"applied"]]
        assert asked(client, server, [user], items[end:], ["last"])["outcome"].tolist() == [[b"duplicate"]]
        # The certificate leaves out the newest three items, the recommender all that were seen.
        certified = [ids[row] for row in cases.topk_items[case] if row and ids[row] not in items]
        best = [text.decode() for text in found["item_ids"][0] if text]
        assert best == certified[: len(best)]
        library.encode_history(user, items)
        assert [text.decode() for text in found["titles"][0] if text] == [e.title for e in library.recommend(user, K)]
    with pytest.raises(Exception, match="expected a user id"):
        asked(client, server, [""], ["i1"], [""])
    # This package has no backends for ONNX: it reads and checks their configs, and says that alone is missing.
    log = (tmp_path / "triton.log").read_text()
    for model in ("step", "step_stateless", "encode"):
        assert f"failed to load '{model}'" in log
        assert not server.is_model_ready(model)
    assert log.count("unable to find backend library") >= 3
    assert "failed to load 'recommender'" not in log


def asked(client: Any, server: Any, users: list[str], items: list[str], ids: list[str]) -> dict[str, np.ndarray]:
    inputs = []
    for name, texts in (("user", users), ("item", items), ("event_id", ids)):
        inputs.append(client.InferInput(name, [len(texts), 1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([[text.encode()] for text in texts], object))
    answer = server.infer("recommender", inputs)
    return {name: answer.as_numpy(name) for name in ("outcome", "item_ids", "titles", "scores")}
