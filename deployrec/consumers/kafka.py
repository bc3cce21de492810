"""A Kafka topic as batches, through librdkafka."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from deployrec.consumers.consume import Batch, Message
from deployrec.errors import ConfigError, StoreError

log = logging.getLogger("deployrec.consumers")
SECONDS = 0.5
"""How long messages gather until there are `most` of them."""

LOST = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._STATE,
}
"""Codes of a reader whose partitions another one has taken."""


def topic(
    brokers: str,
    name: str,
    group: str,
    settings: Mapping[str, str] | None = None,
    most: int = 256,
    to_end: bool = False,
) -> Iterator[Batch]:
    """Batches of up to `most` messages; a message's source is TOPIC/PARTITION, its sequence the offset.

    The group's offsets are committed once a batch is in the store: they only save reading it again, for the store
    itself knows which offsets each user's record has read. settings: librdkafka's own, such as those of TLS and SASL.
    to_end: ends where the topic does; else goes on. Raises ConfigError for settings that librdkafka refuses, StoreError
    for a cluster that refuses to answer for good.
    """
    ours = {
        "bootstrap.servers": brokers,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": to_end,
    }
    try:
        consumer = Consumer({**(settings or {}), **ours}, logger=log)
        consumer.subscribe([name])
    except (KafkaException, ValueError, TypeError) as error:
        raise ConfigError(f"expected settings of librdkafka; got {_line(error)}; see its CONFIGURATION.md") from None
    ended: set[int] = set()
    try:
        while not (to_end and _all_ended(consumer, ended)):
            messages: list[Message] = []
            last: dict[int, Any] = {}
            for found in consumer.consume(most, SECONDS):
                failure, partition = found.error(), found.partition() or 0
                if failure is None:
                    messages.append(Message(found.value() or b"", f"{name}/{partition}", found.offset()))
                    last[partition] = found
                elif failure.code() == KafkaError._PARTITION_EOF:
                    ended.add(partition)
                elif failure.fatal() or not failure.retriable():
                    raise StoreError(
                        f"expected messages of {name} at {brokers}; got '{failure.str()}'; check the cluster"
                    )
            yield Batch(messages, partial(_commit, consumer, list(last.values())))
    finally:
        consumer.close()


def _commit(consumer: Consumer, last: list[Any]) -> None:
    for message in last:
        try:
            consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            # Its partition has gone to another reader of the group, which then finds these events in the store.
            if error.args[0].code() not in LOST:
                raise StoreError(f"expected offsets to be committed; got '{_line(error)}'; check the cluster") from None


def _all_ended(consumer: Consumer, ended: set[int]) -> bool:
    assigned = {partition.partition for partition in consumer.assignment()}
    return bool(assigned) and assigned <= ended


def _line(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return str(first.str() if hasattr(first, "str") else first)
