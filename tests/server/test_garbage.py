"""Refused requests leave no frames of the server to the garbage collector: under load these would be many."""

from __future__ import annotations

import gc
from pathlib import Path
from types import FrameType

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/events", '{"user":'),
        ("/v1/events", '{"user": "ann", "item": "i1", "time": 0, "sequence": 3, "recommend": 31}'),
        ("/v1/events", '{"user": "ann", "item": "i1", "recommend": 3, "where": "nothing == 1"}'),
        ("/v1/recommendations", '{"users": ["ann"], "where": "nothing == 1"}'),
        ("/v1/recommendations", '{"users": ['),
        ("/v1/nowhere", "{}"),
    ],
)
def test_a_refused_request_leaves_nothing_to_collect(client: TestClient, path: str, body: str) -> None:
    client.post(path, content=body)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert client.post(path, content=body).status_code in (400, 404)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        frames = [one.f_code for one in gc.garbage if isinstance(one, FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert [code.co_qualname for code in frames if "deployrec" in Path(code.co_filename).parts] == []
