"""What runs a bundle's graphs: one module a backend, found here or through the entry points `deployrec.backends`."""

from deployrec.runtime.backends.base import Backend, Moved, State, TopK, backends, load_backend

__all__ = ["Backend", "Moved", "State", "TopK", "backends", "load_backend"]
