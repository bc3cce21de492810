"""A RecBole checkpoint as settings and weights, read without running any code that its pickle names.

Such a file is a zip archive of torch's whose pickle holds, beside the weights, RecBole's own `Config` object. Its
classes become inert stand-ins here, and anything else that the pickle would call is refused.
"""

from __future__ import annotations

import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deployrec.errors import DataError
from deployrec.files import first_line

CALLABLE: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}
"""All that a pickle may call, by module and name."""
STOOD_IN = ("recbole", "numpy", "yaml")
"""Packages whose classes become stand-ins; of the last two a checkpoint holds a score and a loader."""


@dataclass(frozen=True)
class Checkpoint:
    """settings: RecBole's configuration as it was when the model was trained; weights: tensors on the CPU by name."""

    path: Path
    model: str
    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Reads what `recbole.trainer.Trainer` saved; DataError, in one line, for any other file."""
        path = Path(path)
        _check_archive(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                held = torch.load(path, map_location="cpu", pickle_module=sys.modules[__name__], weights_only=False)
        except Exception as error:  # a broken archive or pickle raises what it likes
            raise _no_checkpoint(path, first_line(error)) from None
        config = held.get("config") if isinstance(held, dict) else None
        settings = getattr(config, "final_config_dict", None)
        weights = held.get("state_dict") if isinstance(held, dict) else None
        if not isinstance(settings, dict) or not isinstance(settings.get("model"), str):
            raise _no_checkpoint(path, "no settings of a model")
        if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
            raise _no_checkpoint(path, "no state_dict of tensors")
        return cls(path, settings["model"], settings, weights)


class StandIn:
    """An object of a class that is not imported: takes any arguments and keeps the attributes it is given."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class Named:
    """A class or function that a pickle names and must not call, such as that of the model."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise pickle.UnpicklingError(f"a call of {self.name}, which is not run")


class Unpickler(pickle.Unpickler):
    """What `torch.load(pickle_module=...)` reads the pickle with: containers, tensors and stand-ins alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in CALLABLE:
            return _handed_out(CALLABLE[module, name])
        if module == "torch" and isinstance(value := getattr(torch, name, None), torch.dtype):
            return value
        if module.partition(".")[0] in STOOD_IN or (module, name) == ("torch", "device"):
            return type(name, (StandIn,), {})
        return Named(f"{module}.{name}")


def _handed_out(function: Any) -> Any:
    """A function of its own, since a pickle may set attributes of what it is handed; a type of C's takes none."""
    return function if isinstance(function, type) else lambda *arguments: function(*arguments)


def _check_archive(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"expected a checkpoint of RecBole; got {path}, which is not there; check the path")
    if not zipfile.is_zipfile(path):
        raise _no_checkpoint(path, "no archive of torch's; save it with torch 1.6 or later")
    with zipfile.ZipFile(path) as archive:
        names = [Path(name).name for name in archive.namelist()]
    if "data.pkl" not in names or "constants.pkl" in names:
        raise _no_checkpoint(path, "an archive without a pickle of weights")


def _no_checkpoint(path: Path, got: str) -> DataError:
    return DataError(
        f"expected a checkpoint that RecBole 1.2's trainer saved; got {path}: {got}; name a .pth file under saved/"
    )
