"""An exported bundle as a row of an evaluation: histories go through the graphs that will serve them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.states import Observation, UserStore
from deployrec.runtime.updates import NOTHING, Updates, window_of


class BundleScorer:
    """Users as they are served: each event of a history is one run of the step graph, many users to a run.

    A model whose state is exact up to a window, or that has none, reads each user's newest window through the encode
    graph, as the runtime does. `options` go to the backend. Raises ConfigError for an unknown backend or option.
    """

    def __init__(self, bundle: Bundle, backend: str = "onnxruntime", **options: object) -> None:
        self.name = backend
        self._manifest = bundle.manifest
        self._backend = load_backend(backend, bundle, **options)
        self._table = torch.from_numpy(bundle.item_table())
        self._window = window_of(bundle.manifest)
        self.chunk = self._window or 1

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        user = self._encoded(histories) if self._window else self._stepped(histories)
        scores = torch.from_numpy(user) @ self._table.T
        scores[:, 0] = -torch.inf
        return scores

    def _stepped(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """User vectors [B, D] after every event of every history, the longest first so that finished ones drop off."""
        lengths = np.array([len(history) for history in histories])
        order = np.argsort(-lengths, kind="stable")
        items = np.zeros((lengths.max(), len(order)), np.int64)
        for column, row in enumerate(order):
            items[: lengths[row], column] = histories[row]
        user = np.zeros((len(order), self._manifest.dim), np.float32)
        state = {t.name: np.zeros((len(order), *t.shape), np.float32) for t in self._manifest.state.tensors}
        for position, event in enumerate(items):
            active = int((lengths > position).sum())
            past = {name: tensor[:active] for name, tensor in state.items()}
            found = self._backend.step(event[:active], NOTHING.repeat(active, 0), past)
            user[:active] = found.user
            for name, tensor in state.items():
                tensor[:active] = found.state[name]
        return user[np.argsort(order)]

    def _encoded(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """User vectors [B, D] after each history's newest window."""
        store = UserStore(self._manifest, self._window)
        slots = [store.slot(str(row)) for row in range(len(histories))]
        reads = ([Observation(int(item)) for item in history[-self._window :]] for history in histories)
        Updates(self._manifest, self._backend, store).histories(dict(zip(slots, reads, strict=True)))
        return store.arrays["user"][slots]
