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
from deployrec.runtime.clock import of_text
from deployrec.runtime.events import Time

Row = tuple[str, str, str, str, str]


class TritonPythonModel:
    """Reads one event a row (user, item, event_id, time) and answers with its outcome and the user's best items.

    An empty item is no event: the list alone. Of a time-aware bundle that is the list of the moment `now` or, where it
    is empty, right after the event, or of this moment where there is none; time and now are digits or ISO 8601.
    Rows of one batch share the runs of the graphs, whoever sent them.
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

    def _rows(self, request: Any) -> list[Row]:
        """user, item, event id, time and now of each row, "" for none."""
        users, *others = (self._texts(request, name) for name in ("user", "item", "event_id", "time", "now"))
        return list(zip(users, *(texts or [""] * len(users) for texts in others), strict=True))

    def _texts(self, request: Any, name: str) -> list[str]:
        tensor = self.pb.get_input_tensor_by_name(request, name)
        return [] if tensor is None else [value.decode() for value in tensor.as_numpy().ravel()]

    def _answer(self, rows: list[Row]) -> dict[str, np.ndarray]:
        told = [place for place, (_, item, *_) in enumerate(rows) if item]
        events = [(*rows[place][:3], _moment(rows[place][3])) for place in told]
        outcomes, after = self.recommender.observe_many(events, self.k)
        asked: dict[str, list[str]] = {}
        for user, *_, now in rows:
            if now or user not in after:
                asked.setdefault(now, []).append(user)
        lists = {("", user): best for user, best in after.items()}
        for now, users in asked.items():
            found = self.recommender.recommend_many(users, self.k, now=_moment(now))
            lists |= {(now, user): best for user, best in found.items()}
        outcome = np.full((len(rows), 1), b"", object)
        for place, each in zip(told, outcomes, strict=True):
            outcome[place] = str(each).encode()
        ids, titles = (np.full((len(rows), self.k), b"", object) for _ in range(2))
        scores = np.full((len(rows), self.k), -np.inf, np.float32)
        for place, (user, *_, now) in enumerate(rows):
            best = lists[now, user]
            ids[place, : len(best)] = [entry.item_id.encode() for entry in best]
            titles[place, : len(best)] = [entry.title.encode() for entry in best]
            scores[place, : len(best)] = [entry.score for entry in best]
        return {"outcome": outcome, "item_ids": ids, "titles": titles, "scores": scores}


def _moment(text: str) -> Time | None:
    return of_text(text) if text else None
