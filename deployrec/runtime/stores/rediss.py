"""Redis over TLS, so that "rediss://..." names a store like "redis://..."."""

from __future__ import annotations

from deployrec.runtime.durable import DurableStore
from deployrec.runtime.stores import redis
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.redis.database import RedisDatabase


def load(layout: Layout, address: str) -> DurableStore:
    """Opens "rediss://HOST"; see `deployrec.runtime.stores.redis`."""
    return redis.load(layout, f"rediss:{address}")


def database(address: str, create: bool = True) -> RedisDatabase:
    """All that lies there."""
    return redis.database(f"rediss:{address}", create)
