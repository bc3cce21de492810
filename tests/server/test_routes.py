"""The routes of users and events: what the library answers, behind HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployrec.bundle import Bundle
from deployrec.runtime import Recommender

ITEMS = [f"i{row}" for row in range(1, 31)]


@pytest.fixture(scope="module")
def library(bundle: Bundle) -> Recommender:
    """The same bundle without a server."""
    return Recommender.load(bundle.path)


def entries(found: Sequence[tuple[str, str, float]]) -> list[dict[str, object]]:
    return [{"item_id": item, "title": title, "score": pytest.approx(score, rel=1e-5)} for item, title, score in found]


def test_an_event_and_the_list_after_it(client: TestClient, library: Recommender, bundle: Bundle) -> None:
    answer = client.post("/v1/events", json={"user": "one", "item": "i3", "event_id": "e1", "recommend": 4})
    assert answer.status_code == 200
    assert answer.json() == {
        "outcomes": ["applied"],
        "bundle_ids": [bundle.manifest.bundle_id],
        "recommendations": {"one": entries(library.observe_and_recommend("one", "i3", k=4))},
    }
    assert 'the" film' in answer.json()["recommendations"]["one"][0]["title"]


def test_many_events_are_answered_one_by_one(client: TestClient) -> None:
    events = [
        {"user": "many", "item": "i1", "event_id": "e1", "time": "2026-01-01T00:00:00Z"},
        {"user": "many", "item": "i1", "event_id": "e1"},
        {"user": 7, "item": "no such item"},
        {"user": "many", "item": "i2", "sequence": 4, "source": "clicks"},
        {"user": "many", "item": "i5", "sequence": 4, "source": "clicks"},
    ]
    answer = client.post("/v1/events", json={"events": events}).json()
    assert answer["outcomes"] == ["applied", "duplicate", "unknown item", "applied", "duplicate"]
    assert "recommendations" not in answer
    record = client.get("/v1/users/many").json()
    assert (record["num_events"], record["seen"], record["sequences"]) == (2, ["i1", "i2"], {"clicks": 4})
    assert client.get("/v1/users/7").status_code == 404


def test_a_whole_number_and_its_text_are_one_user(client: TestClient) -> None:
    client.post("/v1/events", json={"events": [{"user": 12, "item": "i1"}, {"user": "12", "item": "i2"}]})
    assert client.get("/v1/users/12").json()["num_events"] == 2
    lists = client.post("/v1/recommendations", json={"users": [12, "12"], "k": 1}).json()["recommendations"]
    assert list(lists) == ["12"]


def test_recommendations_of_one_and_of_many(client: TestClient, library: Recommender) -> None:
    for number, item in enumerate(ITEMS[:5]):
        library.observe("lists", item)
        client.post("/v1/events", json={"user": "lists", "item": item, "event_id": number})
    one = client.get("/v1/users/lists/recommendations", params={"k": 3}).json()["recommendations"]
    assert one == entries(library.recommend("lists", 3))
    assert len(client.get("/v1/users/lists/recommendations").json()["recommendations"]) == 10
    seen = client.get("/v1/users/lists/recommendations?k=30&exclude_seen=false").json()["recommendations"]
    assert {entry["item_id"] for entry in seen} == set(ITEMS)
    many = client.post("/v1/recommendations", json={"users": ["lists", "nobody"], "k": 3}).json()["recommendations"]
    assert many == {"lists": one, "nobody": entries(library.recommend("nobody", 3))}


def test_a_bare_history_is_answered_and_nothing_is_kept(client: TestClient, library: Recommender) -> None:
    library.encode_history("visitor", [*ITEMS[:20], "no such item"])
    answer = client.post("/v1/recommendations", json={"history": [*ITEMS[:20], "no such item"], "k": 5}).json()
    assert answer["recommendations"] == entries(library.recommend("visitor", 5))
    empty = client.post("/v1/recommendations", json={"history": [], "k": 5}).json()
    assert empty["recommendations"] == entries(library.recommend("nobody at all", 5))
    assert client.get("/v1/users/visitor").status_code == 404


@pytest.mark.parametrize("user", ["a/b", "a/recommendations", "ü", "a%2Fb", "?#", " "])
def test_any_id_has_a_path(client: TestClient, user: str) -> None:
    from urllib.parse import quote

    client.post("/v1/events", json={"user": user, "item": "i1"})
    path = f"/v1/users/{quote(user, safe='')}"
    assert client.get(path).json()["num_events"] == 1
    assert client.get(f"{path}/recommendations").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert client.get(path).status_code == 404


def test_concurrent_requests_share_batches_and_each_gets_its_own_answer(client: TestClient) -> None:
    def post(number: int) -> tuple[int, dict[str, object]]:
        item, k = ITEMS[number % 30], number % 5 + 1
        body = {"user": f"crowd-{number % 50}", "item": item, "event_id": number // 2, "recommend": k}
        return k, client.post("/v1/events", json=body).json()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, range(400)))
    for number, (k, answer) in enumerate(answers):
        lists = answer["recommendations"]
        assert isinstance(lists, dict)
        assert [len(found) for found in lists.values()] == [k], number
    records = [client.get(f"/v1/users/crowd-{number}").json() for number in range(50)]
    applied = sum(answer["outcomes"] == ["applied"] for _, answer in answers)
    assert applied == sum(record["num_events"] for record in records)
    assert applied == len({(number % 50, number // 2) for number in range(400)})


def test_a_wrong_event_costs_its_own_request_alone(client_of: Callable[..., TestClient]) -> None:
    """In one batch with sound ones, of which none is lost."""
    client = client_of()

    def post(number: int) -> int:
        time = "no time" if number % 7 == 0 else 1.5
        return client.post("/v1/events", json={"user": f"u{number}", "item": "i1", "time": time}).status_code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(post, range(70)))
    assert codes == [400 if number % 7 == 0 else 200 for number in range(70)]
    assert [client.get(f"/v1/users/u{number}").status_code == 200 for number in range(70)] == [c == 200 for c in codes]


def test_metrics_count_what_happened(client_of: Callable[..., TestClient], bundle: Bundle) -> None:
    client = client_of()
    events = [{"user": "m", "item": "i1", "event_id": 1}] * 3 + [{"user": "m", "item": "none"}]
    client.post("/v1/events", json={"events": events})
    text, label = client.get("/metrics").text, f'bundle="{bundle.manifest.bundle_id[:12]}"'
    for outcome, number in (("applied", 1), ("duplicate", 2), ("unknown_item", 1)):
        assert f'deployrec_events_total{{arm="main",{label},outcome="{outcome}"}} {number}.0' in text
    for stage in ("queue", "read", "run", "write"):
        assert f'deployrec_stage_seconds_count{{arm="main",{label},stage="{stage}"}} 1.0' in text
    assert f'deployrec_batch_size_sum{{arm="main",{label}}} 4.0' in text
    assert 'deployrec_requests_total{route="/v1/events",status="200"} 1.0' in text
    assert f'deployrec_users{{arm="main",{label}}} 1.0' in text
    assert f'deployrec_new_users_total{{arm="main",{label}}} 1.0' in text
    assert f'deployrec_bundle_info{{arm="main",bundle_id="{bundle.manifest.bundle_id}"}} 1.0' in text


def test_the_description_names_every_route(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]["/v1/users/{user}"]) == {"get", "delete"}
    assert described["components"]["schemas"]["Event"]["required"] == ["user", "item"]


def test_filters_leave_what_the_library_leaves(client: TestClient, library: Recommender) -> None:
    for number, item in enumerate(ITEMS[:3]):
        library.observe("picky", item)
        client.post("/v1/events", json={"user": "picky", "item": item, "event_id": number})
    filters: dict[str, Any] = {"exclude": ITEMS[3:6], "only": ITEMS[:15], "where": "popularity >= 1"}
    expected = entries(library.recommend("picky", 5, **filters))
    assert len(expected) == 5
    assert (
        client.get("/v1/users/picky/recommendations", params={"k": 5, **filters}).json()["recommendations"] == expected
    )
    many = client.post("/v1/recommendations", json={"users": ["picky"], "k": 5, **filters}).json()["recommendations"]
    assert many == {"picky": expected}
    bare = client.post("/v1/recommendations", json={"history": ITEMS[:3], "k": 5, **filters}).json()["recommendations"]
    assert bare == expected
    answer = client.post("/v1/events", json={"user": "picky", "item": "i30", "recommend": 5, **filters}).json()
    wanted = entries(library.observe_and_recommend("picky", "i30", k=5, **filters))
    assert answer["recommendations"] == {"picky": wanted}
    assert not {entry["item_id"] for entry in wanted} - set(ITEMS[6:15])


def test_a_filter_that_cannot_be_read_is_refused_and_nothing_is_applied(client: TestClient) -> None:
    for bad in ("year >=", "no_such_column == 1", ""):
        answer = client.post("/v1/events", json={"user": "bad filter", "item": "i1", "recommend": 2, "where": bad})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("expected ")
    assert client.get("/v1/users/bad filter").status_code == 404
    assert client.get("/v1/users/a/recommendations?where=year&where=title").status_code == 400
    long = client.post("/v1/recommendations", json={"users": ["a"], "only": ["x" * 999]})
    assert long.status_code == 400


def test_the_page_shows_every_operation_and_loads_nothing(client: TestClient) -> None:
    described, page = client.get("/openapi.json").json(), client.get("/docs").text
    operations = [(method, path) for path, methods in described["paths"].items() for method in methods]
    headings = [f"<h2>{method.upper()} {path}</h2>" for method, path in operations]
    assert [heading for heading in headings if heading not in page] == []
    assert [name for name in described["components"]["schemas"] if f'<h2 id="{name}">' not in page] == []
    assert [loads for loads in ("<script", "<link", "<img", "src=", "url(", "@import") if loads in page] == []
