"""TensorRT's Python package, the plugin library in its registry, and what it says when something fails."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from deployrec.bundle.nodes import NODES, PLUGIN_VERSION
from deployrec.errors import ConfigError
from deployrec.files import first_line

PLUGIN_VARIABLE = "DEPLOYREC_PLUGIN_LIBRARY"


def import_tensorrt() -> Any:
    """The module `tensorrt`, else `tensorrt_bindings`; raises ConfigError where neither can be imported."""
    reasons = []
    for name in ("tensorrt", "tensorrt_bindings"):
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # the package looks for its libraries itself
            reasons.append(first_line(error))
    raise ConfigError(
        f"expected the TensorRT Python package; got {reasons[0]}; install deployrec[tensorrt] on a machine with a GPU"
    )


def load_plugins(trt: Any, library: str | Path | None) -> Path | None:
    """Puts the plugins into TensorRT's registry; returns the library's path, None where they were there already.

    library: path of libdeployrec_plugin.so; None: the one that DEPLOYREC_PLUGIN_LIBRARY names.
    Raises ConfigError for a library that is missing, cannot be loaded, or is another.
    """
    registry = trt.get_plugin_registry()
    if has_plugins(registry):
        return None
    library = library or os.environ.get(PLUGIN_VARIABLE)
    if not library:
        raise ConfigError(
            "expected the plugin library libdeployrec_plugin.so; got none; "
            f"build plugins_trt and pass --plugin or set {PLUGIN_VARIABLE}"
        )
    path = Path(library)
    if not path.is_file():
        raise ConfigError(f"expected the plugin library at {path}; got no such file; build plugins_trt first")
    try:
        registry.load_library(str(path.resolve()))
    except Exception as error:  # the bindings raise their own types
        raise ConfigError(
            f"expected {path} to be a plugin library; got {first_line(error)}; build plugins_trt for this machine"
        ) from None
    if not has_plugins(registry):
        raise ConfigError(
            f"expected {path} to hold {' and '.join(node.name for node in NODES)}; got another library; "
            "build plugins_trt for this machine"
        )
    return path


def make_logger(trt: Any) -> Any:
    """A logger that prints nothing; `take()` gives the errors since the last call as one line."""

    class ErrorLog(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)

        def take(self) -> str:
            text = " ".join("; ".join(self.errors).split()) or "no reason"
            self.errors.clear()
            return text

    return ErrorLog()


def has_plugins(registry: Any) -> bool:
    """Whether TensorRT's registry holds a plugin for every recurrence that graphs have as one node."""
    return all(registry.get_creator(node.name, PLUGIN_VERSION, "") is not None for node in NODES)
