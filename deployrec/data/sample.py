"""The built-in sample: an event log drawn from a process that is known, so that its best possible HR@10 is too.

A user follows one hidden interest, which drifts. Every interest has its own order of its films and every film belongs
to two interests, so that what comes next depends on which interest the user is in, not on the last film alone. Nobody
sees a film twice. `sample_ceiling` computes what the best possible recommender reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deployrec.data.dataset import Dataset, Int64Array
from deployrec.data.log import EventLog, build_dataset
from deployrec.data.sample_titles import GENRES, film_titles


@dataclass(frozen=True)
class SampleProcess:
    """The parameters; weights are whole numbers, so that every machine draws the same log.

    Per event the interest is kept with probability stay / 100, else drawn by `drift` weights over the next interests
    in order. Then, with probability stray / 100, any unseen film is drawn by popularity; else an unseen film of the
    interest, by popularity times `ahead`: the weights of being 1, 2, ... places further in the interest's circular
    order than the newest film of that interest that the user has seen (before the first one, all places weigh the
    same). Where none of these is unseen, any unseen film is drawn.
    """

    seed: int = 0
    num_users: int = 2000
    num_items: int = 480
    num_interests: int = 12
    shortest: int = 20
    mean_length: int = 60
    longest: int = 200
    stay: int = 94
    stray: int = 4
    drift: tuple[int, ...] = (6, 3, 1)
    ahead: tuple[int, ...] = (6, 6, 5, 5, 4, 4, 4, 3, 3, 2, 2, 1)
    popularity: tuple[int, ...] = (6, 4, 3, 3, 2, 2, 2, 2)


@dataclass(frozen=True, eq=False)
class SampleWorld:
    """What the seed fixes before the first user: orders, popularity and transitions.

    ring        int64 [Z, M], the items 0..N-1 of each interest in its order, padded with N
    size        int64 [Z], items per interest
    place       int64 [N + 1, Z], the item's place in the interest's order, -1 where it does not belong
    weight      int64 [N + 1], popularity weights; 0 for the pad
    transition  int64 [Z, Z], weights out of 100 * sum(drift)
    """

    ring: Int64Array
    size: Int64Array
    place: Int64Array
    weight: Int64Array
    transition: Int64Array


def sample_dataset(process: SampleProcess | None = None) -> Dataset:
    """The sample as a data set called "sample": about 2,000 users, 480 films, 120,000 events; item ids from "1000"."""
    process = process or SampleProcess()
    lengths, films = draw_histories(process)
    users = np.repeat(np.arange(1, process.num_users + 1), lengths)
    catalogue = film_catalogue(process, build_world(process))
    log = EventLog(
        source="the sample",
        users=pl.Series(users).cast(pl.String),
        items=catalogue["item_id"].gather(films),
        times=None,
        catalogue=catalogue,
    )
    return build_dataset(log, "sample")


def build_world(process: SampleProcess) -> SampleWorld:
    """Everything the seed fixes that a recommender could at best learn."""
    rng = np.random.default_rng([process.seed, 0])
    N, Z = process.num_items, process.num_interests
    first = _shuffled(rng, N) % Z
    second = (first + 1 + _shuffled(rng, N) % (Z - 1)) % Z
    members = [_shuffle(rng, np.flatnonzero((first == z) | (second == z))) for z in range(Z)]
    size = np.array([len(m) for m in members])
    ring = np.full((Z, size.max()), N)
    place = np.full((N + 1, Z), -1)
    for z, member in enumerate(members):
        ring[z, : len(member)] = member
        place[member, z] = np.arange(len(member))
    weight = np.append(np.array(process.popularity)[_shuffled(rng, N) % len(process.popularity)], 0)
    transition = np.eye(Z, dtype=np.int64) * process.stay * sum(process.drift)
    for step, drift in enumerate(process.drift, start=1):
        transition += np.roll(np.eye(Z, dtype=np.int64), step, axis=1) * (100 - process.stay) * drift
    return SampleWorld(ring, size, place, weight, transition)


def draw_histories(process: SampleProcess) -> tuple[Int64Array, Int64Array]:
    """Lengths [U] of the users' histories, and their items 0..N-1, user after user."""
    world = build_world(process)
    rng = np.random.default_rng([process.seed, 1])
    lengths = _draw_lengths(process, rng)
    order = np.argsort(-lengths, kind="stable")
    longest_first = lengths[order]
    histories = np.full((process.num_users, lengths.max()), process.num_items)
    seen = Seen.nothing(process)
    interest = _whole(rng, np.full(process.num_users, process.num_interests))
    for t in range(lengths.max()):
        active = int((longest_first > t).sum())
        interest, seen = interest[:active], seen.first(active)
        if t:
            interest = _pick(rng, world.transition[interest])
        film = _draw_films(process, world, rng, interest, seen)
        seen.add(world, film)
        histories[:active, t] = film
    histories = histories[np.argsort(order)]
    return lengths, histories[histories < process.num_items]


@dataclass(eq=False)
class Seen:
    """What users have seen so far: all that the next draw depends on, besides the interest.

    films    bool [U, N + 1]; the pad counts as seen
    newest   int64 [U, Z], place of the newest seen item in each interest's order, -1 before the first
    """

    films: NDArray[np.bool_]
    newest: Int64Array

    @classmethod
    def nothing(cls, process: SampleProcess, num_users: int | None = None) -> Seen:
        """Users at their start."""
        users = process.num_users if num_users is None else num_users
        films = np.zeros((users, process.num_items + 1), dtype=bool)
        films[:, -1] = True
        return cls(films, np.full((users, process.num_interests), -1))

    def first(self, users: int) -> Seen:
        """A view of the first `users` users."""
        return Seen(self.films[:users], self.newest[:users])

    def add(self, world: SampleWorld, film: Int64Array) -> None:
        """Every user sees one more film, [U]."""
        self.films[np.arange(len(film)), film] = True
        place = world.place[film]
        np.copyto(self.newest, place, where=place >= 0)


def interest_weights(process: SampleProcess, world: SampleWorld, interest: Int64Array, seen: Seen) -> Int64Array:
    """Weights [U, M] of the places in `interest` [U]'s order for each user's next film; seen films weigh 0."""
    M = world.ring.shape[1]
    ahead = np.zeros(M, dtype=np.int64)
    ahead[: len(process.ahead)] = process.ahead[:M]
    newest = seen.newest[np.arange(len(interest)), interest][:, None]
    distance = (np.arange(M) - newest - 1) % world.size[interest][:, None]
    films = world.ring[interest]
    nearness = np.where(newest >= 0, ahead[distance], 1)
    return world.weight[films] * nearness * ~np.take_along_axis(seen.films, films, axis=1)


def stray_weights(world: SampleWorld, seen: Seen) -> Int64Array:
    """Weights [U, N + 1] of all films for a draw that follows no interest."""
    return world.weight * ~seen.films


def film_catalogue(process: SampleProcess, world: SampleWorld) -> pl.DataFrame:
    """item_id, title, genre (both interests' names) and release_year of items 0..N-1."""
    titles, years = film_titles(process.num_items, np.random.default_rng([process.seed, 2]))
    belongs = [np.flatnonzero(world.place[film] >= 0) for film in range(process.num_items)]
    return pl.DataFrame(
        {
            "item_id": [str(1000 + film) for film in range(process.num_items)],
            "title": titles,
            "genre": [" ".join(GENRES[z % len(GENRES)] for z in interests) for interests in belongs],
            "release_year": years,
        }
    )


def _draw_films(
    process: SampleProcess, world: SampleWorld, rng: np.random.Generator, interest: Int64Array, seen: Seen
) -> Int64Array:
    weights = interest_weights(process, world, interest, seen)
    strays = (_whole(rng, np.full(len(interest), 100)) < process.stray) | (weights.sum(axis=1) == 0)
    weights[strays] = 1
    film = world.ring[interest, _pick(rng, weights)]
    film[strays] = _pick(rng, stray_weights(world, Seen(seen.films[strays], seen.newest[strays])))
    return film


def _draw_lengths(process: SampleProcess, rng: np.random.Generator) -> Int64Array:
    """Lengths with a tail: at least `shortest`, `mean_length` on average (before the cut at `longest`)."""
    spread = 2 * (process.mean_length - process.shortest) + 1
    below = _whole(rng, np.full(process.num_users, spread))
    stretch = _whole(rng, np.full(process.num_users, 4)) == 0
    lengths = process.shortest + np.where(stretch, below * 2, below * 2 // 3)
    return np.minimum(lengths, min(process.longest, process.num_items - 1))


def _pick(rng: np.random.Generator, weights: Int64Array) -> Int64Array:
    """One column per row of `weights` [U, C] (whole numbers, so that rounding never decides), drawn by them."""
    cumulative = weights.cumsum(axis=1)
    draw = _whole(rng, cumulative[:, -1])
    return (cumulative <= draw[:, None]).sum(axis=1)


def _whole(rng: np.random.Generator, below: Int64Array) -> Int64Array:
    return (rng.random(len(below)) * below).astype(np.int64)


def _shuffled(rng: np.random.Generator, number: int) -> Int64Array:
    return _shuffle(rng, np.arange(number))


def _shuffle(rng: np.random.Generator, values: Int64Array) -> Int64Array:
    return values[np.argsort(rng.random(len(values)), kind="stable")]
