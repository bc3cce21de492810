"""benchmarks/workers.py and the workers' side of peers: answers come back whatever else is printed; an end is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers import KINDS, peers
from benchmarks.peers.cells import Cells
from benchmarks.workers import Worker

ROOT = Path(__file__).parents[2]
NOISY = """
import os, sys
from benchmarks.workers import serve

print("answer-like noise")
sys.stderr.write("a warning\\n" * 50_000)  # more than a pipe holds

def double(number, fail=False):
    if fail:
        raise ValueError("no such number")
    print("thinking")
    return {"double": 2 * number, "cores": sorted(os.sched_getaffinity(0))}

serve({"name": sys.argv[1]}, double)
"""


@pytest.fixture
def noisy(tmp_path: Path) -> list[Path]:
    (tmp_path / "noisy.py").write_text(NOISY)
    return [tmp_path, ROOT]


def test_answers_come_back_whatever_else_is_printed(noisy: list[Path]) -> None:
    with Worker(sys.executable, "noisy", ["n"], path=noisy) as worker:
        assert worker.about == {"name": "n"}
        assert [worker.ask(number=number)["double"] for number in (1, 21)] == [2, 42]


def test_a_pinned_worker_has_one_core(noisy: list[Path]) -> None:
    core = max(os.sched_getaffinity(0))
    with Worker(sys.executable, "noisy", ["n"], path=noisy, core=core) as worker:
        assert worker.ask(number=1)["cores"] == [core]


def test_how_a_worker_ended_is_said_at_this_question_and_the_next(noisy: list[Path]) -> None:
    with Worker(sys.executable, "noisy", ["n"], path=noisy) as worker:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="its process ended: ValueError: no such number"):
                worker.ask(number=1, fail=True)


def test_a_worker_that_does_not_start_leaves_no_process(noisy: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="No module named nobody"):
        Worker(sys.executable, "nobody", path=noisy)


def test_absent_peers_are_named_with_the_reason_and_no_path(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        found, absent = peers(folder, 10)
        assert not found
        assert [line.split(":")[0] for line in absent] == [kind.label for kind in KINDS]
        assert str(tmp_path) not in "".join(absent)


def test_a_cells_calls_take_turns_over_its_batches() -> None:
    made: list[int] = []

    class Model:
        def prepare(
            self, histories: list[list[list[int]]], threads: int
        ) -> tuple[list[Callable[[], object]], dict[str, object]]:
            calls: list[Callable[[], object]] = [lambda rows=rows: made.append(len(rows)) for rows in histories]  # type: ignore[misc]
            return calls, {"threads": threads}

    cells = Cells(Model())
    assert cells(prepare={"histories": [[[1]]], "threads": 1}) == {"cell": 0, "difference": {"threads": 1}}
    assert cells(prepare={"histories": [[[1]], [[1], [2]]], "threads": 2})["cell"] == 1
    seconds = cells(cell=1, calls=4)
    assert len(seconds) == 4
    assert all(second >= 0 for second in seconds)
    assert sorted(made) == [1, 1, 2, 2]
