"""RecBole's own models in the same race, each answering from its own Python environment.

    python -m venv FOLDER/recbole
    FOLDER/recbole/bin/pip install recbole==1.2.1 "numpy<2" "pandas<2.3" "scipy<1.14" "setuptools<81" torch
    python benchmarks/latency.py --peers FOLDER

`peers(FOLDER)` gives a contender for each that starts; the others are named with the reason. A peer runs as a process
that reads one JSON line for each turn and answers with the seconds of its calls, so nothing of the pipe is timed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployrec.benchmark.config import Point
    from deployrec.benchmark.race import Timer
    from deployrec.benchmark.replay import Sessions

RECBOLE = {"RecBole SASRec": "SASRec", "RecBole GRU4Rec": "GRU4Rec"}
NO_REPLAY = "RePlay SASRec: no adapter in peers.py; its package installs a CUDA torch of several GB"
TOP_K = 10
LONGEST = {"SASRec": 200}
"""Models with learned positions read the newest so many events."""


def peers(folder: Path | None, num_items: int) -> tuple[list[Peer], list[str]]:
    """The peers whose environments are there and work, and one line about each that is not."""
    if folder is None:
        return [], [NO_REPLAY] + [f"{label}: no folder of environments was named (--peers)" for label in RECBOLE]
    found, absent = [], [NO_REPLAY]
    python = folder / "recbole" / "bin" / "python"
    for label, model in RECBOLE.items():
        try:
            found.append(Peer(label, model, python, num_items))
        except (OSError, RuntimeError) as error:
            absent.append(f"{label}: {error}")
    return found, absent


class Peer:
    """A contender (see deployrec.benchmark.contenders) that answers from another process."""

    mode = "encode"

    def __init__(self, label: str, model: str, python: Path, num_items: int) -> None:
        self.label, self.backend, self.num_items = label, "torch", num_items
        self.process = subprocess.Popen(
            [python, __file__, model, str(num_items)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._read() != "ready":
            raise RuntimeError("its process did not start")

    def bytes(self, point: Point) -> int:
        """Of this process: nothing."""
        return 0

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        import numpy as np

        histories = [session.history.tolist() for session in sessions]
        cell = self._ask({"threads": point.threads, "histories": histories})
        return lambda number: np.array(self._ask({"cell": cell, "calls": number}))

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        for line in self.process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise RuntimeError(f"its process ended: {self.process.stderr.read().strip().rpartition(chr(10))[2]}")


def work(name: str, num_items: int) -> None:
    """The peer's side: RecBole's model, its full-sort prediction and torch's top-k, random weights."""
    import torch

    model, interaction = recbole_model(name, num_items)
    cells: list[tuple[int, list[Any]]] = []
    answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "histories" in request:
            batches = [torch.tensor(rows)[:, -LONGEST.get(name, len(rows[0])) :] for rows in request["histories"]]
            cells.append((request["threads"], [interaction(rows) for rows in batches]))
            answer(len(cells) - 1)
            continue
        threads, batches = cells[request["cell"]]
        torch.set_num_threads(threads)
        times = []
        with torch.inference_mode():
            for number in range(request["calls"]):
                begin = time.perf_counter()
                torch.topk(model.full_sort_predict(batches[number % len(batches)]), TOP_K)
                times.append(time.perf_counter() - begin)
        answer(times)


def recbole_model(name: str, num_items: int) -> tuple[Any, Any]:
    """(model, what makes its input from item rows [B, T])."""
    import torch
    from recbole.config import Config
    from recbole.data.interaction import Interaction
    from recbole.utils import get_model

    class Catalogue:
        def num(self, field: str) -> int:
            return num_items + 1

    settings = {"use_gpu": False, "MAX_ITEM_LIST_LENGTH": LONGEST.get(name, 200), "train_neg_sample_args": None}
    config = Config(model=name, dataset="ml-1m", config_dict=settings)
    model = get_model(name)(config, Catalogue()).eval()

    def interaction(rows: Any) -> Any:
        lengths = torch.full((len(rows),), rows.shape[1])
        return Interaction({model.ITEM_SEQ: rows, model.ITEM_SEQ_LEN: lengths})

    return model, interaction


def answer(content: Any) -> None:
    print("answer", json.dumps(content), flush=True)


if __name__ == "__main__":
    # RecBole's own start reads sys.argv.
    name, size = sys.argv[1:]
    del sys.argv[1:]
    work(name, int(size))
