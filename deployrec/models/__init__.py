"""Sequential recommenders: one file each, built by key."""

from deployrec.models.base import SequentialRecommender, State
from deployrec.models.registry import available_models, build_model, model_class

__all__ = ["SequentialRecommender", "State", "available_models", "build_model", "model_class"]
