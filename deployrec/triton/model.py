"""The python model of `build_repository`: deployrec's runtime inside Triton's Python backend."""

from __future__ import annotations

import importlib
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.errors import DeployrecError
from deployrec.runtime import Recommender


class TritonPythonModel:
    """Reads one event a row (user, item, event_id) and answers with its outcome and the user's best items.

    An empty item is no event: the list alone. Rows of one batch share the runs of the graphs, whoever sent them.
    Lists that hold fewer than k items end in "" and -inf.
    """

    def initialize(self, args: dict[str, str]) -> None:
        self.pb = importlib.import_module("triton_python_backend_utils")
        parameters = json.loads(args["model_config"])["parameters"]
        self.k = int(parameters["k"]["string_value"])
        bundle = Path(args["model_repository"]) / args["model_version"] / "bundle"
        self.recommender = Recommender.load(bundle, store=parameters["store"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        rows = [self._rows(request) for request in requests]
        try:
            answers = self._answer(list(chain.from_iterable(rows)))
        except DeployrecError as error:
            if len(requests) == 1:
                return [self.pb.InferenceResponse(error=self.pb.TritonError(str(error)))]
            return [answer for request in requests for answer in self.execute([request])]
        found, start = [], 0
        for own in rows:
            end = start + len(own)
            tensors = [self.pb.Tensor(name, array[start:end]) for name, array in answers.items()]
            found.append(self.pb.InferenceResponse(output_tensors=tensors))
            start = end
        return found

    def finalize(self) -> None:
        self.recommender.close()

    def _rows(self, request: Any) -> list[tuple[str, str, str]]:
        """user, item and event id of each row, "" for none."""
        users, items, ids = (self._texts(request, name) for name in ("user", "item", "event_id"))
        return list(zip(users, items, ids or [""] * len(users), strict=True))

    def _texts(self, request: Any, name: str) -> list[str]:
        tensor = self.pb.get_input_tensor_by_name(request, name)
        return [] if tensor is None else [value.decode() for value in tensor.as_numpy().ravel()]

    def _answer(self, rows: list[tuple[str, str, str]]) -> dict[str, np.ndarray]:
        told = [place for place, (_, item, _) in enumerate(rows) if item]
        outcomes, lists = self.recommender.observe_many([rows[place] for place in told], self.k)
        lists |= self.recommender.recommend_many([user for user, _, _ in rows if user not in lists], self.k)
        outcome = np.full((len(rows), 1), b"", object)
        for place, each in zip(told, outcomes, strict=True):
            outcome[place] = str(each).encode()
        ids, titles = (np.full((len(rows), self.k), b"", object) for _ in range(2))
        scores = np.full((len(rows), self.k), -np.inf, np.float32)
        for place, (user, _, _) in enumerate(rows):
            best = lists[user]
            ids[place, : len(best)] = [entry.item_id.encode() for entry in best]
            titles[place, : len(best)] = [entry.title.encode() for entry in best]
            scores[place, : len(best)] = [entry.score for entry in best]
        return {"outcome": outcome, "item_ids": ids, "titles": titles, "scores": scores}
