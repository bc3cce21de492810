"""Parts found by name: the modules of our own folder, and what other packages offer through entry points."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from deployrec.errors import ConfigError
from deployrec.files import first_line

FOLDERS = {
    "models": "deployrec.models",
    "backends": "deployrec.runtime.backends",
    "stores": "deployrec.runtime.stores",
}
"""Kinds of parts and where ours lie; another package offers one as an entry point of the group `deployrec.KIND`."""
SUPPORT = {
    "base",
    "blocks",
    "layers",
    "prefixes",
    "registry",
    "stack",
    "taste",
    "testing",
    "time",
    "transformer",
    "unroll",
}
"""Modules of those folders that are no parts."""


def names(kind: str) -> list[str]:
    """Names of all parts of a kind ("backends"), sorted."""
    return sorted(_own(kind) | {point.name for point in entry_points(group=f"deployrec.{kind}")})


def check(kind: str, name: str) -> None:
    """Raises ConfigError for an unknown name; imports nothing, so that a slip is answered at once.

    A model may be "package.module:Class" too, which only `deployrec.models.model_class` can look up.
    """
    if name not in names(kind) and not (kind == "models" and ":" in name):
        raise ConfigError(f"expected one of the {kind} {', '.join(names(kind))}; got '{name}'; name one of them")


def find(kind: str, name: str) -> Any:
    """The module (or object) behind a name, ours where both have it; raises ConfigError for an unknown name."""
    if name in _own(kind):
        return import_module(f"{FOLDERS[kind]}.{name}")
    for point in entry_points(group=f"deployrec.{kind}", name=name):
        try:
            return point.load()
        except Exception as error:
            raise ConfigError(
                f"expected {point.value} to load, which offers '{name}' of the {kind}; got {type(error).__name__}: "
                f"{first_line(error)}; mend its package or uninstall it"
            ) from error
    raise ConfigError(f"expected one of the {kind} {', '.join(names(kind))}; got '{name}'; name one of them")


def _own(kind: str) -> set[str]:
    # Found, not imported: a wrong name is refused before torch has been loaded.
    folder = find_spec(FOLDERS[kind])
    modules = pkgutil.iter_modules(folder.submodule_search_locations if folder else [])
    return {module.name for module in modules} - SUPPORT
