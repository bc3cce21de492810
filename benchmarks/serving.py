"""What HTTP costs: requests a second and latencies of `deployrec serve`, beside its own empty route and the library.

    python -m benchmarks.serving bundles/recblr --store lmdb --rounds 3

Server and load generator (wrk, of Debian) share this machine. Each round drives every kind of request at every number
of connections for --seconds, one after another, so that a busy machine slows all alike: the empty route (a probe),
single events, batches of 256 events, and lists of 10. In the same round `observe_many` applies batches of 256 with the
same kind of store in this process, without a server. Prints medians over the rounds and writes serving-STORE.json.
--http granian serves the same app by that server instead of uvicorn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.errors import ConfigError
from deployrec.runtime import Recommender
from deployrec.server.process import SETTINGS
from deployrec.server.settings import Limits, Settings

BATCH = 256
QUEUE = 10**6
"""Events that may wait: 512 callers with a batch each are not to be refused here."""
KINDS = ("empty", "event", "batch", "list")
CONNECTIONS = (1, 8, 64, 512)
SCRIPT = Path(__file__).with_suffix(".lua")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--store", choices=("memory", "lmdb"), default="memory")
    parser.add_argument("--http", choices=("uvicorn", "granian"), default="uvicorn")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--users", type=int, default=20_000, help="who the events are drawn from")
    parser.add_argument("--seconds", type=int, default=3, help="of each kind of request at each number of connections")
    parser.add_argument("--rounds", type=int, default=3)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        if shutil.which("wrk") is None:
            raise ConfigError("expected the program wrk; got none; run apt-get install wrk")
        rows = measure(arguments, Path(folder))
    print(table(rows))
    about = {"store": arguments.store, "http": arguments.http, "workers": arguments.workers}
    name = "-".join(("serving", arguments.store, *(["granian"] if arguments.http == "granian" else [])))
    write_results(name, {"machine": machine("cpu"), **about, "rows": rows}, arguments.out or UNTRACKED)


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each kind of request and number of connections; medians over the rounds."""
    served, alone = ("memory", "memory") if arguments.store == "memory" else (
        f"lmdb:{folder / 'served'}", f"lmdb:{folder / 'alone'}"
    )  # fmt: skip
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with server(arguments, served) as (port, _), Recommender.load(arguments.bundle, store=alone) as library:
        items = folder / "items"
        items.write_text("\n".join(library.catalogue.item_ids[1:]) + "\n")
        for number in range(arguments.rounds):
            for connections in CONNECTIONS:
                for kind in KINDS:
                    variables = {"BENCH": kind, "USERS": arguments.users, "ITEMS": items, "RUN": time.time_ns() // 1000}
                    found.setdefault((kind, connections), []).append(
                        drive(port, connections, arguments.seconds, variables)
                    )
            found.setdefault(("observe_many", 1), []).append(
                without_server(library, arguments.users, arguments.seconds, number)
            )
    return [
        {"kind": kind, "connections": connections}
        | {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for (kind, connections), runs in found.items()
    ]


def drive(port: int, connections: int, seconds: int, variables: dict[str, Any]) -> dict[str, float]:
    """One run of wrk: requests a second, milliseconds of latency, failed requests."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"]
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    run = json.loads(done.stdout.splitlines()[-1])
    ready(port, "/v1/users/u0/recommendations")  # behind all that wrk has left waiting
    return {
        "requests_s": 1e6 * run["requests"] / run["microseconds"],
        **{name: run[name] / 1e3 for name in ("p50", "p95", "p99")},
        "failed": run["failed"],
    }


def without_server(library: Recommender, users: int, seconds: int, seed: int) -> dict[str, float]:
    """`observe_many` of batches in this process."""
    rng, items = np.random.default_rng(seed), library.catalogue.item_ids[1:]
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        drawn = zip(rng.choice(users, BATCH).tolist(), rng.choice(len(items), BATCH).tolist(), strict=True)
        events = [(f"u{user}", items[item], f"{seed}-{len(times)}-{n}") for n, (user, item) in enumerate(drawn)]
        start = time.perf_counter()
        library.observe_many(events)
        times.append(time.perf_counter() - start)
    p50, p95, p99 = (1e3 * float(np.percentile(times, place)) for place in (50, 95, 99))
    return {"requests_s": len(times) / sum(times), "p50": p50, "p95": p95, "p99": p99, "failed": 0}


@contextmanager
def server(arguments: argparse.Namespace, store: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that is ready; ended behind the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    workers = str(arguments.workers)
    settings = Settings(bundle=str(arguments.bundle), store=store, limits=Limits(max_queue=QUEUE))
    environment = {**os.environ, SETTINGS: settings.to_json()}
    if arguments.http == "uvicorn":
        command = [sys.executable, "-m", "deployrec", "serve", str(arguments.bundle), "--store", store]
        command += ["--port", str(port), "--workers", workers, "--limit", f"max_queue={QUEUE}"]
    else:
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-ws", "--loop", "uvloop"]
        command += ["--port", str(port), "--workers", workers, "deployrec.server.process:app"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not ready(port):
            if process.poll() is not None or time.monotonic() > until:
                raise ConfigError(f"expected a server; got none; run {' '.join(command)}")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def ready(port: int, path: str = "/v2/health/ready") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60):
            return True
    except OSError:
        return False


def table(rows: list[dict[str, Any]]) -> str:
    """Beside each figure its share of the empty route's requests, of batches that of `observe_many`'s."""
    empty = {row["connections"]: row["requests_s"] for row in rows if row["kind"] == "empty"}
    alone = next(row["requests_s"] for row in rows if row["kind"] == "observe_many")
    lines = []
    for row in rows:
        against = alone if row["kind"] in ("batch", "observe_many") else empty[row["connections"]]
        figures = [f"{row[name]:.2f}" for name in ("p50", "p95", "p99")]
        share = f"{row['requests_s'] / against:.0%}"
        lines.append(
            [row["kind"], str(row["connections"]), f"{row['requests_s']:,.0f}", share, *figures, f"{row['failed']:.0f}"]
        )
    header = ["request", "connections", "requests/s", "of empty / observe_many", "p50 ms", "p95 ms", "p99 ms", "failed"]
    return markdown(header, lines)


if __name__ == "__main__":
    main()
