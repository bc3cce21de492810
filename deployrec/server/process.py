"""The processes of a server: uvicorn around the app, one or several that share a store."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from contextlib import ExitStack

import uvicorn

from deployrec.server.app import create_app
from deployrec.server.gate import Gate, JsonLines
from deployrec.server.metrics import FOLDER
from deployrec.server.settings import Settings

SETTINGS = "DEPLOYREC_SERVE"
"""The environment variable by which the processes of one server are told what to serve; it holds no token."""
DRAIN_SECONDS = 30
"""How long requests under way may take once a SIGTERM has come."""
COLLECT_AFTER = 10_000
"""New objects after which Python looks for cycles: hundreds of requests under way are no garbage, and looking at them
over and over takes a twentieth of the time."""


def serve(settings: Settings, host: str, port: int, workers: int = 1) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what is under way, closes the stores and returns."""
    with ExitStack() as stack:
        os.environ[SETTINGS] = settings.to_json()
        if workers > 1:
            os.environ[FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="deployrec-metrics-"))
        uvicorn.run(
            "deployrec.server.process:app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )


def app() -> Gate:
    """The app of one process, as the environment says; its log goes to stderr, a JSON object a line."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("deployrec.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    return create_app(Settings.from_json(os.environ[SETTINGS]))
