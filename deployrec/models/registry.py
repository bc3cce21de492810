"""Model keys. A new recommender is one file in this folder, named after its key, with `@register` on its class."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from typing import Any, TypeVar

from deployrec.errors import ConfigError
from deployrec.models.base import SequentialRecommender

Model = TypeVar("Model", bound=type[SequentialRecommender])
_REGISTRY: dict[str, type[SequentialRecommender]] = {}


def register(key: str, config_class: type) -> Callable[[Model], Model]:
    """Class decorator: makes the model available under `key`, configured by the dataclass `config_class`."""

    def wrap(cls: Model) -> Model:
        cls.key, cls.config_class = key, config_class
        _REGISTRY[key] = cls
        return cls

    return wrap


def available_models() -> list[str]:
    """All registered keys, sorted."""
    package = import_module("deployrec.models")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"deployrec.models.{module.name}")
    return sorted(_REGISTRY)


def model_class(key: str) -> type[SequentialRecommender]:
    """The class registered under `key`; ConfigError names the known keys otherwise."""
    if key not in available_models():
        raise ConfigError(f"expected a model out of {', '.join(available_models())}; got '{key}'; choose one of them")
    return _REGISTRY[key]


def build_model(key: str, num_items: int, config: dict[str, Any] | None = None) -> SequentialRecommender:
    """A freshly initialised model for items 1..num_items; `config` overrides the defaults of its config class.

    Raises ConfigError for an unknown key or option.
    """
    cls: Any = model_class(key)
    known = {field.name for field in fields(cls.config_class)}
    unknown = sorted(set(config or {}) - known)
    if unknown:
        raise ConfigError(
            f"expected options of {key} out of {', '.join(sorted(known))}; got '{unknown[0]}'; remove or rename it"
        )
    model: SequentialRecommender = cls(num_items, cls.config_class(**(config or {})))
    return model
