"""The bundle's model in torch, from weights.safetensors, for the graphs to be compared with; torch is imported late."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import WEIGHTS
from deployrec.runtime.backends.base import NOTHING
from deployrec_demo.engine import SHOWN, Output

LOADING = "loading torch ..."


class TorchTwin:
    """Answers like the graphs: arrays in, `Output` out, on one CPU thread."""

    def __init__(self, bundle: Bundle) -> None:
        import torch
        from safetensors.torch import load_file

        from deployrec.export.graphs import recommend
        from deployrec.models import build_model, spec_of

        manifest = bundle.manifest
        self.torch, self.recommend = torch, recommend
        self.manifest, self.k = manifest, min(SHOWN, manifest.num_items)
        self.model = build_model(spec_of(manifest.model), manifest.num_items, manifest.model["config"])
        self.model.load_state_dict(load_file(bundle.file(WEIGHTS)))
        self.model.eval()

    def step(self, row: int, exclude: np.ndarray, state: dict[str, np.ndarray]) -> Output:
        """One event from a state [1, ...]; exclude [1, E]."""
        past = {name: self.torch.from_numpy(tensor) for name, tensor in state.items()}
        return self._answer(exclude, self.model.step, self.torch.tensor([row]), past)

    def encode(self, rows: Sequence[int], exclude: np.ndarray) -> Output:
        """A whole history from the start, or its newest window."""
        items = self.torch.from_numpy(self.manifest.newest(np.array(rows, np.int64))[None])
        return self._answer(exclude, self.model.encode_last, items, self.torch.tensor([items.shape[1]]))

    def warm(self) -> None:
        """Runs everything once: the first calls of torch load and choose code, which takes seconds."""
        self.encode([1], NOTHING)
        if self.model.state_spec.tensors:
            self.step(1, NOTHING, self.manifest.state.zeros(1))

    def _answer(self, exclude: np.ndarray, call: Any, *inputs: Any) -> Output:
        torch = self.torch
        torch.set_num_threads(1)
        with torch.inference_mode():
            user, state = call(*inputs)
            items, scores = self.recommend(self.model, user, torch.from_numpy(exclude), self.k)
        return Output(items.numpy(), scores.numpy(), user.numpy(), {name: t.numpy() for name, t in state.items()})


class LateTorch:
    """Loads the twin in the background, so that the first page does not wait for torch."""

    def __init__(self, bundle: Bundle) -> None:
        self.found: TorchTwin | str = LOADING
        if find_spec("torch") is None:
            self.found = "torch is not installed"
            return
        threading.Thread(target=self._load, args=(bundle,), daemon=True).start()

    def _load(self, bundle: Bundle) -> None:
        try:
            twin = TorchTwin(bundle)
            twin.warm()
            self.found = twin
        except Exception as error:  # whatever stops torch, the page goes on and says so
            self.found = f"torch cannot run this model: {str(error).partition(chr(10))[0]}"
