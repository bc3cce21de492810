"""Checks a bundle without torch: its digests, and its graphs against the float64 answers of the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.parity import Answer, Comparison, ParityCases, worst
from deployrec.progress import Progress, silent
from deployrec.runtime.backends.base import Backend, Moved, State, TopK, load_backend


@dataclass(frozen=True, repr=False)
class VerifyReport:
    """`comparisons` of every graph path on every case; `stray_files` lie in the folder and belong to no one."""

    bundle: Bundle
    comparisons: list[Comparison]
    stray_files: list[str]

    def __repr__(self) -> str:
        """The verdict, then for each quantity the comparison that is nearest to its limit or furthest beyond."""
        failed = sum(not row.passed for row in self.comparisons)
        verdict = f"{failed} of {len(self.comparisons)} comparisons fail" if failed else "parity holds"
        lines = [f"VerifyReport({self.bundle!r}: {verdict})"]
        nearest = {row.quantity: row for row in sorted(self.worst(), key=lambda row: row.strain)}
        for row in nearest.values():
            passed = "holds" if row.passed else "FAILS"
            lines.append(
                f"  {row.quantity:<7} {row.figure:.1e} of {row.limit:.1e} {passed}  {row.comparison}, {row.case}"
            )
        return "\n".join(lines)

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.comparisons)

    def worst(self) -> list[Comparison]:
        """The row nearest to its limit (or furthest beyond) of each comparison and quantity."""
        return worst(self.comparisons)


def verify(
    path: str | Path,
    backend: str = "onnxruntime",
    *,
    trusted: Sequence[str | Path] | None = None,
    progress: Progress = silent,
    **options: object,
) -> VerifyReport:
    """Opens the bundle with all its checks and compares its graphs, run by `backend`, with the stored answers.

    trusted: public keys, one of which must have signed the bundle. Raises BundleError for a bundle that is not as
    export wrote it or that none of them has signed; a failed gate is no error but `passed` False.
    """
    bundle = Bundle.open(path, trusted=trusted)
    bundle.catalogue()
    comparisons = compare_graphs(bundle, bundle.cases(), backend, progress=progress, **options)
    return VerifyReport(bundle, comparisons, bundle.stray_files())


def compare_graphs(
    bundle: Bundle,
    cases: ParityCases,
    backend: str = "onnxruntime",
    *,
    progress: Progress = silent,
    **options: object,
) -> list[Comparison]:
    """Every way in which the runtime reaches a user's state, held against the reference of each case.

    Alone: encode at once, encode in chunks, step by step with and without lists, encode then step, and score (and
    moment) of the reference's user vector; together: all cases as one ragged batch of encode and of steps, the last of
    each with its list. Histories beyond LONG events together alone: in chunks, and step by step. A model that is exact
    up to W events reads the newest W of a history, and so does its reference.
    """
    graphs = _Graphs(bundle, load_backend(backend, bundle, **options), backend, cases.topk_items.shape[1])
    rows: list[Comparison] = []
    short, total = cases.short, len(cases.short) + 1 + bool(cases.long)
    for done, case in enumerate(short):
        progress(done, total, f"comparing the graphs on {cases.label(case)}")
        rows += graphs.alone(cases, case)
    progress(len(short), total, "comparing the graphs on all histories in a batch")
    rows += graphs.together(cases, short)
    if cases.long:
        progress(len(short) + 1, total, f"comparing the graphs on up to {max(cases.lengths):,} events")
        rows += graphs.endless(cases, cases.long)
    return rows


def self_test(bundle: Bundle, backend: Backend, name: str = "onnxruntime") -> list[Comparison]:
    """The shortest history of the certificate that has events through graphs that are loaded already: whether this
    machine computes what the one that exported did. Takes well under a second."""
    cases = bundle.cases()
    case = min((case for case in cases.short if cases.lengths[case]), key=lambda case: cases.lengths[case])
    return _Graphs(bundle, backend, name, cases.topk_items.shape[1]).alone(cases, case)


class _Found(NamedTuple):
    """What users get: user [B, D], state tensors [B, ...], the best items and their scores [B, K]."""

    user: np.ndarray
    state: dict[str, np.ndarray]
    topk_items: np.ndarray
    topk_scores: np.ndarray


class _Request(NamedTuple):
    """What B lists are asked with: exclude [B, E] and, of a time-aware bundle, `TimeFacts.elapsed`."""

    exclude: np.ndarray
    time: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, cases: ParityCases, places: list[int]) -> _Request:
        elapsed = cases.asked(places)
        return cls(cases.exclude[places], () if elapsed is None else (elapsed,))

    def rows(self, places: np.ndarray | list[int]) -> _Request:
        return _Request(self.exclude[places], tuple(elapsed[places] for elapsed in self.time))


class _Graphs:
    def __init__(self, bundle: Bundle, backend: Backend, name: str, k: int) -> None:
        self.manifest = bundle.manifest
        self.table = bundle.item_table() if self.manifest.time else None
        self.backend = backend
        self.name = name
        self.k = k
        self.window = self.manifest.window

    def alone(self, cases: ParityCases, case: int) -> list[Comparison]:
        history, request = self._read(cases.history(case)), _Request.of(cases, [case])
        length = len(history)
        start = self._start(1)
        whole = self._encode(history, request, start)
        answers = {"encode": whole}
        if length > self.manifest.encode_chunk:
            answers["encode in chunks"] = self._chunks(history, request, start)
        if "step" in self.manifest.graphs:
            answers["step"] = self._steps(history, request, whole._replace(state=start))
            answers["step without lists"] = self._advances(history, request, whole._replace(state=start))
            for split in sorted({1, length // 2, length - 1}):
                if 0 < split < length:
                    begun = self._encode(history[:split], request, start)
                    answers[f"encode {_part(split, length)}, then step"] = self._steps(history[split:], request, begun)
        return [
            row
            for name, answer in answers.items()
            for row in cases.compare(f"{self.name} {name}", case, _answer(answer, 0))
        ] + self._score(cases, case)

    def together(self, cases: ParityCases, places: list[int]) -> list[Comparison]:
        histories, request = self._batch(cases, places)
        answers = {"encode in a batch": self._chunk(histories, request, 0, max(map(len, histories)), None)}
        if "step" in self.manifest.graphs:
            answers["step in a batch"] = self._walk(histories, request, answers["encode in a batch"])
        return self._compare(cases, places, answers)

    def endless(self, cases: ParityCases, places: list[int]) -> list[Comparison]:
        histories, request = self._batch(cases, places)
        answers = {"encode in chunks, in a batch": self._in_chunks(histories, request)}
        if "step" in self.manifest.graphs:
            answers["step in a batch"] = self._walk(histories, request, answers["encode in chunks, in a batch"])
        return self._compare(cases, places, answers)

    def _batch(self, cases: ParityCases, places: list[int]) -> tuple[list[np.ndarray], _Request]:
        return [self._read(cases.history(case)) for case in places], _Request.of(cases, places)

    def _compare(self, cases: ParityCases, places: list[int], answers: dict[str, _Found]) -> list[Comparison]:
        return [
            row
            for name, answer in answers.items()
            for place, case in enumerate(places)
            for row in cases.compare(f"{self.name} {name}", case, _answer(answer, place))
        ]

    def _chunk(
        self, histories: list[np.ndarray], request: _Request, start: int, events: int, state: State | None
    ) -> _Found:
        """Every history's next events, up to so many, in one run of encode."""
        parts = [rows[start : start + events] for rows in histories]
        lengths = np.array([len(rows) for rows in parts])
        items = np.zeros((len(parts), max(1, lengths.max())), np.int64)
        for line, rows in zip(items, parts, strict=True):
            line[: len(rows)] = rows
        moved = self.backend.encode(items, lengths, self._start(len(parts)) if state is None else state)
        return self._scored(moved, request)

    def _in_chunks(self, histories: list[np.ndarray], request: _Request) -> _Found:
        """All events of every history; a history that has ended keeps what it had."""
        chunk = self.manifest.encode_chunk
        whole = self._chunk(histories, request, 0, chunk, None)
        for start in range(chunk, max(map(len, histories)), chunk):
            going = np.array([place for place, rows in enumerate(histories) if len(rows) > start])
            state = {name: tensor[going] for name, tensor in whole.state.items()}
            found = self._chunk([histories[place] for place in going], request.rows(going), start, chunk, state)
            for target, value in zip(_arrays(whole), _arrays(found), strict=True):
                target[going] = value
        return whole

    def _walk(self, histories: list[np.ndarray], request: _Request, unread: _Found) -> _Found:
        """Every history step by step from the start; one without events keeps the answer of `unread`."""
        stepped = _own(*_halves(unread._replace(state=self._start(len(histories)))))
        order = sorted(range(len(histories)), key=lambda place: -len(histories[place]))
        state: State = {name: tensor[order] for name, tensor in stepped.state.items()}
        position = 0
        while going := [place for place in order if len(histories[place]) > position]:
            stop = min(len(histories[place]) for place in going)
            items = np.stack([histories[place][position:stop] for place in going], axis=1)
            asked, state = request.rows(going), {name: tensor[: len(going)] for name, tensor in state.items()}
            for rows in items[:-1]:
                state = self.backend.advance(rows, state).state
            found = _own(*self.backend.step(items[-1], asked.exclude, self.k, state, *asked.time))
            for target, value in zip(_arrays(stepped), _arrays(found), strict=True):
                target[going] = value
            state, position = found.state, stop
        return stepped

    def _read(self, history: np.ndarray) -> np.ndarray:
        return history[-self.window :] if self.window else history

    def _start(self, batch: int) -> dict[str, np.ndarray]:
        tensors = self.manifest.state.tensors
        return {tensor.name: np.zeros((batch, *tensor.shape), np.float32) for tensor in tensors}

    def _encode(self, rows: np.ndarray, request: _Request, state: State) -> _Found:
        items = rows[None] if len(rows) else np.zeros((1, 1), np.int64)
        return self._scored(self.backend.encode(items, np.array([len(rows)]), state), request)

    def _scored(self, moved: Moved, request: _Request) -> _Found:
        return _own(moved, self.backend.score(moved.user, request.exclude, self.k, *request.time))

    def _chunks(self, rows: np.ndarray, request: _Request, state: State) -> _Found:
        for start in range(0, len(rows), self.manifest.encode_chunk):
            found = self._encode(rows[start : start + self.manifest.encode_chunk], request, state)
            state = found.state
        return found

    def _steps(self, rows: np.ndarray, request: _Request, found: _Found) -> _Found:
        moved, best = _halves(found)
        for row in rows:
            moved, best = self.backend.step(np.array([row]), request.exclude, self.k, moved.state, *request.time)
        return _own(moved, best)

    def _advances(self, rows: np.ndarray, request: _Request, found: _Found) -> _Found:
        moved, _ = _halves(found)
        for row in rows:
            moved = self.backend.advance(np.array([row]), moved.state)
        return self._scored(moved, request)

    def _score(self, cases: ParityCases, case: int) -> list[Comparison]:
        user, request = cases.user[case : case + 1].astype(np.float32), _Request.of(cases, [case])
        items, scores = self.backend.score(user, request.exclude, self.k, *request.time)
        reference = cases.reference(case)
        answer = replace(reference, topk_items=items[0], topk_scores=scores[0])
        rows = cases.compare(f"{self.name} score", case, answer)
        if self.table is not None:
            (now,) = self.backend.moment(user, *request.time)
            products = np.where(reference.topk_items > 0, self.table[reference.topk_items] @ now, -np.inf)
            rows += cases.compare(f"{self.name} moment", case, replace(reference, topk_scores=products))
        return [row for row in rows if row.quantity in ("top-k", "scores")]


def _part(split: int, length: int) -> str:
    return {1: "one event", length - 1: "all but one"}.get(split, "half")


def _answer(found: _Found, index: int) -> Answer:
    state = {name: tensor[index] for name, tensor in found.state.items()}
    return Answer(found.user[index], state, found.topk_items[index], found.topk_scores[index])


def _own(moved: Moved, best: TopK) -> _Found:
    """Copies: a backend's next call may overwrite its answers."""
    state = {name: tensor.copy() for name, tensor in moved.state.items()}
    return _Found(moved.user.copy(), state, best.items.copy(), best.scores.copy())


def _halves(found: _Found) -> tuple[Moved, TopK]:
    return Moved(found.user, found.state), TopK(found.topk_items, found.topk_scores)


def _arrays(found: _Found) -> list[np.ndarray]:
    return [found.topk_items, found.topk_scores, found.user, *found.state.values()]
