"""The game: a real user's last item is hidden; the visitor picks, the model ranks, and the truth is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np
import streamlit as st

from deployrec.runtime.backends.base import NOTHING
from deployrec_demo import look
from deployrec_demo.engine import Engine
from deployrec_demo.session import Visit, excluded

CHOICES, LAST = 4, 10


@dataclass(frozen=True)
class Round:
    """A real user's history without its last item, which is `truth`, and the rows to choose from."""

    rows: tuple[int, ...]
    truth: int
    choices: tuple[int, ...]
    rank: int
    """Of the truth among all items the user has not seen, by the model."""
    first: int
    """The choice that the model ranks first."""


@dataclass
class Score:
    played: int = 0
    visitor: int = 0
    model: int = 0
    ranks: list[int] = field(default_factory=list)


def new_round(engine: Engine, seed: int) -> Round:
    """Rounds of one seed are the same. The other choices are as popular as the truth, none of them seen."""
    draw = np.random.default_rng(seed)
    histories = engine.real_histories()
    *rows, truth = histories[int(draw.integers(len(histories)))].tolist()
    exclude = excluded(engine, tuple(rows), True)
    found = engine.encode(rows, NOTHING)
    unseen = [row for row in engine.shelf.popular if row not in rows and row != truth]
    popularity = engine.catalogue.popularity
    near = sorted(unseen, key=lambda row: abs(int(popularity[row] - popularity[truth])))
    others = draw.permutation(near[:30])[: CHOICES - 1].tolist()
    choices = tuple(draw.permutation([truth, *others]).tolist())
    exclude = np.where(exclude == truth, 0, exclude)  # a truth that was seen before stays in the ranking
    ranks = {row: engine.rank(found.user, row, exclude) for row in choices}
    return Round(tuple(rows), truth, choices, ranks[truth], min(ranks, key=ranks.__getitem__))


def show(engine: Engine, visit: Visit) -> None:
    if not engine.real_histories():
        st.caption("The bundle's certificate holds no real user's history.")
        return
    if st.session_state.get("game_bundle") != engine.manifest.bundle_id:
        fresh = {"bundle": engine.manifest.bundle_id, "seed": 0, "picked": None, "score": Score()}
        st.session_state.update({f"game_{name}": value for name, value in fresh.items()})
    current = new_round(engine, st.session_state["game_seed"])
    picked, score = st.session_state["game_picked"], st.session_state["game_score"]
    watched = "".join(f"<span>{escape(engine.shelf.titles[row])}</span>" for row in current.rows[: -LAST - 1 : -1])
    st.html(
        f'<p class="answer">A real user did these last, newest first, of {len(current.rows):,}. What came next?</p>'
        f'<div class="strip wrap">{watched}</div>'
    )
    with st.container(horizontal=True, gap="small"):
        for place, row in enumerate(current.choices):
            mark = "" if picked is None else "✓ " if row == current.truth else "✗ " if row == picked else ""
            st.button(look.markdown(mark + engine.shelf.titles[row]), key=f"pick-{place}",
                      disabled=picked is not None, on_click=_pick, args=(current, row))  # fmt: skip
    if picked is None:
        st.caption("Pick one. The model picks too: the one it ranks highest.")
        return
    you = "You are right" if picked == current.truth else "You missed it"
    model = "the model is right" if current.first == current.truth else "the model missed it"
    st.html(
        f'<p class="answer">{you}, {model}: the true next one is its <b>rank {current.rank:,} of '
        f"{engine.manifest.num_items:,}</b>.</p>"
    )
    tens = sum(rank <= 10 for rank in score.ranks)
    st.caption(
        f"After {score.played}: you {score.visitor}, the model {score.model}; the truth was in its first ten "
        f"{tens} of {score.played} times. The truth was hidden from the training too."
    )
    st.button("Another user", key="next_round", on_click=_next)


def _pick(current: Round, row: int) -> None:
    score = st.session_state["game_score"]
    st.session_state["game_picked"] = row
    score.played += 1
    score.visitor += row == current.truth
    score.model += current.first == current.truth
    score.ranks.append(current.rank)


def _next() -> None:
    st.session_state["game_picked"] = None
    st.session_state["game_seed"] += 1
