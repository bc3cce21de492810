"""`deployrec serve`: a bundle behind a port."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployrec.cli.console import doing, leaving, say
from deployrec.errors import ConfigError
from deployrec.options import check_keys, describe, make_config

if TYPE_CHECKING:
    from deployrec.server.settings import Settings


def serve(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder.", show_default=False)] = None,
    bundles: Annotated[
        Path | None, typer.Option(help="Folder of bundles instead; its current.json names the one to serve.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Where users are kept: memory, lmdb:PATH or redis://HOST; memory ends with the server.")
    ] = "memory",
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that share the port and the store.")] = 1,
    max_batch: Annotated[int, typer.Option(help="Most events or users of one run of the graphs.")] = 256,
    max_delay: Annotated[float, typer.Option(help="Most milliseconds a request waits for others to run with.")] = 1.0,
    limit: Annotated[
        list[str] | None, typer.Option(help="Another limit as name=value, such as max_k=100; repeat.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option(help="A second bundle of --bundles and its share of the users, as NAME=5%.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token that requests must bring.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Which backend runs the graphs.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(help="Threads of ONNX Runtime; 0 for all processors.")] = 1,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="Log every request, not only those that fail.")
    ] = False,
) -> None:
    """Serve a bundle over HTTP: events in, recommendations with titles out. SIGTERM answers what is under way first.

    examples:

      deployrec serve bundles/glintru

      deployrec serve bundles/glintru --store lmdb:users --workers 4 --host 0.0.0.0 --token-file token

      deployrec serve --bundles bundles --store redis://localhost --canary recblr=5%
    """
    from deployrec.server.process import serve as run
    from deployrec.server.settings import Limits, Settings, canary_of

    known = {option.key: option for option in describe(Limits)}
    given = [text.partition("=")[::2] for text in limit or []]
    check_keys(known, [name for name, _ in given], "limits of serve")
    limits = make_config(
        Limits,
        {"max_batch": max_batch, "max_delay": max_delay, **{name: known[name].parse(text) for name, text in given}},
        "serve",
    )
    name, share = canary_of(canary) if canary else (None, 0.0)
    settings = Settings(
        bundle=None if bundle is None else str(bundle),
        bundles=None if bundles is None else str(bundles),
        store=store,
        canary=name,
        share=share,
        token_file=None if token_file is None else str(token_file),
        backend=backend,
        threads=threads,
        log_requests=log_requests,
        limits=limits,
    )
    _check(settings, host, port, workers)
    say(f"Serving {bundle or bundles} at http://{host}:{port}, described at /docs; Ctrl-C ends it.")
    with leaving("the server has ended; what it acknowledged is in the store"):
        run(settings, host, port, workers)


def _check(settings: Settings, host: str, port: int, workers: int) -> None:
    """Raises for whatever would keep the server from starting, before any process is."""
    from deployrec.bundle.bundle import Bundle
    from deployrec.runtime.stores.base import Layout, load_store
    from deployrec.server.bundles import wanted

    if not 1 <= workers <= 256:
        raise ConfigError(f"expected --workers from 1 to 256; got {workers}; a process for each core is plenty")
    settings.check(workers)
    for path in wanted(settings).values():
        with doing(f"checking {path}"):
            found = Bundle.open(path)
    load_store(settings.store, Layout.of(found.manifest)).close()
    try:
        socket.getaddrinfo(host, None)
        socket.create_server((host, port)).close()
    except socket.gaierror:
        raise ConfigError(f"expected an address of this machine; got {host}; pass another --host") from None
    except (OSError, OverflowError) as error:
        reason = "no port number" if isinstance(error, OverflowError) else os.strerror(error.errno or 0).lower()
        raise ConfigError(f"expected a free port at {host}; got {port} ({reason}); pass another --port") from None
