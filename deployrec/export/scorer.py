"""An exported bundle as a row of an evaluation: histories go through the graphs that will serve them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader


class BundleScorer:
    """Users as they are served: each event of a history is one run of the step graph, many users to a run.

    A model whose state is exact up to a window, or that has none, reads each user's newest window through the encode
    graph, as the runtime does. `options` go to the backend. Raises ConfigError for an unknown backend or option.
    """

    def __init__(self, bundle: Bundle, backend: str = "onnxruntime", **options: object) -> None:
        self.name = backend
        self._reader = Reader(bundle.manifest, load_backend(backend, bundle, **options))
        self._table = torch.from_numpy(bundle.item_table().copy())
        self.chunk = bundle.manifest.window or 1

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        manifest = self._reader.manifest
        read = self._reader.encode if manifest.window else self._reader.steps
        user = read([manifest.newest(history) for history in histories]).user
        scores = torch.from_numpy(user) @ self._table.T
        scores[:, 0] = -torch.inf
        return scores
