"""Engines over the numpy twins of the runtime's tests: what a visit must hold is known there in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployrec_demo.engine import Engine
from tests.runtime.conftest import Twin


@pytest.fixture(scope="session")
def twin_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Twin, Engine]]:
    """A twin of kind "gru", "window" or "encode-only", and the engine that runs its bundle; shared."""
    made: dict[str, tuple[Twin, Engine]] = {}

    def engine(kind: str) -> tuple[Twin, Engine]:
        if kind not in made:
            twin = Twin(kind)
            made[kind] = twin, Engine(twin.write(tmp_path_factory.mktemp("demo") / kind))
        return made[kind]

    return engine
