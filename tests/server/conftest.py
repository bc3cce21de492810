"""Apps under test: asked without sockets, on an event loop of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployrec.bundle import Bundle
from deployrec.server import Settings, create_app
from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    """A client of an app that is ready."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        until = time.monotonic() + 30
        while client.get("/v2/health/ready").status_code != 200:
            assert time.monotonic() < until, "the app does not get ready"
            time.sleep(0.01)
        yield client


@pytest.fixture(scope="session")
def bundle(twin_bundle: Callable[..., Bundle]) -> Bundle:
    return twin_bundle()


@pytest.fixture
def client_of(bundle: Bundle) -> Iterator[Callable[..., TestClient]]:
    """Clients of apps by their settings; the twin's bundle unless another is named."""
    with ExitStack() as stack:

        def client(**settings: Any) -> TestClient:
            if "bundles" not in settings:
                settings.setdefault("bundle", str(bundle.path))
            return stack.enter_context(serving(Settings(**settings)))

        yield client


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[TestClient]:
    """One that the tests of a file share: each takes users of its own."""
    with serving(Settings(bundle=str(bundle.path))) as found:
        yield found


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text("correct-horse-battery\n")
    return str(path)
