"""What trains and what tests: each user's last items held out, or all that happened after one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployrec.data.dataset import Dataset, Int64Array
from deployrec.errors import ConfigError

SHORTEST_EVALUATED = 3


@dataclass(frozen=True, eq=False)
class SplitView:
    """Some users' histories up to a point in time, as ranges of `dataset.events`; nothing is copied.

    users      int64 [V], user numbers
    starts     int64 [V], and
    stops      int64 [V]: row v's history is dataset.events[starts[v]:stops[v]]
    targets    int64 [V], the item row that follows the history; None in the training view, whose histories hold
               their own targets
    """

    dataset: Dataset
    users: Int64Array
    starts: Int64Array
    stops: Int64Array
    targets: Int64Array | None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_events(self) -> int:
        """Events in all histories together."""
        return int((self.stops - self.starts).sum())

    def places(self) -> Int64Array:
        """Where in `dataset.events` the events of all histories lie, int64 [num_events], history after history."""
        lengths = self.stops - self.starts
        first = np.cumsum(lengths) - lengths
        return np.repeat(self.starts - first, lengths) + np.arange(self.num_events)

    def asked(self) -> NDArray[np.float32]:
        """Seconds from each history's last event to its target, and the target's day since 1970, float32 [V, 2]: what a
        server knows when it is asked."""
        return self.dataset.asked()[self.stops]

    def history(self, row: int) -> Int64Array:
        """Item rows of view row `row`, oldest first: a read-only view."""
        return self.dataset.events[self.starts[row] : self.stops[row]]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """The three views of one data set; the histories of `validation` are those of `train`, of `test` one longer.

    Before a moment, `test` has the users who had an event by then and have one after it, the first one as the target.
    """

    train: SplitView
    validation: SplitView
    test: SplitView


def split(dataset: Dataset, holdout: float = 0.0) -> LeaveOneOut:
    """How a run divides its data: by `leave_one_out`, or `before` the moment that holds out a share of all events."""
    return before(dataset, moment_of(dataset, holdout)) if holdout else leave_one_out(dataset)


def moment_of(dataset: Dataset, holdout: float) -> int:
    """The time from which on the newest `holdout` (0 to 1) of all events happened, in the log's own unit.

    Raises ConfigError for a log without times or whose times span nothing.
    """
    times = np.sort(dataset.clock())
    moment = int(times[min(len(times) - 1, int(len(times) * (1 - holdout)))])
    if moment == times[0]:
        raise ConfigError(
            f"expected events before a moment that holds out {holdout:g} of {dataset.name}; got none; lower holdout"
        )
    return moment


def before(dataset: Dataset, moment: int) -> LeaveOneOut:
    """Train on what happened before `moment`; a user's last event before it validates if there are three."""
    starts, ends, users = dataset.offsets[:-1], dataset.offsets[1:], np.arange(dataset.num_users)
    earlier = np.concatenate(([0], np.cumsum(dataset.clock() < moment)))
    stops = starts + earlier[ends] - earlier[starts]
    evaluated, later = stops - starts >= SHORTEST_EVALUATED, (stops > starts) & (stops < ends)

    def held_out(chosen: np.ndarray, stops: Int64Array) -> SplitView:
        return SplitView(dataset, users[chosen], starts[chosen], stops[chosen], dataset.events[stops[chosen]])

    train = SplitView(dataset, users, starts, np.where(evaluated, stops - 1, stops), None)
    return LeaveOneOut(train=train, validation=held_out(evaluated, stops - 1), test=held_out(later, stops))


def leave_one_out(dataset: Dataset) -> LeaveOneOut:
    """Split `dataset`. A user of fewer than three events trains with all of them and is not evaluated."""
    starts, ends = dataset.offsets[:-1], dataset.offsets[1:]
    users = np.arange(dataset.num_users)
    evaluated = ends - starts >= SHORTEST_EVALUATED

    def held_out(back: int) -> SplitView:
        stops = ends[evaluated] - back
        return SplitView(dataset, users[evaluated], starts[evaluated], stops, dataset.events[stops])

    train = SplitView(dataset, users, starts, np.where(evaluated, ends - 2, ends), None)
    return LeaveOneOut(train=train, validation=held_out(2), test=held_out(1))
