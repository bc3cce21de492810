"""The scripts that try to break a server see what is broken."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from benchmarks import flips, hostile, server_kills
from benchmarks.callers import Answered, Callers, Server
from benchmarks.hostile_requests import Requests
from deployrec.bundle import Bundle
from deployrec.runtime import Recommender


def test_an_answer_of_another_bundle_is_mixed(twin_bundle: Callable[..., Bundle]) -> None:
    paths = [twin_bundle().path, twin_bundle(seed=1).path]
    ids = [Bundle.open(path).manifest.bundle_id for path in paths]
    recommenders = [Recommender.load(path) for path in paths]
    best = [
        [(e.item_id, e.score) for e in each.observe_and_recommend("a", "i1", k=3, exclude_seen=False)]
        for each in recommenders
    ]
    for number, bundle_ids, mixed in ((0, (ids[0],), 0), (0, (ids[1],), 1), (1, (ids[1],), 0), (0, tuple(ids), 1)):
        assert flips.compared(paths, {"a": [Answered("i1", bundle_ids, best[number])]}) == (1, mixed)


def test_a_history_that_lacks_an_event_is_seen(bundle: Bundle, tmp_path: Any) -> None:
    store = f"lmdb:{tmp_path / 'users'}"
    with Recommender.load(bundle.path, store=store) as recommender:
        recommender.observe_many([("a", "i1"), ("a", "i2")])
    for items, lost in ((["i1", "i2"], 0), (["i1", "i2", "i3"], 1), (["i1"], 1), (["i2", "i1"], 2)):
        answers = [Answered(item, ("x",), []) for item in items]
        callers = cast(Callers, SimpleNamespace(acknowledged={"a": answers}))
        assert flips.not_kept(bundle.path, store, callers) == lost


def test_a_server_that_forgets_is_seen() -> None:
    callers = Callers(0, 1, ["i1", "i2"], "u")
    callers.acknowledged["u-0"], callers.sent["u-0"] = [Answered("i1", ("x",), [])] * 3, 4
    for there, outcome, expected in ((4, "duplicate", (0, 0)), (3, "applied", (0, 0)), (2, "applied", (1, 0)),
                                     (5, "duplicate", (0, 1)), (4, "applied", (0, 1))):  # fmt: skip

        def ask(method: str, *_: object, there: int = there, outcome: str = outcome) -> tuple[int, object]:
            return 200, {"num_events": there} if method == "GET" else {"outcomes": [outcome]}

        counts = server_kills.Counts("lmdb", "SIGKILL")
        server_kills.check(cast(Server, SimpleNamespace(ask=ask)), callers, counts)
        assert (counts.lost, counts.applied_twice) == expected
        assert counts.sound == (expected == (0, 0))


def test_answers_are_cut_out_of_what_a_connection_gave() -> None:
    two = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 503 No\r\n\r\n"
    assert hostile.answers_in(two) == [(200, b"{}"), (503, b"")]
    assert [hostile.complete(two[:length], False) for length in (10, 30, 64, 65)] == [False, False, False, True]
    assert hostile.applied_in(b'{"outcomes":["applied","duplicate","applied"]}') == 2
    assert hostile.applied_in(b"[]") == hostile.applied_in(b"x") == 0


def test_hostile_requests_are_the_same_for_every_seed_and_of_every_kind() -> None:
    one, again = ([requests.next() for _ in range(140)] for requests in (Requests(1, "i1"), Requests(1, "i1")))
    assert one == again
    assert len({each.kind for each in one}) == 14
    assert one != [each for requests in (Requests(2, "i1"),) for each in (requests.next() for _ in range(140))]
