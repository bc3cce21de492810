"""The first page as a visitor drives it: tiles, moves, links, and a bundle that changes underneath; no browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from deployrec_demo import clicks, details, resources, session, visitor
from deployrec_demo.engine import Engine
from deployrec_demo.session import Visit
from tests.demo_app.conftest import APP, WAIT, Hands, text
from tests.runtime.conftest import Twin

FOUND = visitor.TILES[1]
Open = Callable[..., AppTest]


def visit_of(app: AppTest) -> Visit:
    visit: Visit = app.session_state["visit"]
    return visit


def test_three_clicks_move_the_list_and_show_what_they_cost(opened: Open, hands: Hands) -> None:
    app = opened()
    assert not app.exception
    assert "Most popular" in text(app)
    lists = [hands.titles()]
    for _ in range(3):
        hands.press(app, 2)
        assert not app.exception
        lists.append(hands.titles())
    assert all(before != after for before, after in pairwise(lists))
    shown = text(app)
    assert "Next for this user" in shown
    assert "re-read 3 events" in shown
    assert "one step" in shown
    app.segmented_control(key="view").set_value(details.WAYS).run()
    shown = text(app)
    assert "all 3 events again, torch" in shown
    assert shown.count(">same<") == 4
    assert "differs" not in shown
    app.segmented_control(key="view").set_value(details.STATE).run()
    assert len(app.get("plotly_chart")) == 1
    assert app.session_state["answered"] > 0


def test_many_clicks_between_two_answers_are_all_taken_in_order_and_once(opened: Open, hands: Hands) -> None:
    app = opened()
    engine = resources.engine()
    places = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    wanted = [engine.catalogue.rows[hands.tiles()[place]["item"]] for place in places]
    hands.press(app, *places)
    assert list(visit_of(app).rows) == wanted
    app.run()
    assert list(visit_of(app).rows) == wanted
    assert hands.shown[visitor.TILES[0]]["taken"] == ["first load", 10]


def test_both_lists_share_one_log(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = {"a": {"page": "p", "clicks": [[1, "x"], [3, "z"]]}, "b": {"page": "p", "clicks": [[2, "y"]]}}
    monkeypatch.setattr(clicks, "_log", logs.get)
    assert clicks.pending(("a", "b", "c")) == ["x", "y", "z"]
    assert clicks.pending(("a", "b", "c")) == []
    logs["b"] = {"page": "p", "clicks": [[4, "x"]]}
    assert clicks.pending(("a", "b", "c")) == ["x"]


def test_undo_and_reset_lead_back(opened: Open, hands: Hands) -> None:
    app = opened()
    start = hands.titles()
    assert app.button(key="undo").disabled
    hands.press(app, 0)
    once = hands.titles()
    hands.press(app, 0)
    app.button(key="undo").click().run()
    assert hands.titles() == once
    app.text_input(key="query").input("bridge").run()
    app.multiselect(key="kinds").select("Western").run()
    app.button(key="reset").click().run()
    assert hands.titles() == start
    assert visit_of(app).rows == ()
    assert app.text_input(key="query").value == ""
    assert app.multiselect(key="kinds").value == []


def test_search_and_genres_find_items_that_can_be_clicked(opened: Open, hands: Hands) -> None:
    app = opened()
    engine = resources.engine()
    wanted = engine.shelf.titles[200]
    app.text_input(key="query").input(wanted).run()
    hands.press(app, 0, key=FOUND)
    assert visit_of(app).rows == (200,)
    app.text_input(key="query").input("").run()
    app.multiselect(key="kinds").set_value(engine.shelf.all_kinds).run()
    assert len(hands.tiles(FOUND)) == 7
    app.multiselect(key="kinds").set_value(["Western"]).run()
    assert all("Western" in tile["details"] for tile in hands.tiles(FOUND))
    app.text_input(key="query").input("zzz").run()
    assert "Nothing has all of these words" in text(app)


def test_a_real_user_begins_with_a_history_and_its_cost(opened: Open, hands: Hands) -> None:
    app = opened()
    app.button(key="real").click().run()
    visit = visit_of(app)
    assert tuple(visit.rows) in {tuple(rows) for rows in resources.engine().real_histories()}
    assert f"re-read {len(visit.rows):,} events" in text(app)
    before = hands.titles()
    app.button(key="unknown").click().run()
    assert not app.exception
    assert visit_of(app).rows == visit.rows
    assert "1 unknown, skipped" in text(app)
    assert hands.titles() == before


def test_a_persona_is_a_fan_of_one_genre(opened: Open) -> None:
    app = opened()
    engine = resources.engine()
    name = next(button for button in app.button if button.key and button.key.startswith("be-"))
    name.click().run()
    kind = name.label.removesuffix(" fan")
    assert len(visit_of(app).rows) == 8
    assert all(kind in engine.shelf.kinds[row] for row in visit_of(app).rows)


def test_a_link_brings_the_history_back(opened: Open, hands: Hands) -> None:
    app = opened()
    hands.press(app, 2, 5)
    link = app.query_params[visitor.LINK]
    (link,) = link if isinstance(link, list) else [link]
    rows, titles = visit_of(app).rows, hands.titles()
    hands.presses = []
    again = opened(link=link)
    assert visit_of(again).rows == rows
    assert hands.titles() == titles
    del again.query_params[visitor.LINK]  # as a look at another page does
    again.run()
    assert again.query_params[visitor.LINK] in (link, [link])
    hands.page = "second load"
    hands.press(again, 0)
    assert visit_of(again).rows[:-1] == rows


def test_one_event_is_not_events(opened: Open, hands: Hands) -> None:
    hands.press(app := opened(), 0)
    app.segmented_control(key="view").set_value(details.STATE).run()
    shown = text(app)
    assert "re-read 1 event<" in shown
    assert "kept of 1 event." in shown
    assert "1 events" not in shown


def test_seen_items_come_again_only_where_asked_for(opened: Open, hands: Hands) -> None:
    app = opened()
    for _ in range(4):
        hands.press(app, 0)
    engine = resources.engine()
    for again in (False, True, False):
        app.toggle(key="seen_again").set_value(again).run()
        assert not app.exception
        places = session.top(engine, visit_of(app), exclude_seen=not again)
        assert hands.titles() == [engine.shelf.titles[place.row] for place in places]


def test_why_names_the_events_that_hold_an_item(opened: Open, hands: Hands) -> None:
    app = opened()
    hands.press(app, 0, 3, 6)
    engine, visit = resources.engine(), visit_of(app)
    place = session.top(engine, visit)[0]
    assert f"rank, now {place.rank}" in text(app)
    for event in session.why(engine, visit, place.row):
        rest = [row for at, row in enumerate(visit.rows) if at != len(visit.rows) - event.back]
        user = engine.encode(rest, session.NOTHING).user
        _, scores = engine.backend.score(user, session.excluded(engine, visit.rows, True), engine.manifest.num_items)
        table = engine.bundle.item_table()
        better = np.sum(scores[0] > float((table[place.row] * user[0]).sum()) + 1e-4)
        assert event.rank == pytest.approx(better + 1, abs=1)


def test_the_game_hides_the_last_item_and_says_its_rank(opened: Open) -> None:
    app = opened()
    app.segmented_control(key="view").set_value(details.GAME).run()
    engine = resources.engine()
    assert "What came next?" in text(app)
    app.button(key="pick-1").click().run()
    assert f"of {engine.manifest.num_items:,}</b>" in text(app)
    assert "After 1:" in text(app)
    app.button(key="next_round").click().run()
    assert not app.exception
    assert "Pick one." in text(app)


def test_two_bundles_side_by_side(
    opened: Open, hands: Hands, bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resources.BESIDE, str(bundle_of("glintru")))
    app = opened()
    hands.press(app, 1, 2)
    app.segmented_control(key="view").set_value(details.BESIDE).run()
    assert not app.exception
    shown = text(app)
    assert "of 10 in both" in shown
    other = resources.beside()
    assert other is not None
    (best,) = session.top(other, session.start(other, visit_of(app).rows), k=1)
    assert other.shelf.titles[best.row] in shown


def test_a_broken_bundle_is_one_clear_message(opened: Open, bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    broken = shutil.copytree(bundle_of("recblr"), tmp_path / "broken")
    (broken / "items.csv").write_text("item_id,title,popularity\n")
    app = opened(broken)
    assert not app.exception
    (error,) = app.error
    assert error.value.startswith("expected ")
    assert "items.csv" in error.value
    assert not app.button
    gone = opened(tmp_path / "nowhere")
    assert "no such folder" in gone.error[0].value


def test_a_bundle_replaced_under_an_open_page_reads_the_same_history(
    opened: Open, hands: Hands, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle_of("recblr"), tmp_path / "bundle")
    app = opened(folder)
    hands.press(app, 2, 5)
    rows = visit_of(app).rows
    shutil.rmtree(folder)
    shutil.copytree(bundle_of("glintru"), folder)
    hands.press(app, 0)
    assert not app.exception
    assert not app.error
    assert visit_of(app).rows[:-1] == rows
    assert set(visit_of(app).state) == {tensor.name for tensor in resources.engine().manifest.state.tensors}


@pytest.mark.parametrize("button", ["undo", "real", "reset", "unknown", None])
def test_a_bundle_that_moves_away_is_one_line_whatever_is_pressed(
    opened: Open, hands: Hands, bundle_of: Callable[[str], Path], tmp_path: Path, button: str | None
) -> None:
    folder = shutil.copytree(bundle_of("recblr"), tmp_path / "bundle")
    app = opened(folder)
    hands.press(app, 0)
    folder.rename(tmp_path / "moved")
    if button:
        app.button(key=button).click().run()
    else:
        hands.press(app, 0)
    assert not app.exception
    assert [error.value for error in app.error] == [app.error[0].value]
    assert "no such folder" in app.error[0].value
    (tmp_path / "moved").rename(folder)
    app.run()
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("kind", ["gru", "window", "encode-only"])
def test_every_kind_of_model_has_its_pages(
    opened: Open, hands: Hands, twin_engine: Callable[[str], tuple[Twin, Engine]], monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:  # fmt: skip
    bundle = twin_engine(kind)[1].bundle.path
    app = opened(page="bundle_page", bundle=bundle)
    assert not app.exception
    assert ("None: every request reads" in text(app)) == (kind == "encode-only")
    reason = "no such model"
    monkeypatch.setattr(resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", reason))
    app = AppTest.from_file(str(APP), default_timeout=WAIT).run()
    for _ in range(7):
        hands.press(app, 2, key=FOUND)
        assert not app.exception
    app.segmented_control(key="view").set_value(details.WAYS).run()
    shown = text(app)
    assert reason in shown
    again = {"gru": "all 7 events", "window": "newest 6 events", "encode-only": "newest 6 events"}[kind]
    assert f"{again} again, ONNX Runtime" in shown
    assert ("this model keeps no state" in shown) == (kind == "encode-only")
    assert ("reads its window again" in shown) == (kind == "window")
    app.segmented_control(key="view").set_value(details.STATE).run()
    assert not app.exception
    assert len(app.get("plotly_chart")) == (kind != "encode-only")


def test_torch_that_is_missing_is_named(opened: Open, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened()
    monkeypatch.setattr(
        resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", "torch is not installed")
    )
    st.cache_resource.clear()
    hands.press(app, 0)
    app.segmented_control(key="view").set_value(details.WAYS).run()
    assert "torch is not installed" in text(app)
    assert '<tr class="off">' in text(app)
