"""LMDB: users' records in a folder of this machine."""

from deployrec.runtime.stores.lmdb.database import database, load

__all__ = ["database", "load"]
