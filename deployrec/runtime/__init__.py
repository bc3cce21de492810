"""Serves a bundle without torch: numpy and onnxruntime only."""

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.events import Event, Outcome
from deployrec.runtime.recommender import Recommendation, Recommender, UserRecord

__all__ = ["Bundle", "Event", "Outcome", "Recommendation", "Recommender", "UserRecord"]
