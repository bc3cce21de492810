"""Sequential recommenders: one file each, built by name; what a model in another package needs to be one."""

from deployrec.models.base import Preset, SequentialRecommender
from deployrec.models.registry import (
    ModelClass,
    available_models,
    build_model,
    class_spec,
    identity,
    model_class,
    spec_of,
)
from deployrec.models.unroll import State, unroll

__all__ = [
    "ModelClass",
    "Preset",
    "SequentialRecommender",
    "State",
    "available_models",
    "build_model",
    "class_spec",
    "identity",
    "model_class",
    "spec_of",
    "unroll",
]
