"""Times of events and moments of requests over HTTP: what the library answers for them, or one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from deployrec.bundle import Bundle
from deployrec.runtime import Recommender
from deployrec.server import Settings
from tests.server.conftest import serving

AT = 1_769_860_800
"""2026-01-31T12:00:00Z"""


@pytest.fixture(scope="module")
def timed(twin_bundle: Callable[..., Bundle]) -> Bundle:
    return twin_bundle(unit="s")


@pytest.fixture(scope="module")
def client(timed: Bundle) -> Iterator[TestClient]:
    with serving(Settings(bundle=str(timed.path))) as found:
        yield found


@pytest.fixture
def library(timed: Bundle) -> Recommender:
    return Recommender.load(timed.path)


def items(found: list[dict[str, Any]]) -> list[Any]:
    return [(entry["item_id"], pytest.approx(entry["score"], abs=1e-5)) for entry in found]


def pairs(found: list[Any]) -> list[tuple[str, float]]:
    return [(entry.item_id, entry.score) for entry in found]


@pytest.mark.parametrize("now", [AT + 60, "2026-01-31T12:01:00Z", "2026-01-31T13:01:00+01:00"])
def test_a_request_names_its_moment(client: TestClient, library: Recommender, now: Any) -> None:
    user = f"ann {now}"
    library.observe(user, "i3", time=AT)
    expected = pairs(library.recommend(user, 5, now=AT + 60))
    event = {"user": user, "item": "i3", "time": AT, "recommend": 5, "now": now}
    assert items(client.post("/v1/events", json=event).json()["recommendations"][user]) == expected
    answer = client.get(f"/v1/users/{user}/recommendations", params={"k": 5, "now": now})
    assert items(answer.json()["recommendations"]) == expected
    answer = client.post("/v1/recommendations", json={"users": [user], "k": 5, "now": now})
    assert items(answer.json()["recommendations"][user]) == expected
    bare = {"history": ["i3"], "times": ["2026-01-31T12:00:00Z"], "k": 5, "now": now}
    assert items(client.post("/v1/recommendations", json=bare).json()["recommendations"]) == expected
    unknown = client.post("/v1/recommendations", json={"history": ["i3"], "k": 5, "now": now}).json()
    assert items(unknown["recommendations"]) == pairs(library.recommend_after(["i3"], 5))
    assert client.get(f"/v1/users/{user}").json()["last_time"] == AT


def test_without_a_moment_the_list_is_right_after_the_event_and_later_for_now(
    client: TestClient, library: Recommender
) -> None:
    answer = client.post("/v1/events", json={"user": "bob", "item": "i4", "time": AT, "recommend": 5})
    assert items(answer.json()["recommendations"]["bob"]) == pairs(
        library.observe_and_recommend("bob", "i4", time=AT, k=5)
    )
    found = client.get("/v1/users/bob/recommendations?k=5").json()["recommendations"]
    expected = library.recommend("bob", 5)
    np.testing.assert_allclose([e["score"] for e in found], [e.score for e in expected], atol=1e-3)


@pytest.mark.parametrize("wrong", ["yesterday", AT * 1000, 1e300])
def test_what_is_no_moment_costs_its_own_request_alone(client: TestClient, wrong: Any) -> None:
    for answer in (
        client.post("/v1/events", json={"user": "cat", "item": "i1", "time": wrong}),
        client.post("/v1/events", json={"user": "cat", "item": "i1", "recommend": 3, "now": wrong}),
        client.post("/v1/recommendations", json={"users": ["cat"], "now": wrong}),
        client.post("/v1/recommendations", json={"history": ["i1"], "now": wrong}),
        client.post("/v1/recommendations", json={"history": ["i1"], "times": [wrong]}),
        client.get("/v1/users/cat/recommendations", params={"now": wrong}),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"].count("expected a time") == 1
    answer = client.post("/v1/recommendations", json={"history": ["i1"], "times": [AT, AT]})
    assert (answer.status_code, "for each of 1; got 2" in answer.json()["detail"]) == (400, True)
    assert client.get("/v1/users/cat").status_code == 404


def test_late_events_are_counted(client: TestClient) -> None:
    events = [{"user": "dan", "item": "i1", "time": time} for time in (AT, AT - 1, AT - 2)]
    client.post("/v1/events", json={"events": events})
    (line,) = [each for each in client.get("/metrics").text.splitlines() if each.startswith("deployrec_late_events_t")]
    assert line.endswith(" 2.0")


def test_the_graphs_take_the_seconds(client: TestClient, timed: Bundle, library: Recommender) -> None:
    cases = timed.cases()
    assert cases.elapsed is not None
    case = next(n for n in cases.short if cases.lengths[n] and cases.elapsed[n] > 0)

    def tensor(name: str, array: np.ndarray) -> dict[str, Any]:
        kind = "INT64" if array.dtype == np.int64 else "FP32"
        return {"name": name, "shape": list(array.shape), "datatype": kind, "data": array.ravel().tolist()}

    user, elapsed = cases.user[case : case + 1].astype(np.float32), cases.elapsed[case : case + 1]
    exclude = cases.exclude[case : case + 1]
    inputs = [tensor("user", user), tensor("elapsed", elapsed), tensor("exclude_items", exclude)]
    answer = client.post("/v2/models/score/infer", json={"inputs": [*inputs, tensor("k", np.array([5]))]}).json()
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found["topk_items"] == cases.topk_items[case, :5].tolist()
    now = client.post("/v2/models/moment/infer", json={"inputs": inputs[:2]}).json()["outputs"][0]
    np.testing.assert_allclose(
        timed.item_table()[found["topk_items"]] @ np.array(now["data"]), found["topk_scores"], atol=1e-4
    )
    without = client.post("/v2/models/score/infer", json={"inputs": [inputs[0], inputs[2], tensor("k", np.array([5]))]})
    assert without.status_code == 400
    assert "elapsed" in without.json()["detail"]
    names = [each["name"] for each in client.get("/v2/models/step").json()["inputs"]]
    assert names[:4] == ["item_id", "exclude_items", "k", "elapsed"]
