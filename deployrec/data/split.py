"""Leave-one-out: a user's last item tests, the one before it validates, the rest trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployrec.data.dataset import Dataset, Int64Array

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

    def history(self, row: int) -> Int64Array:
        """Item rows of view row `row`, oldest first: a read-only view."""
        return self.dataset.events[self.starts[row] : self.stops[row]]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """The three views of one data set; the histories of `validation` are those of `train`, of `test` one longer."""

    train: SplitView
    validation: SplitView
    test: SplitView


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
