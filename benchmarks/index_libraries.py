"""Which library finds the highest products among a million vectors, in what time and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.index_libraries

faiss, voyager, usearch and hnswlib, over a table of clusters of different sizes and vectors of different lengths, asked
by queries around the clusters' centres. Each answers with a hundred candidates, which are scored exactly; recall@10 is
against the exact list. Graph indexes have 8 links a vector, so that they leave memory for the table. Libraries that are
not installed are left out by name.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, machine, markdown, write_results

DIM, CLUSTERS, QUERIES, CANDIDATES, K = 64, 2000, 300, 100, 10
LINKS, EFFORT = 8, 64
Search = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2, help="to build; one thread searches")
    add_out(parser)
    arguments = parser.parse_args()
    table, queries = drawn(arguments.items)
    exact = np.concatenate([np.argpartition(-(part @ table.T), K)[:, :K] for part in np.array_split(queries, 10)])
    rows = []
    for name, built in (("faiss", faiss), ("usearch", usearch), ("voyager", voyager), ("hnswlib", hnswlib)):
        try:
            library = import_module(name)
        except ModuleNotFoundError:
            print(f"{name} is not installed and left out")
            continue
        begun = time.perf_counter()
        for size, setting, search in built(library, table, arguments.threads):
            recall, median = measured(table, queries, exact, search)
            rows.append([name, setting, f"{size / 1e6:.0f}", f"{recall:.4f}", f"{median * 1e3:.3f}"])
        print(f"{name} took {time.perf_counter() - begun:.0f} s")
    header = ["library", "setting", "index, MB", "recall@10", "median, ms"]
    print(markdown(header, rows))
    results = {"machine": machine("cpu"), "items": arguments.items, "header": header, "rows": rows}
    write_results("index_libraries", results, arguments.out or UNTRACKED)


def drawn(items: int) -> tuple[np.ndarray, np.ndarray]:
    """Table float32 [N, D] and queries [Q, D]."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIM), np.float32)
    sizes = np.minimum(rng.zipf(1.3, CLUSTERS), 500).astype(float)
    sizes /= sizes.sum()
    table = centres[rng.choice(CLUSTERS, items, p=sizes)] + 0.6 * rng.standard_normal((items, DIM), np.float32)
    table *= (0.7 + 0.3 * rng.random((items, 1), np.float32)) / 8
    queries = centres[rng.choice(CLUSTERS, QUERIES, p=sizes)] + 0.8 * rng.standard_normal((QUERIES, DIM), np.float32)
    return table.astype(np.float32), queries.astype(np.float32)


def measured(table: np.ndarray, queries: np.ndarray, exact: np.ndarray, search: Search) -> tuple[float, float]:
    """Recall@10 and the median seconds of a query, exact scores of the candidates included."""
    times, hits = [], 0
    for query, best in zip(queries, exact, strict=True):
        begun = time.perf_counter()
        rows = search(query[None]).astype(np.int64).ravel()
        found = rows[np.argsort(-(table[rows] @ query))[:K]]
        times.append(time.perf_counter() - begun)
        hits += len(np.intersect1d(found, best))
    return hits / exact.size, float(np.median(times))


def faiss(library: Any, table: np.ndarray, threads: int) -> Iterator[tuple[int, str, Search]]:
    lists, codes = round(len(table) ** 0.5), f"PQ{DIM}x4fs"
    for kind in (f"IVF{lists},SQ8", f"IVF{round(1.5 * lists)}({codes}),{codes}"):
        library.omp_set_num_threads(threads)
        index = library.index_factory(DIM, kind, library.METRIC_INNER_PRODUCT)
        index.train(table[:: max(1, len(table) // (100 * lists))])
        index.add(table)
        library.omp_set_num_threads(1)
        size = library.serialize_index(index).nbytes
        for probes in (4, 8, 16, 32):
            index.nprobe = probes
            yield size, f"{kind}, {probes} lists", partial(_by_faiss, index)


def _by_faiss(index: Any, query: np.ndarray) -> np.ndarray:
    rows: np.ndarray = index.search(query, CANDIDATES)[1]
    return rows[rows >= 0]


def usearch(library: Any, table: np.ndarray, threads: int) -> Iterator[tuple[int, str, Search]]:
    index = import_module("usearch.index").Index(
        ndim=DIM, metric="ip", dtype="i8", connectivity=LINKS, expansion_add=EFFORT
    )
    index.add(np.arange(len(table)), table / np.linalg.norm(table, axis=1).max(), threads=threads)
    for effort in (100, 200, 400):
        index.expansion_search = effort
        yield (
            index.serialized_length,
            f"i8, effort {effort}",
            lambda query: index.search(query[0] / np.linalg.norm(query), CANDIDATES, threads=1).keys,
        )


def voyager(library: Any, table: np.ndarray, threads: int) -> Iterator[tuple[int, str, Search]]:
    index = library.Index(
        library.Space.InnerProduct,
        num_dimensions=DIM,
        M=LINKS,
        ef_construction=EFFORT,
        storage_data_type=library.StorageDataType.E4M3,
    )
    index.add_items(table, num_threads=threads)
    for effort in (100, 200, 400):
        yield (
            len(index.as_bytes()),
            f"E4M3, effort {effort}",
            partial(_by_voyager, index, effort),
        )


def _by_voyager(index: Any, effort: int, query: np.ndarray) -> np.ndarray:
    rows: np.ndarray = index.query(query[0], CANDIDATES, query_ef=effort)[0]
    return rows


def hnswlib(library: Any, table: np.ndarray, threads: int) -> Iterator[tuple[int, str, Search]]:
    index = library.Index("ip", DIM)
    index.init_index(len(table), M=LINKS, ef_construction=EFFORT)
    index.add_items(table, num_threads=threads)
    index.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        index.save_index(f"{folder}/index")
        size = (Path(folder) / "index").stat().st_size
    for effort in (100, 200, 400):
        index.set_ef(effort)
        yield size, f"float32, effort {effort}", lambda query: index.knn_query(query, CANDIDATES)[0]


if __name__ == "__main__":
    main()
