"""What a protocol asks after training ended at a moment: which events are to be predicted, and from where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deployrec.data import Dataset, SplitView
from deployrec.data.split import moment_of
from deployrec.errors import ConfigError, RunError
from deployrec.time_units import DAY, PER_SECOND, days_of

PROTOCOLS = ("leave-one-out", "successive", "holdout")


@dataclass(frozen=True, eq=False)
class Targets:
    """Events after `moment` to be predicted, users in order and each one's oldest first.

    view     row r asks for view.targets[r], its history being what is known when it is asked
    question int64 [R], which of the distinct histories row r has; ascending
    elapsed  float32 [R, 2], seconds from the end of row r's history to when it is asked, and that day since 1970
    ages     float64 [R], days from the moment to the target
    moment   when training ended, in the log's unit: nothing from it on was trained on
    newcomers
             events after the moment that nobody can be asked for: they are the first of their user
    """

    view: SplitView
    question: np.ndarray
    elapsed: np.ndarray
    ages: np.ndarray
    moment: int
    newcomers: int

    def questions(self) -> SplitView:
        """The distinct histories [Q]; the targets are the first that each is asked for."""
        first = np.flatnonzero(np.diff(self.question, prepend=-1))
        view = self.view
        assert view.targets is not None
        return replace(
            view,
            users=view.users[first],
            starts=view.starts[first],
            stops=view.stops[first],
            targets=view.targets[first],
        )


def targets_of(dataset: Dataset, protocol: str, holdout: float) -> Targets:
    """What protocol "successive" or "holdout" asks of a model whose training held out a share of all events.

    successive  every event after the moment, from all that its user did before (arXiv 2507.16289): the state moves on
    holdout     the items of every event after the moment, each once, from what its user had done by the moment, with
                which the eSASRec benchmark (RecSys 2025) asks one list of each user

    Raises ConfigError for a log without times, RunError where nothing is left to ask.
    """
    moment, offsets = moment_of(dataset, holdout), dataset.offsets
    times = dataset.clock()
    user = np.repeat(np.arange(dataset.num_users), np.diff(offsets))
    later = np.flatnonzero(times >= moment)
    starts = offsets[user[later]]
    seen = np.concatenate(([0], np.cumsum(times < moment)))
    stops = later if protocol == "successive" else starts + seen[offsets[user[later] + 1]] - seen[starts]
    asked = stops > starts
    if protocol == "holdout":
        pair = user[later] * (dataset.num_items + 1) + dataset.events[later]
        once = np.zeros(len(later), bool)
        once[np.unique(pair, return_index=True)[1]] = True
        asked &= once
    if not asked.any():
        raise RunError(
            f"expected users of {dataset.name} with events before and after the end of training; got none; "
            "evaluate on a longer log"
        )
    rows, starts, stops = later[asked], starts[asked], stops[asked]
    view = SplitView(dataset, user[rows], starts, stops, dataset.events[rows])
    question = np.cumsum(np.diff(stops, prepend=-1) != 0) - 1
    asked_at = times[rows] if protocol == "successive" else np.full(len(rows), moment)
    seconds = (asked_at - times[stops - 1]) / PER_SECOND[dataset.time_unit]
    elapsed = np.stack([seconds.astype(np.float32), days_of(asked_at, dataset.time_unit)], axis=1)
    days = (times[rows] - moment) / (PER_SECOND[dataset.time_unit] * DAY)
    return Targets(view, question, elapsed, days, moment, int((later == offsets[user[later]]).sum()))


def check_protocol(protocol: str) -> None:
    """ConfigError for a protocol that is none."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"expected a protocol out of {', '.join(PROTOCOLS)}; got '{protocol}'; choose one of them")


def check_honest(protocol: str, holdout: float, trained: object) -> None:
    """ConfigError where `trained` has learnt from events that the protocol would ask for."""
    if protocol == "leave-one-out" and holdout:
        raise ConfigError(
            f"expected a run trained on leave-one-out; got {trained}, which never saw the newest {holdout:g} of the "
            "events; evaluate it with --protocol successive or holdout"
        )
    if protocol != "leave-one-out" and not holdout:
        raise ConfigError(
            f"expected a run trained before a moment for the protocol {protocol}; got {trained}, trained on "
            "leave-one-out, which has seen the events it would be asked for; train one with --set holdout=0.1"
        )
