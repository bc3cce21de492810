"""Redis or Valkey: users' records in a server."""

from deployrec.runtime.stores.redis.database import database, load

__all__ = ["database", "load"]
