"""From messages to users' records: parse, apply in batches, then tell the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from deployrec.errors import ConfigError, DataError, UnknownItemError
from deployrec.progress import Progress, silent
from deployrec.runtime import Event, Outcome, Recommender
from deployrec.runtime.events import shown


class Message(NamedTuple):
    """A message and its place: `source` names the log, `sequence` its offset there; None where it has none."""

    value: bytes
    source: str | None = None
    sequence: int | None = None


class Batch(NamedTuple):
    """Messages in their order; `done` is called once all that they say is in the store."""

    messages: list[Message]
    done: Callable[[], None]


@dataclass
class Counts:
    """What became of the messages; `bad` ones hold no event."""

    applied: int = 0
    duplicate: int = 0
    unknown: int = 0
    bad: int = 0

    def __str__(self) -> str:
        return (
            f"{self.applied:,} events applied, {self.duplicate:,} duplicates, {self.unknown:,} of unknown items, "
            f"{self.bad:,} bad messages"
        )


def consume(
    recommender: Recommender, batches: Iterable[Batch], on_bad: str = "stop", progress: Progress = silent
) -> Counts:
    """Applies all messages, each a JSON object with the fields of `Event`; returns when the batches end.

    A message's place is its event's sequence and source, unless it brings its own: killed at any moment and started
    again, nothing is lost and nothing applied twice. on_bad: "stop" raises DataError at a message that is no event,
    once all before it are applied; "skip" counts it.
    """
    if on_bad not in ("stop", "skip"):
        raise ConfigError(f"expected on_bad 'stop' or 'skip'; got '{on_bad}'; name one of them")
    counts = Counts()
    for batch in batches:
        events: list[Event] = []
        for message in batch.messages:
            try:
                event = parse(message)
                recommender.check([event])
            except (DataError, UnknownItemError) as error:
                if on_bad == "stop":
                    _apply(recommender, events, counts)
                    raise type(error)(f"{_place(message)}: {error}") from None
                counts.bad += 1
            else:
                events.append(event)
        _apply(recommender, events, counts)
        batch.done()
        progress(counts.applied, 0, str(counts))
    return counts


def parse(message: Message) -> Event:
    """The event of a message; raises DataError for anything but an object with its fields."""
    try:
        found: Any = json.loads(message.value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected an event as a JSON object; got {shown(message.value)} ({error}); mend it") from None
    if not isinstance(found, dict) or not {"user", "item"} <= found.keys() <= set(Event._fields):
        raise DataError(
            f"expected a JSON object with user, item and, where known, event_id, time, sequence and source; got "
            f"{shown(found)}; name exactly these"
        )
    if found.get("sequence") is None and found.get("source") is None:
        found |= {"sequence": message.sequence, "source": message.source}
    return Event(**found)


def _apply(recommender: Recommender, events: list[Event], counts: Counts) -> None:
    outcomes = recommender.observe_many(events)
    counts.applied += outcomes.count(Outcome.APPLIED)
    counts.duplicate += outcomes.count(Outcome.DUPLICATE)
    counts.unknown += outcomes.count(Outcome.UNKNOWN_ITEM)


def _place(message: Message) -> str:
    return f"message {message.sequence} of {message.source or 'the input'}"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
