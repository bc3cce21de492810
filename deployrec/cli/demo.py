"""`deployrec demo`: a bundle in the browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deployrec import discovery
from deployrec.cli.console import doing, leaving, say
from deployrec.cli.export import write
from deployrec.errors import ConfigError
from deployrec.extras import missing_package

NEEDED = ("streamlit", "plotly", "deployrec_demo")


def demo(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle folder; default: the one of the sample that comes with the demo.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(help="Another bundle of the same items, whose list is shown beside.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Train this model on the sample first, and show its bundle in bundles/MODEL.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="A running `deployrec serve` to watch; default: http://127.0.0.1:8000.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the token of that server.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the page; default: the first free one from 8501 on.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="Who may open the page: localhost, or 0.0.0.0 for the network.")
    ] = "localhost",
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser.")] = False,
) -> None:
    """Show a bundle in the browser: live recommendations, latencies measured here, and the bundle's certificate.

    examples:

      deployrec demo

      deployrec demo --train recblr

      deployrec demo bundles/glintru --beside bundles/recblr --port 8600 --headless
    """
    from deployrec.bundle.bundle import Bundle

    for name in NEEDED:
        if find_spec(name) is None:
            raise missing_package(name)
    _check_place(address, port)
    _check_server(server, token_file)
    bundle = _trained(bundle, train) if train is not None else bundle or _shipped()
    for folder in filter(None, (bundle, beside)):
        with doing(f"checking {folder}"):
            Bundle.open(folder)
    say(f"Opening {bundle} in the browser; Ctrl-C ends it.")
    options = [
        *(["--beside", str(beside.resolve())] if beside else []),
        *(["--server", server] if server else []),
        *(["--token-file", str(token_file.resolve())] if token_file else []),
        *(["--port", str(port)] if port else []),
        *(["--headless"] if headless else []),
    ]
    command = [sys.executable, "-m", "deployrec_demo", str(bundle.resolve()), "--address", address, *options]
    with leaving(f"the demo has ended, {bundle} is as it was"):
        raise typer.Exit(subprocess.call(command))


def _shipped() -> Path:
    from deployrec_demo.resources import SAMPLE

    return SAMPLE


def _trained(bundle: Path | None, model: str) -> Path:
    """The bundle of a model in bundles/, exported first, and trained before that, if need be."""
    if bundle is not None:
        raise ConfigError(f"expected a bundle or --train; got {bundle} and --train {model}; leave one of them out")
    discovery.check("models", model)
    folder = Path("bundles") / model
    if not folder.exists():
        write(model, out=folder)
    return folder


def _check_server(server: str | None, token_file: Path | None) -> None:
    from deployrec_demo.server_address import DEFAULT, Address

    Address.of(server or DEFAULT, token_file)


def _check_place(address: str, port: int | None) -> None:
    """ConfigError where no page can be opened; without a port any free one would do."""
    try:
        with socket.create_server((address, port or 0)):
            pass
    except socket.gaierror:
        raise ConfigError(f"expected an address of this machine; got {address}; pass another --address") from None
    except (OSError, OverflowError) as error:
        reason = "no port number" if isinstance(error, OverflowError) else os.strerror(error.errno or 0).lower()
        if port is None:
            raise ConfigError(
                f"expected an address of this machine; got {address} ({reason}); pass another --address"
            ) from None
        raise ConfigError(f"expected a free port at {address}; got {port} ({reason}); pass another --port") from None
