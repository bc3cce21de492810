"""RecBole's models in RecBole's environment: its full-sort prediction and torch's top-k, random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.cells import Cells, K, versions
from benchmarks.workers import serve

WINDOWS = {"SASRec": 200, "GRU4Rec": None}
"""Models with learned positions read the newest so many events."""


def main() -> None:
    name, num_items = sys.argv[1], int(sys.argv[2])
    del sys.argv[1:]  # RecBole's own start reads them
    serve({"versions": versions("recbole", "torch"), "window": WINDOWS[name]}, Cells(RecBole(name, num_items)))


class RecBole:
    """See `Model`."""

    def __init__(self, name: str, num_items: int) -> None:
        from recbole.config import Config
        from recbole.utils import get_model

        class Catalogue:
            def num(self, field: str) -> int:
                return num_items + 1

        self.window = WINDOWS[name]
        settings = {"use_gpu": False, "MAX_ITEM_LIST_LENGTH": 200, "train_neg_sample_args": None}
        config = Config(model=name, dataset="ml-1m", config_dict=settings)
        self.model = get_model(name)(config, Catalogue()).eval()

    def prepare(self, histories: list[list[list[int]]], threads: int) -> tuple[list[Callable[[], object]], None]:
        return [self._call(torch.tensor(rows), threads) for rows in histories], None

    def _call(self, rows: torch.Tensor, threads: int) -> Callable[[], object]:
        from recbole.data.interaction import Interaction

        if self.window is not None:
            rows = rows[:, -self.window :]
        lengths = torch.full((len(rows),), rows.shape[1])
        batch: Any = Interaction({self.model.ITEM_SEQ: rows, self.model.ITEM_SEQ_LEN: lengths})

        def call() -> None:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.inference_mode():
                torch.topk(self.model.full_sort_predict(batch), K)

        return call


if __name__ == "__main__":
    main()
