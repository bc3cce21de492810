"""What a server refuses: a line of what is wrong, nothing written, never an error of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from deployrec.errors import ConfigError
from deployrec.server import Settings, create_app
from deployrec.server.settings import Limits, canary_of

EVENTS, LISTS = "/v1/events", "/v1/recommendations"
BAD: list[tuple[str, object]] = [
    (EVENTS, b""),
    (EVENTS, b"{"),
    (EVENTS, b"[]"),
    (EVENTS, b"null"),
    (EVENTS, b"\xff\xfe{}"),
    (EVENTS, b"\xef\xbb\xbf{}"),
    (EVENTS, b"[" * 100_000),
    (EVENTS, b'{"user":' + b'{"a":' * 50_000),
    (EVENTS, b'{"user":"a","item":NaN}'),
    (EVENTS, b'{"user":"a","item":"i1","time":1e999}'),
    (EVENTS, b'{"user":"a","item":"i1","time":' + b"9" * 5000 + b"}"),
    (EVENTS, b'{"user":"\\ud800","item":"i1"}'),
    (EVENTS, {}),
    (EVENTS, {"user": "a"}),
    (EVENTS, {"user": "a", "item": "i1", "events": []}),
    (EVENTS, {"user": "a", "item": "i1", "more": 1}),
    (EVENTS, {"user": "", "item": "i1"}),
    (EVENTS, {"user": True, "item": "i1"}),
    (EVENTS, {"user": 2**63, "item": "i1"}),
    (EVENTS, {"user": "a", "item": ["i1"]}),
    (EVENTS, {"user": "a" * 257, "item": "i1"}),
    (EVENTS, {"user": "ü" * 129, "item": "i1"}),
    (EVENTS, {"user": "a", "item": "i1", "event_id": "e" * 257}),
    (EVENTS, {"user": "a", "item": "i1", "time": "yesterday"}),
    (EVENTS, {"user": "a", "item": "i1", "sequence": -1}),
    (EVENTS, {"user": "a", "item": "i1", "sequence": 2**63}),
    (EVENTS, {"user": "a", "item": "i1", "source": "s"}),
    (EVENTS, {"user": "a", "item": "i1", "recommend": 0}),
    (EVENTS, {"user": "a", "item": "i1", "recommend": 31}),
    (EVENTS, {"user": "a", "item": "i1", "recommend": 2**70}),
    (EVENTS, {"user": "a", "item": "i1", "recommend": 3, "exclude_seen": None}),
    (EVENTS, {"events": [{"user": "a", "item": "i1"}] * 1001}),
    (EVENTS, {"events": [{"user": "a", "item": "i1"}, {"user": "b", "item": "i1", "time": "then"}]}),
    (LISTS, {}),
    (LISTS, {"users": ["a"], "history": ["i1"]}),
    (LISTS, {"users": ["a"] * 1001}),
    (LISTS, {"users": [""]}),
    (LISTS, {"users": ["a"], "k": -1}),
    (LISTS, {"history": ["i1"] * 10_001}),
    (LISTS, {"history": ["i" * 257]}),
    (LISTS, {"history": "i1"}),
]


def refused(answer: object, status: int) -> str:
    """The one line of a problem."""
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    problem = answer.json()  # type: ignore[attr-defined]
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]  # type: ignore[attr-defined]
    line = str(problem["detail"])
    assert "expected " in line
    assert "; got " in line
    assert "\n" not in line
    assert len(line) < 500
    return line


@pytest.mark.parametrize(("path", "body"), BAD, ids=[str(place) for place in range(len(BAD))])
def test_a_bad_body_is_one_line(client: TestClient, path: str, body: object) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    refused(client.post(path, content=content, headers={"content-type": "application/json"}), 400)


def test_nothing_was_written_by_what_was_refused(client: TestClient) -> None:
    """By all requests of the test above, which share the server."""
    for user in ("a", "b", "a" * 257, 2**63):
        assert client.get(f"/v1/users/{user}").status_code in (400, 404)


@pytest.mark.parametrize(
    "query", ["k=0", "k=31", "k=x", "k=1&k=2", "top=3", "exclude_seen=maybe", "k=" + "9" * 5000, "k=%F0%9F%98%80", "k="]
)
def test_a_bad_query_is_one_line(client: TestClient, query: str) -> None:
    refused(client.get(f"/v1/users/a/recommendations?{query}"), 400)


@pytest.mark.parametrize("path", ["/v1/users/%FF", "/v1/users/" + "a" * 300])
def test_a_bad_path_is_one_line(client: TestClient, path: str) -> None:
    refused(client.get(path), 400)


def test_routes_methods_and_kinds_that_are_none(client: TestClient) -> None:
    refused(client.get("/v1"), 404)
    assert "POST" in refused(client.put(EVENTS), 405)
    refused(client.post(EVENTS, content=b"<a/>", headers={"content-type": "text/xml"}), 415)
    refused(client.post(EVENTS, content=b"x", headers={"content-encoding": "gzip"}), 415)


def test_a_long_body_is_refused_whether_its_length_is_declared_or_not(client_of: Callable[..., TestClient]) -> None:
    client = client_of(limits=Limits(max_body=1000))
    refused(client.post(EVENTS, content=b" " * 1001), 413)
    refused(client.post(EVENTS, content=(b" " * 100 for _ in range(11))), 413)
    refused(client.post(EVENTS, content=(b" " * 100 for _ in range(9))), 400)


def test_the_token_opens_all_but_the_probes(client_of: Callable[..., TestClient], token_file: str) -> None:
    client = client_of(token_file=token_file)
    event = {"user": "a", "item": "i1"}
    for header in ({}, {"Authorization": "Bearer correct-horse-batter"}, {"Authorization": "Basic abc"}):
        answer = client.post(EVENTS, json=event, headers=header)
        refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(client.get("/metrics"), 401)
    assert client.get("/v2/health/live").status_code == client.get("/openapi.json").status_code == 200
    right = {"Authorization": "Bearer correct-horse-battery"}
    assert client.get("/v1/users/a", headers=right).status_code == 404  # the refused ones wrote nothing
    assert client.post(EVENTS, json=event, headers=right).status_code == 200


def test_a_request_keeps_its_callers_id(client: TestClient) -> None:
    assert client.get("/v2/health/live", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    strange = client.get("/v2/health/live", headers={"X-Request-Id": "two words"}).headers["x-request-id"]
    assert strange != "two words"
    others = {client.get("/v2/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(others) == 3


def test_before_a_bundle_is_ready_requests_are_told_to_come_again(bundle: object) -> None:
    app = create_app(Settings(bundle="no such folder"))
    with TestClient(app) as client:
        answer = client.get("/v2/health/ready")
        refused(answer, 503)
        assert answer.headers["retry-after"] == "1"
        refused(client.post(EVENTS, json={"user": "a", "item": "i1"}), 503)
        assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (Settings(), "got neither"),
        (Settings(bundle="a", bundles="b"), "got both"),
        (Settings(bundle="a", canary="b"), "--bundles"),
        (Settings(bundles="a"), "outlives a process"),
    ],
)
def test_settings_that_do_not_go_together(settings: Settings, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        settings.check()


def test_processes_share_no_memory() -> None:
    with pytest.raises(ConfigError, match="--workers 2"):
        Settings(bundle="a", store="memory:100").check(workers=2)


@pytest.mark.parametrize("text", ["new", "=5%", "new=5", "new=0%", "new=101%", "new=x%"])
def test_a_canary_has_a_name_and_a_share(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=SHARE"):
        canary_of(text)
    assert canary_of("a=b=2.5%") == ("a=b", 0.025)


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_broken_requests_end_in_no_error_of_the_server(client: TestClient, number: int) -> None:
    """Sound bodies with bytes changed, cut out and doubled at random: each is answered, and none with a 5xx."""
    rng = random.Random(number)
    sound = [
        b'{"user":"f","item":"i1","event_id":"e","time":1.5,"sequence":3,"source":"s","recommend":3}',
        b'{"events":[{"user":"f","item":"i1"},{"user":7,"item":"i2","time":"2026-01-01"}],"exclude_seen":false}',
        b'{"users":["f",7,"g"],"k":3}',
        b'{"history":["i1","i2",3],"k":2,"exclude_seen":true}',
    ]
    tokens = [b"null", b"NaN", b"-1", b"1e400", b"9223372036854775808", b'"\\u0000"', b"[]", b"{}", b"true", b"\x80"]
    for _ in range(number):
        body = bytearray(rng.choice(sound))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body) + 1)
            body[at : at + rng.randint(0, 6)] = rng.choice([*tokens, rng.randbytes(2), body[at : at + 9] * 2])
        answer = client.post(rng.choice([EVENTS, LISTS]), content=bytes(body))
        assert answer.status_code in (200, 400), (bytes(body), answer.text)
