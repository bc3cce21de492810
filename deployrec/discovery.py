"""Parts found by name: the modules of our own folder, and what other packages offer through entry points."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployrec.errors import ConfigError

FOLDERS = {
    "models": "deployrec.models",
    "backends": "deployrec.runtime.backends",
    "stores": "deployrec.runtime.stores",
}
"""Kinds of parts and where ours lie; another package offers one as an entry point of the group `deployrec.KIND`."""
NO_PARTS = {"base", "layers", "registry"}
"""Modules of these folders that are none."""


def names(kind: str) -> list[str]:
    """Names of all parts of a kind ("backends"), sorted."""
    return sorted(_own(kind) | {point.name for point in entry_points(group=f"deployrec.{kind}")})


def check(kind: str, name: str) -> None:
    """Raises ConfigError for an unknown name; imports nothing, so that a slip is answered at once."""
    if name not in names(kind) and ":" not in name:
        raise ConfigError(f"expected one of the {kind} {', '.join(names(kind))}; got '{name}'; name one of them")


def find(kind: str, name: str) -> Any:
    """The module (or object) behind a name, ours where both have it; raises ConfigError for an unknown name."""
    if name in _own(kind):
        return import_module(f"{FOLDERS[kind]}.{name}")
    for point in entry_points(group=f"deployrec.{kind}", name=name):
        return point.load()
    raise ConfigError(f"expected one of the {kind} {', '.join(names(kind))}; got '{name}'; name one of them")


def _own(kind: str) -> set[str]:
    """Names of our own modules, found without importing their folder."""
    package, _, folder = FOLDERS[kind].rpartition(".")
    spec = find_spec(package)
    places = [str(Path(place) / folder) for place in (spec and spec.submodule_search_locations) or ()]
    return {module.name for module in pkgutil.iter_modules(places)} - NO_PARTS
