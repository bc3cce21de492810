"""Serves bundles over HTTP: events in, titles and scores out, by Starlette, msgspec and Prometheus' own client."""

from deployrec.server.app import create_app
from deployrec.server.settings import Settings

__all__ = ["Settings", "create_app"]
