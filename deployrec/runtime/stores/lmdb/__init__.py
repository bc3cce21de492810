"""LMDB: users' records in a folder of this machine."""

from deployrec.runtime.stores.lmdb.database import database
from deployrec.runtime.stores.lmdb.store import load

__all__ = ["database", "load"]
