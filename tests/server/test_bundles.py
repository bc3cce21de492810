"""A model changes under load: nobody's request fails, none is answered by two bundles, no event is lost."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from benchmarks import flips
from deployrec.bundle import Bundle
from deployrec.bundle.current import CURRENT, current, flip
from deployrec.cli.main import run
from deployrec.errors import BundleError
from deployrec.runtime import Recommender
from deployrec.server.bundles import position
from tests.server.test_process import ITEMS


@pytest.fixture
def folder(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> Path:
    """Two bundles, the old one served; the new one knows more items."""
    for name, twin in (("old", twin_bundle()), ("new", twin_bundle(seed=1, num_items=33))):
        shutil.copytree(twin.path, tmp_path / "bundles" / name)
    flip(tmp_path / "bundles", "old")
    return tmp_path / "bundles"


def id_of(folder: Path, name: str) -> str:
    return Bundle.open(folder / name).manifest.bundle_id


def until_served(client: TestClient, bundle_id: str) -> None:
    end = time.monotonic() + 20
    while client.get("/v1/users/nobody/recommendations").json()["bundle_id"] != bundle_id:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_flip_and_back(client_of: Callable[..., TestClient], folder: Path, tmp_path: Path) -> None:
    client = client_of(bundles=str(folder), store=f"lmdb:{tmp_path / 'users'}")
    reference = Recommender.load(folder / "new")
    for item in ITEMS[:5]:
        client.post("/v1/events", json={"user": "u", "item": item, "event_id": item})
    reference.encode_history("u", ITEMS[:5])
    flip(folder, "new")
    until_served(client, id_of(folder, "new"))
    answer = client.get("/v1/users/u/recommendations?k=3").json()  # read again at the first touch
    assert [entry["item_id"] for entry in answer["recommendations"]] == [e.item_id for e in reference.recommend("u", 3)]
    again = {"user": "u", "item": "i5", "event_id": "i5"}
    assert client.post("/v1/events", json=again).json()["outcomes"] == ["duplicate"]
    client.post("/v1/events", json={"user": "u", "item": "i9"})
    flip(folder, "old")
    until_served(client, id_of(folder, "old"))
    record = client.get("/v1/users/u").json()
    assert (record["num_events"], record["seen"][-1]) == (6, "i9")
    assert "deployrec_flips_total 2.0" in client.get("/metrics").text


def test_a_broken_bundle_is_not_served(client_of: Callable[..., TestClient], folder: Path, tmp_path: Path) -> None:
    client = client_of(bundles=str(folder), store=f"lmdb:{tmp_path / 'users'}")
    (folder / "new" / "step.onnx").write_bytes(b"edited")
    flip(folder, "new")
    end = time.monotonic() + 20
    while "deployrec_failed_flips_total 1.0" not in client.get("/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v1/users/u/recommendations").json()["bundle_id"] == id_of(folder, "old")


def test_a_canary_gets_its_users_and_no_others(
    client_of: Callable[..., TestClient], folder: Path, tmp_path: Path
) -> None:
    client = client_of(bundles=str(folder), store=f"lmdb:{tmp_path / 'users'}", canary="new", share=0.3)
    users = [f"u{number}" for number in range(60)]
    old, new = id_of(folder, "old"), id_of(folder, "new")
    for user in users:
        expected = new if position(user) < 0.3 else old
        assert client.get(f"/v1/users/{user}/recommendations").json()["bundle_id"] == expected
    answer = client.post(
        "/v1/events", json={"events": [{"user": user, "item": "i33"} for user in users], "recommend": 2}
    ).json()
    for user, outcome in zip(users, answer["outcomes"], strict=True):  # the new bundle alone knows the item
        assert outcome == ("applied" if position(user) < 0.3 else "unknown item")
    assert set(answer["recommendations"]) == set(users)
    assert set(answer["bundle_ids"]) == {old, new}
    bad = {"events": [{"user": user, "item": "i1"} for user in users] + [{"user": "z", "item": "i1", "time": "x"}]}
    assert client.post("/v1/events", json=bad).status_code == 400
    lists = client.post("/v1/recommendations", json={"users": users, "k": 1}).json()["recommendations"]
    assert list(lists) == users
    for user in users:  # what was refused was written by neither
        status = client.get(f"/v1/users/{user}").status_code
        assert status == (200 if position(user) < 0.3 else 404)
    text = client.get("/metrics").text
    share = sum(position(user) < 0.3 for user in users)
    assert f'deployrec_events_total{{arm="canary",bundle="{new[:12]}",outcome="applied"}} {share}.0' in text


def test_positions_are_even() -> None:
    places = [position(f"user-{number}") for number in range(20_000)]
    assert sum(place < 0.05 for place in places) == pytest.approx(1000, rel=0.1)
    assert 0 <= min(places) < max(places) < 1


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"bundle": ""}', '{"bundle": "../old"}', '{"bundle": 3}'])
def test_a_wrong_current_json_is_one_line(folder: Path, content: str) -> None:
    (folder / CURRENT).write_text(content)
    with pytest.raises(BundleError, match="deployrec flip"):
        current(folder)


def test_flip_encodes_first_and_refuses_what_is_no_bundle(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"lmdb:{tmp_path / 'users'}"
    with Recommender.load(folder / "old", store=store) as old:
        old.observe_many([("a", "i1"), ("b", "i2")])
    assert run(["flip", str(folder), "new", "--store", store]) == 0
    assert "2 users, 2 of them encoded" in capsys.readouterr().out
    assert json.loads((folder / CURRENT).read_text()) == {"bundle": "new"}
    assert run(["flip", str(folder), "none"]) == 2
    assert current(folder) == "new"


@pytest.mark.slow
def test_flips_under_load(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    paths = [twin_bundle().path, twin_bundle(seed=1, num_items=33).path]
    counts = flips.trial(paths, tmp_path, seconds=16, flips=10, connections=64)
    assert counts.sound, counts
    assert counts.told_apart > 0.9 * counts.requests > 100
