"""JSON lines into a store: exactly once, however the reader ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.bundle import Bundle
from deployrec.consumers import consume
from deployrec.consumers.lines import MOST_LINE, lines
from deployrec.errors import DataError
from deployrec.runtime import Recommender


@pytest.fixture
def recommender(twin_bundle: Callable[..., Bundle]) -> Recommender:
    return Recommender.load(twin_bundle().path)


def piped(
    content: bytes, source: str | None = None, most: int = 256
) -> list[list[tuple[bytes, str | None, int | None]]]:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        return [list(map(tuple, batch.messages)) for batch in lines(reading, source, most)]  # type: ignore[arg-type]
    finally:
        os.close(reading)


def test_lines_have_their_numbers_where_the_input_has_a_name() -> None:
    content = b"one\n\ntwo\r\nthree"
    assert piped(content, most=2) == [[(b"one", None, None), (b"two\r", None, None)], [(b"three", None, None)]]
    assert [place for batch in piped(content, "log") for _, _, place in batch] == [0, 2, 3]
    assert piped(b"") == []


def test_a_line_does_not_wait_for_the_next() -> None:
    reading, writing = os.pipe()
    batches = lines(reading)
    os.write(writing, b"one\ntw")
    assert [message.value for message in next(batches).messages] == [b"one"]
    os.write(writing, b"o\n")
    assert [message.value for message in next(batches).messages] == [b"two"]
    os.close(writing)
    os.close(reading)


def test_an_endless_line_is_refused() -> None:
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(DataError, match="bytes"):
        list(lines(zeros.fileno()))
    assert MOST_LINE < 2**24


def batches_of(*values: object, source: str | None = "log", told: list[str] | None = None) -> object:
    from deployrec.consumers.consume import Batch, Message

    for number, value in enumerate(values):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        message = Message(content, source, number if source else None)
        yield Batch([message], lambda: None if told is None else told.append("done"))


EVENT = {"user": "u", "item": "i1"}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"user":"u","item":NaN}',
        b"[]",
        {},
        {"user": "u"},
        {**EVENT, "more": 1},
        {**EVENT, "user": ""},
        {**EVENT, "time": "x"},
        {**EVENT, "source": "s"},
        {**EVENT, "sequence": 2**63},
    ],
    ids=range(13),
)
def test_a_bad_message_stops_or_is_counted(recommender: Recommender, bad: object) -> None:
    told: list[str] = []
    with pytest.raises(DataError, match="message 1 of log: "):
        consume(recommender, batches_of(EVENT, bad, EVENT, told=told))  # type: ignore[arg-type]
    assert told == ["done"]
    counts = consume(recommender, batches_of(EVENT, bad, EVENT), on_bad="skip")  # type: ignore[arg-type]
    assert (counts.applied, counts.duplicate, counts.bad) == (1, 1, 1)


def test_an_event_may_bring_its_own_place(recommender: Recommender) -> None:
    own = {**EVENT, "sequence": 7, "source": "mine"}
    counts = consume(recommender, batches_of(own, own, {**EVENT, "item": "none"}))  # type: ignore[arg-type]
    assert (counts.applied, counts.duplicate, counts.unknown) == (1, 1, 1)
    record = recommender.user("u")
    assert record is not None
    assert record.sequences == {"mine": 7}


@pytest.mark.slow
def test_killed_and_started_again_nothing_is_lost_or_read_twice(
    twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle, store, log = twin_bundle(), f"lmdb:{tmp_path / 'users'}", tmp_path / "log.jsonl"
    events = [{"user": f"u{n % 40}", "item": f"i{n * 7 % 30 + 1}"} for n in range(30_000)]
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    command = [sys.executable, "-m", "deployrec", "consume", str(bundle.path), "--store", store, "--source", "log"]
    for seconds in (1.5, 2.0, 2.5):
        with log.open("rb") as content:
            process = subprocess.Popen(command, stdin=content, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    with log.open("rb") as content:
        done = subprocess.run(command, stdin=content, capture_output=True, text=True, check=True)
    assert "events applied" in done.stdout
    with Recommender.load(bundle.path, store=store) as recommender:
        for user in range(40):
            own = [event["item"] for event in events if event["user"] == f"u{user}"]
            assert recommender.store.history([f"u{user}"]) == [own]
