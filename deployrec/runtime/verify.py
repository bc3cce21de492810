"""Checks a bundle without torch: its digests, and its graphs against the float64 answers of the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import PARITY_CASES, Manifest
from deployrec.bundle.parity import Answer, Comparison, ParityCases
from deployrec.progress import Progress, silent
from deployrec.runtime.backends.base import Backend, Output, load_backend


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
        worst: dict[str, Comparison] = {}
        for row in sorted(self.worst(), key=_strain):
            worst[row.quantity] = row
        for row in worst.values():
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
        worst: dict[tuple[str, str], Comparison] = {}
        for row in self.comparisons:
            key = row.comparison, row.quantity
            if key not in worst or _strain(row) > _strain(worst[key]):
                worst[key] = row
        return list(worst.values())


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
    cases = ParityCases.parse(bundle.read(PARITY_CASES), bundle.file(PARITY_CASES))
    return VerifyReport(
        bundle, compare_graphs(bundle, cases, backend, progress=progress, **options), bundle.stray_files()
    )


def compare_graphs(
    bundle: Bundle,
    cases: ParityCases,
    backend: str = "onnxruntime",
    *,
    progress: Progress = silent,
    **options: object,
) -> list[Comparison]:
    """Every way in which the runtime reaches a user's state, held against the reference of each case.

    Alone: encode at once, encode in chunks, step by step, encode then step, and score of the reference's user vector;
    together: all cases as one ragged batch of encode and of steps. A model that is exact up to W events reads the
    newest W of a history, and so does its reference.
    """
    graphs = _Graphs(bundle.manifest, load_backend(backend, bundle, **options), backend)
    rows: list[Comparison] = []
    for case in range(len(cases)):
        progress(case, len(cases) + 1, f"comparing the graphs on {cases.label(case)}")
        rows += graphs.alone(cases, case)
    progress(len(cases), len(cases) + 1, "comparing the graphs on all histories in a batch")
    return rows + graphs.together(cases)


class _Graphs:
    def __init__(self, manifest: Manifest, backend: Backend, name: str) -> None:
        self.manifest = manifest
        self.backend = backend
        self.name = name
        self.window = manifest.window

    def alone(self, cases: ParityCases, case: int) -> list[Comparison]:
        history, exclude = self._read(cases.history(case)), cases.exclude[case : case + 1]
        length = len(history)
        start = self._start(1)
        whole = self._encode(history, exclude, start)
        answers = {"encode": whole}
        if length > self.manifest.encode_chunk:
            answers["encode in chunks"] = self._chunks(history, exclude, start)
        if "step" in self.manifest.graphs:
            answers["step"] = self._steps(history, exclude, whole._replace(state=start))
            for split in sorted({1, length // 2, length - 1}):
                if 0 < split < length:
                    begun = self._encode(history[:split], exclude, start)
                    answers[f"encode {_part(split, length)}, then step"] = self._steps(history[split:], exclude, begun)
        return [
            row
            for name, answer in answers.items()
            for row in cases.compare(f"{self.name} {name}", case, _answer(answer, 0))
        ] + self._score(cases, case)

    def together(self, cases: ParityCases) -> list[Comparison]:
        histories = [self._read(cases.history(case)) for case in range(len(cases))]
        lengths = np.array([len(rows) for rows in histories])
        items = np.zeros((len(cases), max(1, lengths.max())), np.int64)
        for line, rows in zip(items, histories, strict=True):
            line[: len(rows)] = rows
        start = self._start(len(cases))
        answers = {"encode in a batch": _copy(self.backend.encode(items, lengths, cases.exclude, start))}
        if "step" in self.manifest.graphs:
            stepped = _copy(answers["encode in a batch"]._replace(state=start))
            for position in range(int(lengths.max())):
                active = np.flatnonzero(lengths > position)
                past = {name: tensor[active] for name, tensor in stepped.state.items()}
                found = self.backend.step(items[active, position], cases.exclude[active], past)
                for target, value in zip(_arrays(stepped), _arrays(found), strict=True):
                    target[active] = value
            answers["step in a batch"] = stepped
        return [
            row
            for name, answer in answers.items()
            for case in range(len(cases))
            for row in cases.compare(f"{self.name} {name}", case, _answer(answer, case))
        ]

    def _read(self, history: np.ndarray) -> np.ndarray:
        return history[-self.window :] if self.window else history

    def _start(self, batch: int) -> dict[str, np.ndarray]:
        tensors = self.manifest.state.tensors
        return {tensor.name: np.zeros((batch, *tensor.shape), np.float32) for tensor in tensors}

    def _encode(self, rows: np.ndarray, exclude: np.ndarray, state: dict[str, np.ndarray]) -> Output:
        items = rows[None] if len(rows) else np.zeros((1, 1), np.int64)
        return _copy(self.backend.encode(items, np.array([len(rows)]), exclude, state))

    def _chunks(self, rows: np.ndarray, exclude: np.ndarray, state: dict[str, np.ndarray]) -> Output:
        for start in range(0, len(rows), self.manifest.encode_chunk):
            found = self._encode(rows[start : start + self.manifest.encode_chunk], exclude, state)
            state = found.state
        return found

    def _steps(self, rows: np.ndarray, exclude: np.ndarray, found: Output) -> Output:
        for row in rows:
            found = self.backend.step(np.array([row]), exclude, found.state)
        return _copy(found)

    def _score(self, cases: ParityCases, case: int) -> list[Comparison]:
        user, exclude = cases.user[case : case + 1].astype(np.float32), cases.exclude[case : case + 1]
        items, scores = self.backend.score(user, exclude)
        answer = replace(cases.reference(case), topk_items=items[0], topk_scores=scores[0])
        rows = cases.compare(f"{self.name} score", case, answer)
        return [row for row in rows if row.quantity in ("top-k", "scores")]


def _part(split: int, length: int) -> str:
    return {1: "one event", length - 1: "all but one"}.get(split, "half")


def _answer(output: Output, index: int) -> Answer:
    state = {name: tensor[index] for name, tensor in output.state.items()}
    return Answer(output.user[index], state, output.topk_items[index], output.topk_scores[index])


def _copy(output: Output) -> Output:
    state = {name: tensor.copy() for name, tensor in output.state.items()}
    return Output(output.topk_items.copy(), output.topk_scores.copy(), output.user.copy(), state)


def _arrays(output: Output) -> list[np.ndarray]:
    return [output.topk_items, output.topk_scores, output.user, *output.state.values()]


def _strain(row: Comparison) -> float:
    return row.figure / row.limit if row.figure == row.figure else np.inf
