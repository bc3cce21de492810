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
from deployrec.runtime.backends.base import Backend, Copying, Moved, TopK, backends, in_place, load_backend
from deployrec.runtime.backends.onnxruntime import providers
from deployrec.runtime.backends.onnxruntime.providers import onnxruntime_providers, why_no_cuda

NOTHING = np.zeros((1, 1), np.int64)


@pytest.fixture(scope="module")
def backend(twin_bundle: Callable[..., Bundle]) -> Backend:
    return load_backend("onnxruntime", twin_bundle())


@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 99), st.integers(1, 30)), min_size=1, max_size=4),
)
def test_calls_of_all_sizes_answer_as_the_graphs_alone_do(
    backend: Backend, twin_bundle: Callable[..., Bundle], seed: int, sizes: list[tuple[int, int, int]]
) -> None:
    """Whatever was bound before; each graph alone is a session of its own."""
    bundle, draw = twin_bundle(), np.random.default_rng(seed)
    for batch, width, k in sizes:
        state = random_state(bundle, batch, seed)
        items, exclude = draw.integers(1, 31, batch), draw.integers(0, 31, (batch, width))
        request = {"exclude_items": exclude, "k": np.array([k])}
        past = {f"past.{name}": tensor for name, tensor in state.items()}
        expected = alone(bundle, "step", {"item_id": items, **request, **past})
        moved, best = backend.step(items, exclude.astype(np.int32), k, state)
        assert_same(expected, moved, best)
        user = moved.user.copy()
        assert_same(expected, backend.advance(items, state), backend.score(user, exclude, k))
        free = alone(bundle, "score", {"user": user, "exclude_items": NOTHING.repeat(batch, 0), "k": np.array([k])})
        np.testing.assert_array_equal(backend.score(user, None, k).items, free["topk_items"])


@pytest.mark.parametrize("kind", ["bound", "copying"])
def test_runs_in_place_answer_as_calls_do(backend: Backend, twin_bundle: Callable[..., Bundle], kind: str) -> None:
    bundle, draw = twin_bundle(), np.random.default_rng(5)
    rows, past = np.zeros(2, np.int64), random_state(bundle, 2, 0)
    moved = Moved(np.zeros((2, 4), np.float32), random_state(bundle, 2, 1))
    runs = in_place(backend, rows, past, moved) if kind == "bound" else Copying(backend, rows, past, moved)
    assert isinstance(runs, Copying) == (kind == "copying")
    for seed, (width, k) in enumerate([(1, 3), (80, 30), (5, 1)]):
        rows[...] = draw.integers(1, 31, 2)
        for name, tensor in random_state(bundle, 2, seed).items():
            past[name][...] = tensor
        exclude = draw.integers(0, 31, (2, width)).astype(np.int32)
        expected = alone(
            bundle,
            "step",
            {"item_id": rows, "exclude_items": exclude.astype(np.int64), "k": np.array([k])}
            | {f"past.{name}": tensor for name, tensor in past.items()},
        )
        assert_same(expected, moved, runs.step(exclude, k))
        moved.user[...] = 0
        runs.advance()
        np.testing.assert_allclose(moved.user, expected["user"], atol=1e-5)
    for wrong in (-1, 31):
        with pytest.raises(UnknownItemError):
            runs.step(np.array([[wrong], [1]]), 3)
        rows[1] = wrong
        with pytest.raises(UnknownItemError):
            runs.advance()
        rows[1] = 1


def test_excluded_items_of_one_call_do_not_reach_the_next(backend: Backend) -> None:
    user = np.ones((1, 4), np.float32)
    free = backend.score(user, None, 9).items.copy()
    assert not np.isin(backend.score(user, free, 9).items, free).any()
    np.testing.assert_array_equal(backend.score(user, NOTHING, 9).items, free)


@pytest.mark.parametrize("k", [0, -1, 31])
def test_a_k_beyond_the_catalogue_never_runs(backend: Backend, twin_bundle: Callable[..., Bundle], k: int) -> None:
    state = random_state(twin_bundle(), 1, 0)
    for call in (
        lambda: backend.step(np.array([1]), None, k, state),
        lambda: backend.score(np.ones((1, 4), np.float32), None, k),
    ):
        with pytest.raises(ConfigError, match=f"expected k from 1 to 30; got {k};"):
            call()


@pytest.mark.parametrize("wrong", [-1, 31, 2**40])
def test_rows_outside_the_table_never_run(backend: Backend, twin_bundle: Callable[..., Bundle], wrong: int) -> None:
    state, user = random_state(twin_bundle(), 2, 0), np.ones((2, 4), np.float32)
    one = {name: tensor[:1] for name, tensor in state.items()}
    good, bad = np.array([1, 2]), np.array([1, wrong])
    calls = [
        lambda: backend.step(np.array([wrong]), None, 3, one),
        lambda: backend.step(np.array([1]), np.array([[wrong]]), 3, one),
        lambda: backend.step(bad, np.zeros((2, 1), np.int64), 3, state),
        lambda: backend.step(good, bad[:, None], 3, state),
        lambda: backend.advance(bad, state),
        lambda: backend.encode(bad[None], np.array([2]), one),
        lambda: backend.score(user, bad[:, None], 3),
    ]
    for call in calls:
        with pytest.raises(UnknownItemError, match=f"from 0 to 30; got {wrong};"):
            call()


def test_a_row_without_events_keeps_its_state(backend: Backend, twin_bundle: Callable[..., Bundle]) -> None:
    state = random_state(twin_bundle(), 3, 0)
    items = np.array([[5, 6], [7, 8], [9, 0]])
    found = backend.encode(items, np.array([2, 0, 1]), state)
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


def alone(bundle: Bundle, graph: str, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a graph says by itself, by the names of its outputs."""
    session = onnxruntime.InferenceSession(bundle.file(f"{graph}.onnx"))
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def assert_same(expected: dict[str, np.ndarray], moved: Moved, best: TopK) -> None:
    np.testing.assert_array_equal(best.items, expected["topk_items"])
    np.testing.assert_allclose(best.scores, expected["topk_scores"], atol=1e-5)
    np.testing.assert_allclose(moved.user, expected["user"], atol=1e-5)
    assert {f"present.{name}" for name in moved.state} == {name for name in expected if name.startswith("present.")}
    for name, tensor in moved.state.items():
        np.testing.assert_allclose(tensor, expected[f"present.{name}"], atol=1e-5)
