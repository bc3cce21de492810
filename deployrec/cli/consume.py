"""`deployrec consume`: events of a pipe or a Kafka topic into a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import doing, leaving, say
from deployrec.errors import ConfigError


def consume(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    store: Annotated[str, typer.Option(help="Where users are kept: lmdb:PATH or redis://HOST.")],
    source: Annotated[
        str | None,
        typer.Option(help="Name of this input: a line's number is then its sequence, and it may be read again."),
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(help="Brokers of a Kafka cluster, HOST:PORT,...; default: stdin.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Topic to read.")] = None,
    group: Annotated[str, typer.Option(help="Consumer group.")] = "deployrec",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of librdkafka as name=value; repeat.")
    ] = None,
    to_end: Annotated[bool, typer.Option("--to-end", help="End where the topic does.")] = False,
    batch: Annotated[int, typer.Option(help="Most events written at once.")] = 256,
    on_bad: Annotated[str, typer.Option(help="stop or skip: what to do at a message that is no event.")] = "stop",
    backend: Annotated[str, typer.Option(help="Which backend runs the graphs.")] = "onnxruntime",
) -> None:
    """Read events into a store, each exactly once: JSON objects with user, item and, where known, event_id and time.

    Killed at any moment, start it again: an offset that a user's record has read is a duplicate.

    examples:

      deployrec consume bundles/glintru --store lmdb:users --source day-1 < day-1.jsonl

      deployrec consume bundles/glintru --store redis://localhost --kafka localhost:9092 --topic clicks
    """
    if (kafka is None) != (topic is None):
        raise ConfigError("expected --kafka and --topic together; got one of them; give both, or none for stdin")
    if not 1 <= batch <= 100_000:
        raise ConfigError(f"expected --batch from 1 to 100,000; got {batch}; give such a number")
    if store.partition(":")[0] == "memory":
        raise ConfigError(f"expected a store that outlives the process; got '{store}'; take lmdb:PATH or redis://HOST")
    settings = dict(text.partition("=")[::2] for text in set_ or [])
    from deployrec.consumers import consume as run
    from deployrec.consumers.lines import lines
    from deployrec.runtime import Recommender

    with Recommender.load(bundle, backend, store=store) as recommender:
        if kafka is None or topic is None:
            batches = lines(sys.stdin.fileno(), source, batch)
        else:
            from deployrec.consumers.kafka import topic as messages

            batches = messages(kafka, topic, group, settings, batch, to_end)
        left = leaving("all batches that were read whole are in the store; start it again")
        with doing("reading events") as progress, left:
            counts = run(recommender, batches, on_bad, progress)
    say(str(counts))
