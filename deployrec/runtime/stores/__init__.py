"""Where users' records live: one module a store, found here or through the entry points `deployrec.stores`."""

from deployrec.runtime.stores.base import ConflictError, Layout, Rows, Store, load_store, stores

__all__ = ["ConflictError", "Layout", "Rows", "Store", "load_store", "stores"]
