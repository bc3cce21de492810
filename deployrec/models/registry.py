"""Models by name: a file in this folder, an entry point of another package, or "package.module:Class"."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from deployrec import discovery
from deployrec.errors import ConfigError
from deployrec.files import first_line
from deployrec.models.base import SequentialRecommender
from deployrec.options import make_config

ModelClass = type[SequentialRecommender]
OWN = discovery.FOLDERS["models"]


def available_models() -> list[str]:
    """The names of our own models and of those that installed packages offer (group `deployrec.models`), sorted."""
    return discovery.names("models")


def model_class(model: str | ModelClass) -> ModelClass:
    """The class that `model` names: a name out of `available_models`, or "package.module:Class"; or is.

    The current folder is searched last for the module. Raises ConfigError for a name, a module or a class that is not
    there, and for a class that does not fulfil the contract.
    """
    if not isinstance(model, str):
        found: Any = model
    elif ":" in model:
        found = _from_module(model)
    else:
        found = discovery.find("models", model)
        found = _only_model(found, model) if isinstance(found, ModuleType) else found
    check_contract(found, model if isinstance(model, str) else getattr(model, "__qualname__", str(model)))
    checked: ModelClass = found
    return checked


def build_model(
    model: str | ModelClass, num_items: int, config: Mapping[str, Any] | None = None
) -> SequentialRecommender:
    """A freshly initialised model for items 1..num_items; `config` overrides the defaults of its config class.

    Raises ConfigError for what `model_class` refuses, an unknown option, and a value of another type or out of range.
    """
    cls: Any = model_class(model)
    built: SequentialRecommender = cls(num_items, make_config(cls.config_class, config or {}, cls.key))
    if built.state_spec.tensors and cls.step is SequentialRecommender.step:
        raise ConfigError(f"expected {class_spec(cls)} to define step, having a state; got none; add it")
    for tensor in built.state_spec.tensors:
        if tensor.dtype != "float32":
            raise ConfigError(
                f"expected the state of {class_spec(cls)} in float32; got {tensor.dtype} for {tensor.name}; "
                "change its spec"
            )
    return built


def identity(model: SequentialRecommender) -> dict[str, Any]:
    """What a run or a bundle records of a model: key and config and, for one from outside, where its class is."""
    spec = class_spec(type(model))
    outside = {} if spec == model.key else {"class": spec}
    return {"key": model.key, "config": model.config_dict(), **outside}


def spec_of(recorded: Mapping[str, Any]) -> str:
    """What `model_class` finds the class of an `identity` by."""
    return str(recorded.get("class", recorded["key"]))


def class_spec(cls: ModelClass) -> str:
    """What `model_class` finds the class by: the name of one of ours, "module:Class" for others."""
    return cls.key if cls.__module__ == f"{OWN}.{cls.key}" else f"{cls.__module__}:{cls.__qualname__}"


def check_contract(cls: Any, name: str) -> None:
    """Raises ConfigError, naming what is missing, unless `cls` is a recommender as `SequentialRecommender` asks."""

    def refuse(expected: str, got: str) -> ConfigError:
        return ConfigError(f"expected {name} {expected}; got {got}; see `deployrec.models.SequentialRecommender`")

    if not (isinstance(cls, type) and issubclass(cls, SequentialRecommender)):
        raise refuse("to be a subclass of SequentialRecommender", f"a {type(cls).__name__}")
    if cls.step is SequentialRecommender.step and cls.encode is SequentialRecommender.encode:
        raise refuse("to define step, or encode where it has no state", "neither")
    config = getattr(cls, "config_class", None)
    if not (isinstance(config, type) and is_dataclass(config)):
        raise refuse("to have a dataclass as config_class", "none" if config is None else repr(config))
    if "dim" not in {field.name for field in fields(config)}:
        raise refuse("to have a field dim in its config_class, the width of items and users", "none")
    for field in fields(config):
        if field.default is MISSING and field.default_factory is MISSING:
            raise refuse("to have a default for every field of its config_class", f"none for {field.name}")


def _from_module(spec: str) -> Any:
    name, _, path = spec.partition(":")
    if not name or not path:
        raise ConfigError(f"expected a model as package.module:Class; got '{spec}'; write both sides of the colon")
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())  # what `python -m deployrec` has, and the console script has not
    try:
        found: Any = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _broken(name, error) from error
        raise ConfigError(
            f"expected a module {name} to import; got none of that name; install its package or run where it lies"
        ) from None
    except Exception as error:
        raise _broken(name, error) from error
    for part in path.split("."):
        if not hasattr(found, part):
            models = ", ".join(_models_in(import_module(name))) or "no model"
            raise ConfigError(f"expected a class {path} in {name}; got a module with {models}; name one that is there")
        found = getattr(found, part)
    return found


def _broken(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"expected a module {name} to import; got {type(error).__name__}: {first_line(error)}; mend it and try again"
    )


def _only_model(module: ModuleType, name: str) -> Any:
    models = _models_in(module)
    if len(models) != 1:
        got = ", ".join(models) or "none"
        raise ConfigError(
            f"expected one model in {module.__name__} for {name}; got {got}; name it as {module.__name__}:CLASS"
        )
    return getattr(module, models[0])


def _models_in(module: ModuleType) -> list[str]:
    """Names of the recommenders that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, SequentialRecommender)
        and value is not SequentialRecommender
        and value.__module__ == module.__name__
    ]
