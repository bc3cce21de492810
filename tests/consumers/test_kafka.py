"""A Kafka topic into a store, through librdkafka's own mock cluster, which speaks the real protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployrec.bundle import Bundle
from deployrec.cli.main import run
from deployrec.runtime import Recommender

pytestmark = pytest.mark.slow
kafka = pytest.importorskip("confluent_kafka", reason="needs confluent_kafka")


@pytest.fixture
def producer() -> Iterator[Any]:
    """Its cluster ends with it."""
    producer = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    yield producer
    producer.flush(10)


def address(producer: Any) -> str:
    """Where other clients reach the mock cluster."""
    brokers = producer.list_topics(timeout=20).brokers.values()
    return ",".join(f"{broker.host}:{broker.port}" for broker in brokers)


def sent(producer: Any, topic: str, start: int, end: int) -> None:
    for number in range(start, end):
        event = {"user": f"u{number % 30}", "item": f"i{number * 7 % 30 + 1}"}
        producer.produce(topic, json.dumps(event), key=event["user"])
    producer.flush(30)


def histories(number: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for n in range(number):
        found.setdefault(f"u{n % 30}", []).append(f"i{n * 7 % 30 + 1}")
    return found


def test_a_topic_is_read_once_whatever_the_group_forgets(
    producer: Any, twin_bundle: Callable[..., Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, bundle = f"lmdb:{tmp_path / 'users'}", twin_bundle().path
    sent(producer, "clicks", 0, 500)
    common = ["consume", str(bundle), "--store", store, "--kafka", address(producer), "--topic", "clicks", "--to-end"]
    assert run(common) == 0
    assert "500 events applied, 0 duplicates" in capsys.readouterr().out
    sent(producer, "clicks", 500, 700)
    assert run(common) == 0  # goes on where the group stands
    assert "200 events applied, 0 duplicates" in capsys.readouterr().out
    assert run([*common, "--group", "another"]) == 0  # knows nothing, and reads all again
    assert "0 events applied, 700 duplicates" in capsys.readouterr().out
    with Recommender.load(bundle, store=store) as recommender:
        for user, items in histories(700).items():
            assert recommender.store.history([user]) == [items]


def test_killed_amid_reading_nothing_is_lost_or_read_twice(
    producer: Any, twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    store, bundle = f"lmdb:{tmp_path / 'users'}", twin_bundle().path
    sent(producer, "clicks", 0, 20_000)
    command = [sys.executable, "-m", "deployrec", "consume", str(bundle), "--store", store, "--batch", "50"]
    command += ["--kafka", address(producer), "--topic", "clicks", "--to-end", "--set", "session.timeout.ms=6000"]
    for seconds in (2.5, 3.0):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    with Recommender.load(bundle, store=store) as recommender:
        for user, items in histories(20_000).items():
            assert recommender.store.history([user]) == [items]


def test_settings_of_librdkafka_are_checked(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["consume", str(twin_bundle().path), "--store", f"lmdb:{tmp_path / 'users'}"]
    assert run([*common, "--kafka", "localhost:1", "--topic", "t", "--set", "no.such=1"]) == 2
    assert "no.such" in capsys.readouterr().err
    assert run([*common, "--kafka", "localhost:1"]) == 2
    assert "--topic" in capsys.readouterr().err
