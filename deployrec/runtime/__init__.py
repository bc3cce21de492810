"""Serves a bundle without torch: numpy and onnxruntime only."""

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.recommender import Event, Recommendation, Recommender, UserRecord

__all__ = ["Bundle", "Event", "Recommendation", "Recommender", "UserRecord"]
