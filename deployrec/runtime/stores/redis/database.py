"""Users' records in a Redis or Valkey server, shared by many machines: one atomic script call a batch."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from deployrec.errors import ConfigError, StoreError
from deployrec.files import first_line
from deployrec.options import option
from deployrec.runtime.durable import NO_HISTORY, DurableStore, History, Keeping, dropped, parse_address
from deployrec.runtime.records import positions, previous_version
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.redis.scripts import DROP, EXPIRE, FORGET, PAGE, PUT_HISTORIES, SWAP

PIECE = 1000
"""Users of one step of a walk."""
PAUSES = 0.01, 0.25
"""Seconds between the first and between later attempts to reach the server again."""

HEAD = b"head"
LENGTH = struct.Struct("<I")

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RedisKeeping(Keeping):
    """Options of "redis://HOST:PORT/DB?..."."""

    prefix: str = option("deployrec", "in front of every key")
    timeout: float = option(10.0, "seconds in which the server must answer, a restart of it included", above=0)
    db: int | None = option(None, "number of the database, where the address has no /DB", at_least=0)
    ssl_ca_certs: str | None = option(None, "file of the authorities that a rediss:// server's certificate is from")
    ssl_certfile: str | None = option(None, "file of the client's certificate")
    ssl_keyfile: str | None = option(None, "file of its key")

    def connection(self) -> dict[str, Any]:
        """What the client is told of these."""
        given = {name: getattr(self, name) for name in ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
        return {name: value for name, value in given.items() if value is not None}


def load(layout: Layout, address: str) -> DurableStore:
    """Opens "redis://[USER:PASSWORD@]HOST[:PORT][/DB]", "rediss://..." (TLS) or "redis:unix:///PATH".

    Options come behind, as in "redis://localhost?history=1000&ttl_days=90". Raises ConfigError for a wrong address or
    option, StoreError where no server answers.
    """
    return DurableStore(database(address), layout)


def database(address: str, create: bool = True) -> RedisDatabase:
    """All that lies in the server's database under the prefix; an empty one needs no making."""
    place, keeping = parse_address("redis://HOST", address, RedisKeeping)
    url = f"redis:{place}" if place.startswith("//") else place if "://" in place else f"redis://{place}"
    return RedisDatabase(url, keeping)


class RedisDatabase:
    """See `Database`. A record is one key, a write one script call, which the server runs whole or not at all.

    How durable a write is when it returns is the server's to say: `appendonly yes` and `appendfsync always`.
    """

    def __init__(self, url: str, keeping: RedisKeeping) -> None:
        self.keeping: RedisKeeping = keeping
        try:
            self.address = _without_password(url)
            self._client: Any = Redis.from_url(
                url,
                socket_timeout=keeping.timeout,
                socket_connect_timeout=keeping.timeout,
                retry=Retry(NoBackoff(), 0),  # a script must be sent again by its own rules: see `_call`
                **keeping.connection(),
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"expected redis://HOST:PORT/DB, rediss://HOST or redis:unix:///PATH; got '{first_line(error)}'; "
                "mend the address"
            ) from None
        self._ttl = round(1000 * keeping.ttl) if keeping.ttl else 0
        self._kept = -1 if keeping.history is None else keeping.history
        scripts = (SWAP, PAGE, FORGET, DROP, EXPIRE, PUT_HISTORIES)
        self._swap, self._page, self._forget, self._drop, self._expire, self._put_histories = map(
            self._client.register_script, scripts
        )
        self._call(self._client.ping, patience=0)

    def layouts(self) -> list[Layout]:
        found: dict[bytes, bytes] = self._call(lambda: self._client.hgetall(self._key("layouts")))
        return [Layout.from_dict(json.loads(text)) for text in found.values()]

    def add(self, layout: Layout) -> None:
        text = json.dumps(layout.to_dict())
        self._call(lambda: self._client.hsetnx(self._key("layouts"), _short(layout.state_id), text))

    def get(self, state_id: str, users: Sequence[str]) -> list[bytes | None]:
        def read() -> list[bytes | None]:
            both = self._client.pipeline(transaction=False)
            both.hexists(self._key("layouts"), _short(state_id))
            both.mget([self._record(state_id, user) for user in users])
            there, values = both.execute()
            if not there:
                raise dropped(self.address, state_id)
            return list(values)

        return self._call(read) if users else []

    def read(self, state_id: str, users: Sequence[str]) -> tuple[list[bytes | None], list[int], list[int]]:
        if self.keeping.history == 0:
            values = self.get(state_id, users)
            return values, positions(values), [0] * len(users)

        def work() -> tuple[list[bytes | None], list[int], list[int]]:
            together = self._client.pipeline(transaction=False)
            together.hexists(self._key("layouts"), _short(state_id))
            together.mget([self._record(state_id, user) for user in users])
            for user in users:
                together.hget(self._history(user), HEAD)
            there, values, *heads = together.execute()
            if not there:
                raise dropped(self.address, state_id)
            return list(values), positions(values), [int(head.split()[0]) if head else 0 for head in heads]

        return self._call(work) if users else ([], [], [])

    def swap(
        self, state_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[bytes]]
    ) -> list[int]:
        keys = [self._key("layouts"), self._key("users", _short(state_id)), self._key("histories")]
        arguments: list[Any] = [_short(state_id), self._ttl, self._kept, repr(time.time())]
        for place, (user, value) in enumerate(zip(users, values, strict=True)):
            items = read[place] if read else ()
            keys += [self._record(state_id, user), self._history(user)]
            arguments += [user, previous_version(value), value, len(items), *items]
        lost: list[int] = self._call(lambda: self._swap(keys, arguments), state_id)
        return lost

    def put(self, state_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        def write() -> None:
            together = self._client.pipeline(transaction=True)
            for user, value in zip(users, values, strict=True):
                together.set(self._record(state_id, user), value, px=self._ttl or None)
            together.zadd(self._key("users", _short(state_id)), dict.fromkeys(users, 0))
            together.execute()

        if users:
            self._call(write)

    def scan(self, state_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        for users, _ in self._pages("users", f"record:{_short(state_id)}:", _short(state_id)):
            pairs = [(user, value) for user, value in zip(users, self.get(state_id, users), strict=True) if value]
            yield [user for user, _ in pairs], [value for _, value in pairs]

    def size(self, state_id: str) -> tuple[int, int]:
        pages = self._pages("users", f"record:{_short(state_id)}:", _short(state_id), size=True)
        sizes = [(len(users), size) for users, size in pages]
        return sum(users for users, _ in sizes), sum(size for _, size in sizes)

    def histories(self, users: Sequence[str], since: Sequence[int] | None = None) -> list[History]:
        def read() -> list[dict[bytes, bytes]]:
            together = self._client.pipeline(transaction=False)
            for user in users:
                together.hgetall(self._history(user))
            found: list[dict[bytes, bytes]] = together.execute()
            return found

        return [_parsed(fields, self.keeping.history) for fields in self._call(read)] if users else []

    def num_histories(self) -> int:
        return sum(map(len, self.users_with_histories()))

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        keys = [self._key("histories")]
        arguments: list[Any] = [self._ttl]
        for user, history in zip(users, histories, strict=True):
            if history.items:
                keys.append(self._history(user))
                before = history.total - len(history.items)
                arguments += [user, before, repr(history.written), len(history.items), *history.entries()]
        self._call(lambda: self._put_histories(keys, arguments))

    def users_with_histories(self) -> Iterator[list[str]]:
        for users, _ in self._pages("histories", "history:"):
            yield users

    def scan_histories(self) -> Iterator[tuple[list[str], list[History]]]:
        for users in self.users_with_histories():
            yield users, self.histories(users)

    def forget(self, users: Sequence[str]) -> list[bool]:
        keys = [self._key("layouts"), self._key("histories")]
        found = self._call(lambda: self._forget(keys, [self._key(""), *users]))
        return [bool(count) for count in found]

    def drop(self, state_id: str) -> int:
        short = _short(state_id)
        keys = [self._key("layouts"), self._key("metas"), self._key("users", short)]
        total, ended = 0, 0
        while not ended:
            gone, ended = self._call(lambda: self._drop(keys, [short, self._key("record", short, ""), PIECE]))
            total += gone
        return total

    def expire(self, before: float) -> tuple[int, int]:
        gone = [0, 0]
        for layout in self.layouts():
            short = _short(layout.state_id)
            for users, _ in self._pages("users", f"record:{short}:", short):
                arguments = ["records", self._key("record", short, ""), repr(before), *users]
                gone[0] += self._call(partial(self._expire, [self._key("users", short)], arguments))
        for users, _ in self._pages("histories", "history:"):
            arguments = ["histories", self._history(""), repr(before), *users]
            gone[1] += self._call(partial(self._expire, [self._key("histories")], arguments))
        return gone[0], gone[1]

    def meta(self, state_id: str) -> dict[str, Any]:
        found = self._call(lambda: self._client.hget(self._key("metas"), _short(state_id)))
        meta: dict[str, Any] = json.loads(found) if found else {}
        return meta

    def set_meta(self, state_id: str, meta: Mapping[str, Any]) -> None:
        text = json.dumps(dict(meta), allow_nan=False)
        self._call(lambda: self._client.hset(self._key("metas"), _short(state_id), text))

    def num_bytes(self) -> int:
        """Memory of the whole server."""
        return int(self._call(lambda: self._client.info("memory"))["used_memory"])

    def close(self) -> None:
        self._client.close()

    def _call(self, work: Callable[[], Answer], state_id: str = "", patience: float | None = None) -> Answer:
        """The answer of `work`, begun anew while the server is away, for `patience` seconds.

        What was sent may have been done before its answer was lost: every script gives the same answer twice.
        """
        pause, last = PAUSES
        until = time.monotonic() + (self.keeping.timeout if patience is None else patience)
        while True:
            try:
                return work()
            except (AuthenticationError, AuthorizationError) as error:
                raise self._failed(error, "give a user and a password that may read and write") from None
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() + pause > until:
                    raise self._failed(error, "start it, or name another address") from None
            except ResponseError as error:
                if str(error) == "DROPPED":
                    raise dropped(self.address, state_id) from None
                raise self._failed(error, "mend the server's configuration") from None
            except RedisError as error:
                raise self._failed(error, "see the server's log") from None
            time.sleep(pause)
            pause = min(2 * pause, last)

    def _failed(self, error: RedisError, do: str) -> StoreError:
        return StoreError(f"expected a Redis server at {self.address}; got '{first_line(error)}'; {do}")

    def _pages(
        self, index: str, keys: str, layout: str | None = None, size: bool = False
    ) -> Iterator[tuple[list[str], int]]:
        """Users of an index whose key is there, in pieces, and the bytes of their values if these are asked for."""
        start, place = b"-", self._key(index) if layout is None else self._key(index, layout)
        while True:
            arguments: list[Any] = [start, PIECE, self._key(keys), "size" if size else ""]
            last, total, users = self._call(partial(self._page, [place], arguments))
            if last is None:
                return
            yield [user.decode() for user in users], total
            start = b"(" + last

    def _key(self, *parts: str) -> str:
        return ":".join((self.keeping.prefix, *parts))

    def _record(self, state_id: str, user: str) -> str:
        return self._key("record", _short(state_id), user)

    def _history(self, user: str) -> str:
        return self._key("history", user)


def _short(state_id: str) -> str:
    """Enough of the id to tell layouts apart in every key."""
    return state_id[:16]


def _parsed(fields: dict[bytes, bytes], kept: int | None) -> History:
    """A history of the hash that `scripts.HISTORIES` describes, the newest `kept` events of it."""
    if not fields:
        return NO_HISTORY
    total, written = fields.pop(HEAD).split()
    items: list[bytes] = []
    for chunk in sorted(fields, key=int):
        body, at = fields[chunk], 0
        while at < len(body):
            end = at + LENGTH.size + LENGTH.unpack_from(body, at)[0]
            items.append(body[at + LENGTH.size : end])
            at = end
    newest = items if kept is None else items[len(items) - min(kept, len(items)) :]
    return History.of_entries(newest, int(total), float(written))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
