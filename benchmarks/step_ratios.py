"""Today's code against the code of another revision and RePlay's compiled SASRec: what a request costs, as ratios.

    python -m benchmarks.step_ratios --before 64b178e --data ml-1m --peers FOLDER

All in one run, one thread each, pinned to one core: every process waits while another works, in rounds of random order.
A ratio is the median over the rounds of the ratio of medians within a round. RecBLR, d = 64, 3,416 items, random
weights (exported by each revision's own code), real sessions of 200 events; lists of 10 leave out what was seen, but
RePlay's do not. The code before is taken from git, with today's benchmark/calls.py laid over it, so that the same code
asks both. Without --peers (see peers/__init__.py) RePlay is left out. Writes step_ratios.json. Let nothing else run.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, write_results
from benchmarks.peers import KINDS, Kind, peers
from benchmarks.workers import Worker
from deployrec.benchmark import Peer as Facts
from deployrec.benchmark import Point
from deployrec.benchmark.machine import machine, versions
from deployrec.benchmark.race import Timer
from deployrec.benchmark.replay import Replay, Sessions
from deployrec.benchmark.tables import peer_lines
from deployrec.data import load_dataset
from deployrec.errors import ConfigError
from deployrec.files import check_writable

ROOT = Path(__file__).parents[1]
MODEL, ITEMS, HISTORY, K = "recblr", 3416, 200, 10
SETS = {1: 64, 64: 8, 512: 1}
"""Sets of sessions that calls take turns over, by batch size."""
TURN = 0.05
"""Seconds of a turn; a slow call gets CALLS."""
CALLS = 3
SPLIT_CALLS = {1: 2000, 512: 50}
NOW, BEFORE, OPENVINO, FLOAT32 = "now", "before", *(kind.label for kind in KINDS[:2])
REPLAY: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.environment == "replay")


class Cell(NamedTuple):
    """What one process is asked: a bare graph or a public call, at a batch size."""

    what: str
    name: str
    batch: int

    def __str__(self) -> str:
        return f"{self.name} graph, B={self.batch}" if self.what == "graph" else f"{self.name}, B={self.batch}"


STEP_1, STEP_64, ENCODE_1 = Cell("graph", "step", 1), Cell("graph", "step", 64), Cell("graph", "encode", 1)
ONE, LISTS_64 = Cell("call", "observe_and_recommend", 1), Cell("call", "observe_many with lists", 64)
MANY_64, MANY_512 = Cell("call", "observe_many", 64), Cell("call", "observe_many", 512)
CELLS = (
    *(
        STEP_1,
        STEP_64,
        Cell("graph", "advance", 1),
        Cell("graph", "advance", 64),
        ENCODE_1,
        Cell("graph", "encode", 64),
    ),
    *(Cell("call", "observe", 1), ONE, MANY_64, LISTS_64, MANY_512),
)


class Judged(NamedTuple):
    """One line of the verdict: `at_least` or `at_most` the limit; None where nothing was asked or measured."""

    what: str
    figure: float | None
    limit: float | None
    at_least: bool
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept."""
        if self.figure is None or self.limit is None:
            return None
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


@dataclass
class Times:
    """Milliseconds: the median of each round, by process and cell."""

    rounds: dict[tuple[str, Cell], list[float]] = field(default_factory=dict)

    def median(self, who: str, cell: Cell) -> float:
        return float(np.median(self.rounds[who, cell]))

    def ratio(self, above: str, upper: Cell, below: str, lower: Cell) -> float | None:
        """Median over the rounds; None where one of them was not measured."""
        if (above, upper) not in self.rounds or (below, lower) not in self.rounds:
            return None
        pairs = zip(self.rounds[above, upper], self.rounds[below, lower], strict=True)
        return float(np.median([one / other for one, other in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, metavar="REVISION", help="of this repository, measured beside")
    parser.add_argument("--data", default="sample", help="an event log whose sessions are replayed")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="of the peers' environments")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="that all processes share")
    add_out(parser)
    arguments = parser.parse_args()
    out = arguments.out or UNTRACKED
    console = Console(width=max(120, Console().width))  # the tables stay whole in a file too
    with clear_errors(parser):
        check_writable(out / "step_ratios.json", "--out")
        dataset = load_dataset(arguments.data)
        before = revision(arguments.before)
        with tempfile.TemporaryDirectory() as folder:
            report = measured(
                Path(folder).resolve(),
                Replay(dataset, 0),
                before,
                environments=arguments.peers,
                rounds=arguments.rounds,
                core=arguments.core,
                say=console.print,
            )
    report["data"] = {"name": dataset.name, "digest": dataset.digest}
    console.print(times_table(report), sizes_table(report), verdict_table(report))
    for peer in report["peers"]:
        console.print("\n".join(peer_lines(Facts(**peer))))
    console.print("\n".join(f"left out: {line}" for line in report["skipped"]))
    console.print(f"wrote {write_results('step_ratios', report, out)}")


def measured(
    folder: Path,
    replay: Replay,
    before: str,
    *,
    environments: Path | None = None,
    rounds: int,
    core: int,
    say: Callable[[str], object] = lambda line: None,
    cells: Sequence[Cell] = CELLS,
    num_items: int = ITEMS,
) -> dict[str, Any]:
    """The whole report; `folder` is for what is needed on the way. Without `environments` no peer is measured."""
    points = {batch: Point(batch, HISTORY, num_items, 1) for batch in sorted({cell.batch for cell in cells})}
    sessions = {b: [replay.sessions(point, number) for number in range(SETS[b])] for b, point in points.items()}
    _write_sessions(folder / "sessions.npz", sessions)
    timers: dict[tuple[str, Cell], Timer] = {}
    numbers: dict[Cell, int] = {}
    with ExitStack() as stack:
        workers = {}
        for who, code in ((NOW, tree_now(folder / NOW)), (BEFORE, tree_of(before, folder / BEFORE))):
            say(f"exporting with the code of {who}")
            told = (folder / f"bundle-{who}", folder / "sessions.npz", MODEL, num_items, K)
            worker = Worker(sys.executable, "benchmarks.step_worker", told, path=[code, code / "kernels"], core=core)
            workers[who] = stack.enter_context(worker)
            if Path(worker.about["code"]) != code:
                raise ConfigError(f"expected the code of {code}; got that of {worker.about['code']}; uninstall it")
            for cell in cells:
                say(f"{who}: {cell}")
                number = worker.ask(prepare=cell._asdict())
                timers[who, cell] = _timer(worker, number)
                if who == NOW:
                    numbers[cell] = number
        found, absent = peers(environments, num_items, REPLAY, core)
        for peer in found:
            stack.callback(peer.close)
            for batch in points.keys() & SETS.keys() - {max(SETS)}:
                say(f"{peer.label}, B={batch}")
                timers[peer.label, _list(batch)] = peer.prepare(points[batch], sessions[batch])
        say(f"measuring {len(timers)} cells in {rounds} rounds")
        times = in_rounds(timers, rounds)
        splits = {
            cell: workers[NOW].ask(cell=numbers[cell], calls=SPLIT_CALLS[cell.batch], split=True)
            for cell in (ONE, MANY_512)
            if cell in cells
        }
    about = {who: worker.about for who, worker in workers.items()}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "revisions": {NOW: revision("HEAD") + ("" if _clean() else ", changed"), BEFORE: before},
        "model": {"key": MODEL, "weights": "random", "num_items": num_items, "history": HISTORY, "k": K},
        "rounds": rounds,
        "cells": [
            {"who": who, "cell": str(cell), "batch": cell.batch, "ms": times.median(who, cell), "of_rounds": seconds}
            for (who, cell), seconds in times.rounds.items()
        ],
        "peers": [asdict(peer.facts()) for peer in found],
        "skipped": absent,
        "sizes": {who: said["sizes"] for who, said in about.items()},
        "nodes": {who: said["nodes"] for who, said in about.items()},
        "judged": [line._asdict() | {"met": line.met} for line in judged(times, splits, about)],
    }


def judged(times: Times, splits: dict[Cell, Any], about: dict[str, Any]) -> list[Judged]:
    """What was asked for, and beside it the same against OpenVINO at the same precision as ours."""
    lines = [
        Judged(f"{ONE}: now / before", times.ratio(NOW, ONE, BEFORE, ONE), 0.6, False),
        Judged(f"{STEP_64}: now / before", times.ratio(NOW, STEP_64, BEFORE, STEP_64), 0.42, False),
        Judged(f"{LISTS_64}: now / before", times.ratio(NOW, LISTS_64, BEFORE, LISTS_64), 0.42, False),
        Judged(f"{MANY_64}: now / before", times.ratio(NOW, MANY_64, BEFORE, MANY_64), 0.25, False),
        Judged(f"{MANY_512}: events/s, now / before", times.ratio(BEFORE, MANY_512, NOW, MANY_512), 3, True),
    ]
    for cell, limit in ((ONE, 5), (STEP_1, 6), (STEP_64, 25), (LISTS_64, 25)):
        for peer in (OPENVINO, FLOAT32):
            figure = times.ratio(peer, _list(cell.batch), NOW, cell)
            lines.append(Judged(f"{cell}: {peer} / now", figure, limit if peer == OPENVINO else None, True))
    again = {who: times.ratio(who, ENCODE_1, who, STEP_1) for who in (NOW, BEFORE)}
    lines.append(Judged("200 events read again / one step, now", again[NOW], again[BEFORE], True))
    share, around = _share(splits.get(MANY_512)), _around(splits.get(ONE))
    lines.append(Judged(f"{MANY_512}: ONNX Runtime's share", share, 75, True, "%"))
    lines.append(Judged(f"{ONE}: around its graph", around, 15, False, "us"))
    lines.append(Judged("nodes of the step graph", about[NOW]["nodes"]["step"], 55, False, ""))
    return lines


def in_rounds(timers: dict[tuple[str, Cell], Timer], rounds: int) -> Times:
    """All timers in turn, in another random order each round, after two turns that warm up."""
    calls = {}
    for key, timer in timers.items():
        timer(2)
        calls[key] = max(CALLS, int(TURN / np.median(timer(CALLS))))
    found: dict[tuple[str, Cell], list[float]] = {key: [] for key in timers}
    draw, keys = np.random.default_rng(0), list(timers)
    for number in range(rounds + 1):
        for place in draw.permutation(len(keys)).tolist():
            seconds = timers[keys[place]](calls[keys[place]])
            if number:
                found[keys[place]].append(float(np.median(seconds)) * 1e3)
    return Times(found)


def revision(name: str) -> str:
    """The full id of a revision of this repository; raises ConfigError for one that it does not know."""
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError:
        raise ConfigError(f"expected a revision of this repository; got {name}; see git log") from None


def tree_now(folder: Path) -> Path:
    """A folder to import today's code from."""
    folder.mkdir()
    for name in ("deployrec", "kernels", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def tree_of(commit: str, folder: Path) -> Path:
    """A folder to import a commit's code from, under today's measuring code."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "deployrec", "kernels"))) as archive:
        archive.extractall(folder, filter="data")
    (folder / "deployrec" / "benchmark" / "calls.py").write_bytes(
        (ROOT / "deployrec" / "benchmark" / "calls.py").read_bytes()
    )
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    return folder


def times_table(report: dict[str, Any]) -> Table:
    """Medians in milliseconds."""
    model = report["model"]
    table = Table(
        title=f"median ms; {model['key']}, {model['weights']} weights, {model['num_items']:,} items, history "
        f"{model['history']}, k = {model['k']}, one thread of {report['machine']['processor']}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    columns = list(dict.fromkeys(cell["who"] for cell in report["cells"]))
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    found = {(cell["who"], cell["cell"]): cell["ms"] for cell in report["cells"]}
    for row in dict.fromkeys(cell["cell"] for cell in report["cells"]):
        table.add_row(row, *(f"{found[who, row]:.3f}" if (who, row) in found else "" for who in columns))
    return table


def sizes_table(report: dict[str, Any]) -> Table:
    """Bytes of the bundles' files, and the graphs' nodes."""
    table = Table(title="bundles, KiB (nodes)", title_justify="left", box=None, pad_edge=False)
    for name in ("", *report["sizes"]):
        table.add_column(name, justify="right" if name else "left")
    for file in sorted({name for files in report["sizes"].values() for name in files}):
        cells = []
        for who, files in report["sizes"].items():
            nodes = report["nodes"][who].get(Path(file).stem)
            kib = f"{files[file] / 1024:,.0f}" if file in files else ""
            cells.append(f"{kib} ({nodes})" if file.endswith(".onnx") and kib else kib)
        table.add_row(file, *cells)
    table.add_row("all", *(f"{sum(files.values()) / 1024:,.0f}" for files in report["sizes"].values()))
    return table


def verdict_table(report: dict[str, Any]) -> Table:
    """What was asked, what was found."""
    table = Table(title="asked and found", title_justify="left", box=None, pad_edge=False)
    for name in ("", "found", "asked", ""):
        table.add_column(name, justify="left" if not name else "right")
    for line in report["judged"]:
        met = {True: "met", False: "missed", None: ""}[line["met"]]
        asked = (
            "" if line["limit"] is None else f"{'>=' if line['at_least'] else '<='} {line['limit']:.3g} {line['unit']}"
        )
        found = "not measured" if line["figure"] is None else f"{line['figure']:.3g} {line['unit']}"
        table.add_row(line["what"], found, asked, met)
    return table


def _list(batch: int) -> Cell:
    """A peer's list after a history, for a batch."""
    return Cell("peer", f"history of {HISTORY} and list", batch)


def _timer(worker: Worker, cell: int) -> Timer:
    return lambda calls: np.array(worker.ask(cell=cell, calls=calls))


def _share(split: dict[str, list[float]] | None) -> float | None:
    """Per cent of the time that graphs ran, the median of calls."""
    return None if split is None else 100 * float(np.median(np.divide(split["graphs"], split["seconds"])))


def _around(split: dict[str, list[float]] | None) -> float | None:
    """Microseconds of a call outside its graphs, the median of calls."""
    return None if split is None else 1e6 * float(np.median(np.subtract(split["seconds"], split["graphs"])))


def _write_sessions(path: Path, sessions: dict[int, list[Sessions]]) -> None:
    arrays = {
        f"{batch}/{number}/{name}": rows
        for batch, sets in sessions.items()
        for number, session in enumerate(sets)
        for name, rows in session._asdict().items()
    }
    np.savez(path, **arrays)


def _clean() -> bool:
    return not _git("status", "--porcelain", "--untracked-files=no")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


if __name__ == "__main__":
    main()
