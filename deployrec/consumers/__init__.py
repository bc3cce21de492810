"""Reads events out of a queue into a store, each exactly once, however often the reader is killed."""

from deployrec.consumers.consume import Counts, consume

__all__ = ["Counts", "consume"]
