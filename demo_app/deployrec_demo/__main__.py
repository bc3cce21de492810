"""`python -m deployrec_demo BUNDLE`: the server, with the demo's look and nothing sent anywhere."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from importlib import import_module
from pathlib import Path

from deployrec_demo.look import THEME
from deployrec_demo.resources import BESIDE, BUNDLE
from deployrec_demo.server_address import DEFAULT, SERVER, TOKEN_FILE

OPTIONS = {
    "browser.gatherUsageStats": "false",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "client.toolbarMode": "minimal",
    **{f"theme.{mode}.{name}": value for mode, colours in THEME.items() for name, value in colours.items()},
}


def main() -> None:
    arguments = _parse(sys.argv[1:])
    threading.Thread(target=_import_pages, daemon=True).start()
    from streamlit.web.cli import main as streamlit

    os.environ[BUNDLE] = str(arguments.bundle)
    if arguments.beside:
        os.environ[BESIDE] = str(arguments.beside)
    os.environ[SERVER] = arguments.server
    if arguments.token_file:
        os.environ[TOKEN_FILE] = str(arguments.token_file)
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *flags(arguments)]
    streamlit()


def _import_pages() -> None:
    """While the server starts and the browser loads: the first page then waits for no import."""
    for name in ("onnxruntime", "deployrec_demo.live", "deployrec_demo.bundle_page"):
        import_module(name)


def flags(arguments: argparse.Namespace) -> list[str]:
    """Streamlit's flags; without a port it takes the next free one from 8501 on."""
    chosen = {**OPTIONS, "server.address": arguments.address, "server.headless": str(arguments.headless).lower()}
    if arguments.port:
        chosen["server.port"] = str(arguments.port)
    return [f"--{name}={value}" for name, value in chosen.items()]


def _parse(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployrec_demo")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--server", default=DEFAULT)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--address", default="localhost")
    parser.add_argument("--headless", action="store_true")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
