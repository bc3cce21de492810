"""The python model answers a time-aware bundle's requests for their moments, without a server around it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deployrec.bundle import Bundle
from deployrec.runtime import Recommender
from deployrec.triton.model import TritonPythonModel
from deployrec.triton.repository import build_repository

AT = 1_769_860_800
"""2026-01-31T12:00:00Z"""
K = 4


@pytest.fixture
def model(twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TritonPythonModel:
    """The model in a repository of a time-aware bundle, with plain objects for Triton's."""
    utilities = SimpleNamespace(
        Tensor=lambda name, array: (name, array),
        InferenceResponse=lambda output_tensors=None, error=None: error or dict(output_tensors),
        TritonError=str,
        get_input_tensor_by_name=lambda request, name: request.get(name),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    build_repository(twin_bundle(unit="s"), tmp_path / "repository", K)
    config = json.dumps({"parameters": {"k": {"string_value": str(K)}, "store": {"string_value": "memory"}}})
    folder = str(tmp_path / "repository" / "recommender")
    made = TritonPythonModel()
    made.initialize({"model_config": config, "model_repository": folder, "model_version": "1"})
    return made


def request(**columns: list[str]) -> dict[str, Any]:
    def tensor(texts: list[str]) -> Any:
        return SimpleNamespace(as_numpy=lambda: np.array([[text.encode()] for text in texts], object))

    return {name: tensor(texts) for name, texts in columns.items()}


def test_lists_are_those_of_their_moments(model: TritonPythonModel, twin_bundle: Callable[..., Bundle]) -> None:
    library = Recommender.load(twin_bundle(unit="s").path)
    (answer, wrong) = model.execute(
        [
            request(user=["ann", "bob"], item=["i3", "i4"], time=[str(AT), "2026-01-31T12:00"], now=["", str(AT + 9)]),
            request(user=["ann"], item=["i3"], time=["yesterday"]),
        ]
    )
    assert "expected a time" in wrong
    expected = {"ann": library.observe_and_recommend("ann", "i3", time=AT, k=K)}
    expected["bob"] = library.observe_and_recommend("bob", "i4", time=AT, k=K, now=AT + 9)
    for place, user in enumerate(expected):
        np.testing.assert_allclose(answer["scores"][place], [e.score for e in expected[user]], atol=1e-5)
    (answer,) = model.execute([request(user=["ann"], item=[""], now=["2026-01-31T12:01:00Z"])])
    found = library.recommend("ann", K, now=AT + 60)
    np.testing.assert_allclose(answer["scores"][0], [entry.score for entry in found], atol=1e-5)
    assert answer["outcome"].tolist() == [[b""]]


def test_the_step_of_a_time_aware_bundle_takes_the_seconds(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    build_repository(twin_bundle(unit="s"), tmp_path / "repository", K)
    for name, timed in (("step", True), ("step_stateless", True), ("encode", False)):
        text = (tmp_path / "repository" / name / "config.pbtxt").read_text()
        inputs = {each.name: each for each in text_format.Parse(text, pb.ModelConfig()).input}
        assert ("elapsed" in inputs) is timed
        if timed:
            assert (inputs["elapsed"].data_type, list(inputs["elapsed"].dims)) == (pb.TYPE_FP32, [1])
