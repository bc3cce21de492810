"""What all visitors of one server share: the open bundle, torch beside it, and the figures at the top."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from deployrec_demo.engine import Engine
from deployrec_demo.session import NOTHING
from deployrec_demo.timing import median_seconds
from deployrec_demo.torch_twin import LateTorch

BUNDLE = "DEPLOYREC_DEMO_BUNDLE"
"""Names the bundle folder to the server's process."""
READ_AGAIN = 200
"""Events of the history that the headline re-reads."""


@dataclass(frozen=True)
class Headline:
    """Median seconds, one user, one thread: the update after one event, and the reading of a history of READ_AGAIN."""

    step: float | None
    encode: float


def bundle_path() -> Path:
    return Path(os.environ[BUNDLE])


def engine() -> Engine:
    """The bundle of this server, checked and opened again once its manifest has changed."""
    manifest = bundle_path() / "manifest.json"
    return _engine(str(bundle_path()), manifest.stat().st_mtime_ns if manifest.is_file() else 0)


@st.cache_resource(show_spinner="Opening the bundle ...", max_entries=1)
def _engine(path: str, changed: int) -> Engine:
    return Engine.load(path)


@st.cache_resource(show_spinner=False, max_entries=1)
def late_torch(bundle_id: str, _engine: Engine) -> LateTorch:
    return LateTorch(_engine.bundle)


@st.cache_resource(show_spinner=False, max_entries=1)
def headline(bundle_id: str, _engine: Engine) -> Headline:
    """Measured once on this machine, on random items."""
    draw = np.random.default_rng(0)
    rows = draw.integers(1, _engine.manifest.num_items + 1, READ_AGAIN).tolist()
    encode = median_seconds(lambda: _engine.encode(rows, NOTHING), 15, 2)
    if not _engine.can_step(1):
        return Headline(None, encode)
    state = _engine.step(rows[0], NOTHING, _engine.empty_state()).state
    return Headline(median_seconds(lambda: _engine.step(rows[1], NOTHING, state), 200, 20), encode)
