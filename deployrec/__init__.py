"""Train a recurrent sequential recommender, export it as small verified graphs, serve it from a constant-size state."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deployrec.version import __version__

if TYPE_CHECKING:
    from deployrec.bundle import Bundle
    from deployrec.data import Dataset, load_dataset
    from deployrec.evaluation import evaluate
    from deployrec.export import export_bundle
    from deployrec.runtime import Event, Outcome, Recommendation, Recommender
    from deployrec.runtime.verify import verify
    from deployrec.training.runs import Run
    from deployrec.training.train import train

_HOMES = {
    "deployrec.bundle": ("Bundle",),
    "deployrec.data": ("Dataset", "load_dataset"),
    "deployrec.evaluation": ("evaluate",),
    "deployrec.export": ("export_bundle",),
    "deployrec.runtime": ("Event", "Outcome", "Recommendation", "Recommender"),
    "deployrec.runtime.verify": ("verify",),
    "deployrec.training.runs": ("Run",),
    "deployrec.training.train": ("train",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # what a user imports; each is imported when it is first used
    "Bundle",
    "Dataset",
    "Event",
    "Outcome",
    "Recommendation",
    "Recommender",
    "Run",
    "__version__",
    "evaluate",
    "export_bundle",
    "load_dataset",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: serving never pays for torch, nor for what it does not have.

    Raises ConfigError, which names the extra to install, where a package is missing.
    """
    if name not in _HOME_OF:
        raise AttributeError(f"module 'deployrec' has no attribute '{name}'")
    from deployrec.extras import missing_extra

    try:
        value = getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
