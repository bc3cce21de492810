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
        self._backend = load_backend(backend, bundle, **options)
        self._reader = Reader(bundle.manifest, self._backend)
        self._table = torch.from_numpy(bundle.item_table().copy())
        self.chunk = bundle.manifest.window or 1

    @property
    def walks(self) -> bool:
        """Whether users are carried on event by event; else each request reads the newest events again."""
        return not self._reader.window

    def walk(self, histories: Sequence[np.ndarray], counts: np.ndarray) -> Tensor:
        """User vectors [sum(counts), D] after each of the last counts[b] events: one run of the step graph an event."""
        known = [history[: len(history) - count + 1] for history, count in zip(histories, counts, strict=True)]
        moved = self._reader.steps(known)
        place = np.cumsum(counts) - counts
        walked = np.empty((int(counts.sum()), moved.user.shape[1]), np.float32)
        walked[place] = moved.user
        state = {name: tensor.copy() for name, tensor in moved.state.items()}
        for number in range(1, int(counts.max())):
            going = np.flatnonzero(counts > number)
            rows = np.array([histories[row][len(known[row]) + number - 1] for row in going.tolist()])
            moved, _ = self._reader.one_each(rows, {name: tensor[going] for name, tensor in state.items()})
            walked[place[going] + number] = moved.user
            for name, tensor in state.items():
                tensor[going] = moved.state[name]
        return torch.from_numpy(walked)

    def score(self, users: Tensor, elapsed: np.ndarray | None = None) -> Tensor:
        """Scores [B, N + 1] of user vectors [B, D]; column 0 is -inf. A time-aware bundle is asked `elapsed`
        [B, 2] as `Scorer` has it, None for unknown."""
        if time := self._reader.manifest.time:
            told = None if elapsed is None else time.told(elapsed)
            users = torch.from_numpy(self._backend.moment(users.numpy(), told))
        scores = users @ self._table.T
        scores[:, 0] = -torch.inf
        return scores

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        manifest = self._reader.manifest
        read = self._reader.encode if manifest.window else self._reader.steps
        user = read([manifest.newest(history) for history in histories]).user
        return self.score(torch.from_numpy(user), elapsed)
