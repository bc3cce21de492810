"""What all visitors of one server share: the open bundles, the curve at the top, and torch once it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import streamlit as st

from deployrec.errors import DeployrecError
from deployrec_demo.curve import LateCurve
from deployrec_demo.engine import Engine
from deployrec_demo.torch_twin import LateTorch

BUNDLE, BESIDE = "DEPLOYREC_DEMO_BUNDLE", "DEPLOYREC_DEMO_BESIDE"
"""Name the bundle folder, and the one shown beside it, to the server's process."""
SAMPLE = Path(__file__).with_name("sample")
"""The bundle that ships with the demo, trained on the built-in sample."""


def bundle_path() -> Path:
    return Path(os.environ[BUNDLE])


def engine() -> Engine:
    """The bundle of this server, checked and opened again once its manifest has changed."""
    return _opened(bundle_path())


def beside() -> Engine | None:
    """The bundle that is shown beside it, if one was named."""
    path = os.environ.get(BESIDE)
    return _opened(Path(path)) if path else None


def curve(engine: Engine) -> LateCurve:
    return _curve(engine.manifest.bundle_id, engine)


def guarded(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A fragment that shows a bundle's fault as one line: it runs without the page around it, which would catch it."""

    @wraps(draw)
    def safely(*arguments: Any) -> Any:
        try:
            return draw(*arguments)
        except DeployrecError as error:
            st.error(str(error))

    return safely


def _opened(path: Path) -> Engine:
    try:
        changed = (path / "manifest.json").stat().st_mtime_ns
    except OSError:  # opening it says what is wrong
        changed = 0
    return _engine(str(path), changed)


@st.cache_resource(show_spinner="Opening the bundle ...", max_entries=2)
def _engine(path: str, changed: int) -> Engine:
    return Engine.load(path)


@st.cache_resource(show_spinner=False, max_entries=1)
def _curve(bundle_id: str, _engine: Engine) -> LateCurve:
    return LateCurve(_engine)


@st.cache_resource(show_spinner=False, max_entries=1)
def late_torch(bundle_id: str, _engine: Engine) -> LateTorch:
    return LateTorch(_engine.bundle)
