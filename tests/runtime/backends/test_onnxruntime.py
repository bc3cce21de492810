"""The ONNX Runtime backend: bound and unbound calls agree, rows are range-checked, nothing is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deployrec.runtime.backends
from deployrec.bundle.bundle import seal
from deployrec.errors import BundleError, ConfigError, UnknownItemError
from deployrec.runtime import Bundle
from deployrec.runtime.backends.base import Backend, Output, backends, load_backend
from deployrec.runtime.backends.onnxruntime import providers
from deployrec.runtime.backends.onnxruntime.providers import onnxruntime_providers, why_no_cuda

NOTHING = np.zeros((1, 1), np.int64)


@pytest.fixture(scope="module")
def backend(twin_bundle: Callable[..., Bundle]) -> Backend:
    return load_backend("onnxruntime", twin_bundle())


@given(seed=st.integers(0, 1000), batch=st.integers(2, 5), widths=st.lists(st.integers(1, 10), min_size=1, max_size=4))
def test_one_row_on_bound_buffers_answers_as_in_a_batch(
    backend: Backend, twin_bundle: Callable[..., Bundle], seed: int, batch: int, widths: list[int]
) -> None:
    draw = np.random.default_rng(seed)
    state = random_state(twin_bundle(), batch, seed)
    for width in widths:
        items, exclude = draw.integers(1, 31, batch), draw.integers(0, 31, (batch, width))
        together = backend.step(items, exclude, state)
        scored = backend.score(together.user, exclude)
        for row in range(batch):
            one = slice(row, row + 1)
            alone = backend.step(items[one], exclude[one], {name: tensor[one] for name, tensor in state.items()})
            for got, expected in zip(flat(alone), flat(together), strict=True):
                np.testing.assert_allclose(got, expected[one], atol=1e-5)
            found = backend.score(together.user[one], exclude[one])
            np.testing.assert_array_equal(found[0], scored[0][one])
            np.testing.assert_array_equal(found[0], together.topk_items[one])


def test_excluded_items_of_one_call_do_not_reach_the_next(backend: Backend, twin_bundle: Callable[..., Bundle]) -> None:
    user = np.ones((1, 4), np.float32)
    free = backend.score(user, NOTHING)[0].copy()
    assert not np.isin(backend.score(user, free[:, :9])[0], free[:, :9]).any()
    np.testing.assert_array_equal(backend.score(user, NOTHING)[0], free)


@pytest.mark.parametrize("wrong", [-1, 31, 2**40])
def test_rows_outside_the_table_never_run(backend: Backend, twin_bundle: Callable[..., Bundle], wrong: int) -> None:
    state, user = random_state(twin_bundle(), 2, 0), np.ones((2, 4), np.float32)
    one = {name: tensor[:1] for name, tensor in state.items()}
    good, bad = np.array([1, 2]), np.array([1, wrong])
    calls = [
        lambda: backend.step(np.array([wrong]), NOTHING, one),
        lambda: backend.step(np.array([1]), np.array([[wrong]]), one),
        lambda: backend.step(bad, np.zeros((2, 1), np.int64), state),
        lambda: backend.step(good, bad[:, None], state),
        lambda: backend.encode(bad[None], np.array([2]), NOTHING, one),
        lambda: backend.encode(good[None], np.array([2]), bad[None], one),
        lambda: backend.score(user, bad[:, None]),
    ]
    for call in calls:
        with pytest.raises(UnknownItemError, match=f"from 0 to 30; got {wrong};"):
            call()


def test_a_row_without_events_keeps_its_state(backend: Backend, twin_bundle: Callable[..., Bundle]) -> None:
    state = random_state(twin_bundle(), 3, 0)
    items = np.array([[5, 6], [7, 8], [9, 0]])
    found = backend.encode(items, np.array([2, 0, 1]), np.zeros((3, 1), np.int64), state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found.state[name][1], tensor[1])
        assert not np.array_equal(found.state[name][0], tensor[0])


def test_a_graph_that_is_none_or_another_is_one_line(copy_of: Callable, twin_bundle: Callable[..., Bundle]) -> None:
    folder = copy_of(twin_bundle()).path
    document = json.loads((folder / "manifest.json").read_text())
    model = onnx.load(folder / "step.onnx", load_external_data=False)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    onnx.save(model, folder / "step.onnx")
    seal(folder, document)
    with pytest.raises(BundleError, match=r"expected the outputs topk_items .*step\.onnx; got other "):
        load_backend("onnxruntime", Bundle.open(folder))
    (folder / "step.onnx").write_bytes(b"no graph")
    seal(folder, document)
    with pytest.raises(BundleError, match=r"expected the step graph in .*step\.onnx") as error:
        load_backend("onnxruntime", Bundle.open(folder))
    assert "\n" not in str(error.value)


def test_a_new_backend_is_one_file(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "echo.py").write_text("def load(bundle, **options):\n    return bundle, options\n")
    folders = [*deployrec.runtime.backends.__path__, str(tmp_path)]
    monkeypatch.setattr(deployrec.runtime.backends, "__path__", folders)
    monkeypatch.setattr(deployrec.runtime.backends.__spec__, "submodule_search_locations", folders)
    assert {"echo", "onnxruntime"} <= set(backends())
    assert load_backend("echo", twin_bundle(), volume=3) == (twin_bundle(), {"volume": 3})


def test_a_backend_that_cannot_be_imported_is_one_line(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError('libcudart.so.99: cannot open\\nmore')\n")
    folders = [*deployrec.runtime.backends.__path__, str(tmp_path)]
    monkeypatch.setattr(deployrec.runtime.backends, "__path__", folders)
    monkeypatch.setattr(deployrec.runtime.backends.__spec__, "submodule_search_locations", folders)
    with pytest.raises(ConfigError, match=r"expected the backend broken to be imported; got libcudart\.so\.99: cannot"):
        load_backend("broken", twin_bundle())


def test_cuda_is_named_only_where_it_can_load(monkeypatch: pytest.MonkeyPatch) -> None:
    assert onnxruntime_providers("cpu") == ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in why_no_cuda()
    with pytest.raises(ConfigError, match=r"expected a CUDA device for ONNX Runtime; got .*; use device 'cpu'"):
        onnxruntime_providers("cuda")


def test_cuda_never_rounds_products_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "why_no_cuda", lambda: "")
    assert onnxruntime_providers("cuda")[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})


def test_loading_and_asking_for_cuda_print_nothing(twin_bundle: Callable[..., Bundle]) -> None:
    script = (
        "import sys\nfrom deployrec.runtime import Recommender\n"
        "from deployrec.runtime.backends.onnxruntime.providers import why_no_cuda\n"
        "why_no_cuda(); Recommender.load(sys.argv[1]).observe_and_recommend('ann', 'i1')"
    )
    command = [sys.executable, "-c", script, str(twin_bundle().path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout + result.stderr == ""


def random_state(bundle: Bundle, batch: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    tensors = bundle.manifest.state.tensors
    return {tensor.name: draw.normal(size=(batch, *tensor.shape)).astype(np.float32) for tensor in tensors}


def flat(output: Output) -> list[np.ndarray]:
    return [output.topk_items, output.topk_scores, output.user, *output.state.values()]
