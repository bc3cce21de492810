"""Bundles made for timing compute what their models compute, over any catalogue, and rivals are made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deployrec.benchmark import bundles
from deployrec.benchmark.bundles import random_bundle, resized_bundle, rival_bundle
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError
from deployrec.export.again import torch_model
from deployrec.export.graphs import StepGraph
from deployrec.runtime.backends.base import load_backend

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]


def answers(bundle: Bundle) -> tuple[Answer, Answer]:
    """(ONNX Runtime's, torch's) top-k and user vector after one step of a batch of two."""
    items, exclude = np.array([3, 7]), np.array([[1, 0], [2, 9]])
    state = {t.name: np.zeros((2, *t.shape), np.float32) for t in bundle.manifest.state.tensors}
    moved, found = load_backend("onnxruntime", bundle).step(items, exclude, 20, state)
    graph = StepGraph(torch_model(bundle))
    with torch.inference_mode():
        past = [torch.from_numpy(tensor) for tensor in state.values()]
        best, scores, user, *_ = graph(torch.from_numpy(items), torch.from_numpy(exclude), 20, past)
    return (found.items, found.scores, moved.user), (best.numpy(), scores.numpy(), user.numpy())


@pytest.mark.parametrize("num_items", [21, 480, 5000])
@pytest.mark.parametrize("key", ["recblr", "sasrec"])
def test_a_resized_bundle_is_the_model_with_another_table(
    bundle_of: Callable[[str], Path], tmp_path: Path, key: str, num_items: int
) -> None:
    resized = resized_bundle(Bundle.open(bundle_of(key)), num_items, tmp_path / "resized")
    Bundle.open(resized.path)
    assert resized.manifest.num_items == num_items
    (items, scores, user), (best, expected, vector) = answers(resized)
    assert items.max() <= num_items
    np.testing.assert_allclose(user, vector, atol=1e-5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert (items == best).mean() > 0.9


def test_a_bundles_model_in_torch_is_its_own(bundle_of: Callable[[str], Path]) -> None:
    (items, scores, user), (best, expected, vector) = answers(Bundle.open(bundle_of("recblr")))
    np.testing.assert_allclose(user, vector, atol=1e-5)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert (items == best).mean() > 0.9


def test_a_rival_is_exported_once_and_again_when_it_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def small(key: str, num_items: int, folder: Path) -> Bundle:
        made.append(key)
        return random_bundle(key, num_items, folder, dim=8)

    monkeypatch.setattr(bundles, "random_bundle", small)
    first = rival_bundle("gru4rec", 30)
    assert rival_bundle("gru4rec", 30).manifest.bundle_id == first.manifest.bundle_id
    assert len(made) == 1
    (first.path / "items.bin").write_bytes(b"")
    rival_bundle("gru4rec", 30)
    assert len(made) == 2
    assert len(list(first.path.parent.iterdir())) == 1


def test_an_unknown_rival_is_one_clear_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"expected one of the models .*; got 'abacus'"):
        rival_bundle("abacus", 30)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
