"""current.json: which bundle of a folder is served, replaced in one move."""

from __future__ import annotations

import json
from pathlib import Path

from deployrec.errors import BundleError
from deployrec.files import atomic_write

CURRENT = "current.json"


def current(folder: Path) -> str:
    """The name in a folder's current.json; raises BundleError where there is none."""
    path = folder / CURRENT
    try:
        name = json.loads(path.read_bytes())["bundle"]
    except (OSError, ValueError, TypeError, KeyError):
        name = None
    if not _is_name(name):
        raise BundleError(
            f'expected {{"bundle": "NAME"}} in {path}; got none; run `deployrec flip {folder} NAME` for a bundle in it'
        )
    return str(name)


def flip(folder: Path, name: str) -> None:
    """Makes `name` the bundle that every server of this folder answers from; raises BundleError where there is none."""
    if not _is_name(name) or not (folder / name).is_dir():
        raise BundleError(f"expected the name of a bundle in {folder}; got '{name}'; copy the bundle into it first")
    atomic_write(folder / CURRENT, json.dumps({"bundle": name}) + "\n")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).name == name
