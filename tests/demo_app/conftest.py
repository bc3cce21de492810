"""The app with hands to click its tiles, which `AppTest` lacks, and engines over numpy twins of the runtime's tests:
what a visit must hold is known there in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import deployrec_demo
from deployrec_demo import clicks, curve, resources, visitor
from deployrec_demo.engine import Engine
from deployrec_demo.torch_twin import TorchTwin
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


APP = Path(deployrec_demo.__file__).with_name("app.py")
WAIT = 60


class Hands:
    """What the browser does with tiles: draws `shown`, and sends the whole log of presses."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.page = "first load"
        self.presses: list[str] = []

    def component(self, name: str) -> Callable[..., None]:
        def mount(key: str, data: dict[str, Any], **_: object) -> None:
            self.shown[key] = data

        return mount

    def log(self, key: str) -> dict[str, Any] | None:
        if key != visitor.TILES[0] or not self.presses:
            return None
        return {"page": self.page, "clicks": [[number, item] for number, item in enumerate(self.presses, 1)]}

    def tiles(self, key: str = visitor.TILES[0]) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.shown[key]["tiles"]
        return found

    def titles(self) -> list[str]:
        return [tile["title"] for tile in self.tiles()]

    def press(self, app: AppTest, *places: int, key: str = visitor.TILES[0]) -> AppTest:
        """Presses tiles by their places now, from 0, and lets the page answer once."""
        items = [tile["item"] for tile in self.tiles(key)]
        self.presses += [items[place] for place in places]
        return app.run()


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()
    monkeypatch.setattr(clicks, "component", made.component)
    monkeypatch.setattr(clicks, "_log", made.log)
    return made


@pytest.fixture
def opened(bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, hands: Hands) -> Callable[..., AppTest]:
    """Opens the app, or one page of it, on a bundle; torch is loaded before the page asks, and no rival is exported."""

    def open_on(bundle: Path | None = None, page: str | None = None, link: str = "") -> AppTest:
        bundle = bundle or bundle_of("recblr")
        monkeypatch.setenv(resources.BUNDLE, str(bundle))
        st.cache_resource.clear()
        monkeypatch.setattr(
            resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", TorchTwin(bundle))
        )
        monkeypatch.setattr(curve, "exported", lambda engine: [])
        monkeypatch.setattr(curve, "FIRST", 0.01)
        monkeypatch.setattr(curve, "SETTLE", 0.0)
        if page is None:
            app = AppTest.from_file(str(APP), default_timeout=WAIT)
        else:
            app = AppTest.from_string(f"from deployrec_demo import {page}\n{page}.page()", default_timeout=WAIT)
        if link:
            app.query_params[visitor.LINK] = link
        return app.run()

    return open_on


def text(app: AppTest) -> str:
    """All that a page says."""
    return "\n".join(str(block.value) for block in (*app.markdown, *app.caption)) + "\n".join(
        block.proto.body for block in app.get("html")
    )
