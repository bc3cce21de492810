"""Other projects' own models in the same race, each answering from its own Python environment.

    python -m venv FOLDER/recbole
    FOLDER/recbole/bin/pip install torch==2.13.0 recbole==1.2.1 "numpy<2" "pandas<2.3" "scipy<1.14" "setuptools<81"
    python -m venv FOLDER/replay
    FOLDER/replay/bin/pip install torch==2.13.0 "replay-rec[torch]==0.22.0" openvino onnx onnxruntime onnxscript
    python benchmarks/latency.py --peers FOLDER

Builds of torch for a CPU are enough. `peers(FOLDER)` gives a contender for each that starts; the others are named with
the reason. All have random weights and d = 64. A worker answers with the seconds of its calls: nothing of the pipe is
timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.workers import Worker

if TYPE_CHECKING:
    from deployrec.benchmark import Peer as Facts
    from deployrec.benchmark import Point
    from deployrec.benchmark.race import Timer
    from deployrec.benchmark.replay import Sessions

ROOT = Path(__file__).parents[2]
INCLUDES = "scores of all items and the 10 best; what was seen is not left out"
"""What a peer's call does. Ours leave out what was seen."""


class Kind(NamedTuple):
    """A peer: what charts call it, its environment's folder, what runs it, and what its worker is told."""

    label: str
    environment: str
    backend: str
    model: str


KINDS = (
    Kind("RePlay SASRec (OpenVINO)", "replay", "openvino", "openvino"),
    Kind("RePlay SASRec (OpenVINO, float32)", "replay", "openvino", "openvino-float32"),
    Kind("RePlay SASRec (ONNX)", "replay", "onnxruntime", "onnxruntime"),
    Kind("RecBole SASRec", "recbole", "torch", "SASRec"),
    Kind("RecBole GRU4Rec", "recbole", "torch", "GRU4Rec"),
)


def peers(
    folder: Path | None, num_items: int, kinds: Sequence[Kind] = KINDS, core: int | None = None
) -> tuple[list[Peer], list[str]]:
    """The peers whose environments are there and work, and one line about each that is not. core: see `Worker`."""
    if folder is None:
        return [], [f"{kind.label}: no folder of environments was named (--peers)" for kind in kinds]
    found, absent = [], []
    for kind in kinds:
        try:
            found.append(Peer(kind, folder, num_items, core))
        except (OSError, RuntimeError) as error:
            absent.append(f"{kind.label}: {str(error).replace(str(folder), 'FOLDER')}")
    return found, absent


class Peer:
    """A contender (see deployrec.benchmark.contenders) that answers from another process, whose packages `versions`
    names; differences: the largest of each cell from its own torch's scores."""

    mode = "encode"

    def __init__(self, kind: Kind, folder: Path, num_items: int, core: int | None = None) -> None:
        self.label, self.backend, self.num_items = kind.label, kind.backend, num_items
        python = folder / kind.environment / "bin" / "python"
        module = f"benchmarks.peers.{kind.environment}_worker"
        self._worker = Worker(python, module, (kind.model, num_items), path=[ROOT], core=core)
        self.versions: dict[str, str] = self._worker.about["versions"]
        self.window: int | None = self._worker.about["window"]
        self.differences: dict[str, Difference] = {}

    def on(self, axis: str, point: Point) -> bool:
        """A peer is measured everywhere."""
        return True

    def bytes(self, point: Point) -> int:
        """Of this process: nothing."""
        return 0

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        import numpy as np

        histories = [session.history.tolist() for session in sessions]
        prepared = self._worker.ask(prepare={"threads": point.threads, "histories": histories})
        if prepared["difference"] is not None:
            where = f"B={point.batch}, T={point.history}"
            self.differences[where] = Difference(**prepared["difference"])
        return lambda number: np.array(self._worker.ask(cell=prepared["cell"], calls=number))

    def facts(self) -> Facts:
        """What a report says of it."""
        from deployrec.benchmark import Peer as Facts

        differences = {where: str(found) for where, found in self.differences.items()}
        return Facts(self.label, INCLUDES, self.versions, self.window, differences)

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()


class Difference(NamedTuple):
    """Of a compiled model's answers from its own torch's: the largest of scores, the largest score, the share of lists
    of 10 that hold the same items in the same order, and the numbers that it computes with."""

    scores: float
    largest_score: float
    same_lists: float
    precision: str

    def __str__(self) -> str:
        return (
            f"scores up to {self.scores:.1e} off its own torch (the largest score is {self.largest_score:.2f}), "
            f"{self.same_lists:.0%} of the lists of 10 the same; computes in {self.precision}"
        )
