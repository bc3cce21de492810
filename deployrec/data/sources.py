"""From a path, a folder or a pattern to the files that are one log."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployrec.data.binary import COMPRESSED
from deployrec.errors import DataError

TEXT = (".inter", ".csv", ".tsv")
PARQUET = (".parquet", ".pq")
MOVIELENS = ("ratings.dat", "u.data")
KNOWN = ", ".join((*TEXT, PARQUET[0], *MOVIELENS))


@dataclass(frozen=True)
class LogFiles:
    """The files of one log, in order, what it is called and its kind: a suffix or a name of MovieLens."""

    files: tuple[Path, ...]
    name: str
    kind: str


def find_log(source: str | Path, any_text: bool = False) -> LogFiles:
    """The log that `source` names: a file, a folder with one log or with the parts of one, or a pattern of parts.

    any_text    take files of unknown suffixes as delimited text
    Raises DataError for what is not there, is no log, or is several.
    """
    path = Path(source)
    if path.is_file():
        return _log([path], stem(path), any_text)
    if path.is_dir():
        return _in_folder(path, any_text)
    if glob.has_magic(str(source)):
        files = sorted((Path(found) for found in glob.glob(str(source), recursive=True)), key=_natural)
        files = [file for file in files if file.is_file()]
        if not files:
            raise DataError(f"expected files like {source}; got none; check the pattern")
        return _log(files, files[0].absolute().parent.name if len(files) > 1 else stem(files[0]), any_text)
    raise DataError(
        f"expected a log file, a folder with one, or 'sample'; got {source}, which is not there; "
        "check the path, or download one with `deployrec data get`"
    )


def kind_of(path: Path) -> str | None:
    """A suffix of TEXT or PARQUET, or a name of MOVIELENS, whatever its capitals and its compression."""
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    if name in MOVIELENS:
        return name
    return next((suffix for suffix in (*TEXT, *PARQUET) if name.endswith(suffix)), None)


def stem(path: Path) -> str:
    """What the log is called: the file's name without its suffixes; MovieLens's files have their folder's."""
    if kind_of(path) in MOVIELENS:
        return path.absolute().parent.name
    name = path.name
    if Path(name).suffix.lower() in COMPRESSED:
        name = Path(name).stem
    return Path(name).stem


def _log(files: Iterable[Path], name: str, any_text: bool) -> LogFiles:
    files = tuple(files)
    kinds = {file: kind_of(file) or (".csv" if any_text else None) for file in files}
    for file, kind in kinds.items():
        if kind is None:
            raise DataError(
                f"expected a log ({KNOWN}); got {file}; convert it to CSV with named columns, or pass --sep if it is "
                "delimited text"
            )
        if kind != kinds[files[0]]:
            raise DataError(f"expected parts of one kind; got {files[0].name} and {file.name}; name those of one log")
    return LogFiles(files, name, kinds[files[0]] or "")


def _in_folder(folder: Path, any_text: bool) -> LogFiles:
    name = folder.absolute().name
    found = [file for file in sorted(folder.iterdir(), key=_natural) if file.is_file() and _visible(file)]
    found = [file for file in found if kind_of(file) is not None]
    found = [file for file in found if kind_of(file) == ".inter"] or found
    if len(found) > 1:
        found = [file for file in found if stem(file) == name and kind_of(file) not in MOVIELENS] or found
    if not found:
        parts = sorted((file for file in folder.rglob("*") if kind_of(file) in PARQUET), key=_natural)
        found = [
            file for file in parts if all(map(_visible, [file.relative_to(folder), *file.relative_to(folder).parents]))
        ]
    if len(found) == 1:
        return _log(found, stem(found[0]), any_text)
    # Spark, Dask and BigQuery write a log as a folder of parts.
    if found and all(kind_of(file) in PARQUET or file.name.startswith("part-") for file in found):
        return _log(found, name, any_text)
    got = ", ".join(file.name for file in found) or "none"
    raise DataError(
        f"expected one log ({KNOWN}) in {folder}; got {got}; name the file, or its parts with a pattern such as "
        f"'{folder}/*.csv'"
    )


def _visible(path: Path) -> bool:
    return not path.name.startswith((".", "_"))


def _natural(path: Path) -> list[tuple[int, str]]:
    """part-10 after part-9."""
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
