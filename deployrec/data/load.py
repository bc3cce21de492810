"""`load_dataset`: from a path or the name of the built-in sample to a Dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployrec.data import readers
from deployrec.data.dataset import Dataset
from deployrec.data.log import EventLog, build_dataset
from deployrec.data.sample import sample_dataset
from deployrec.errors import DataError

Reader = Callable[[Path, str, str, str | None], EventLog]
READERS: dict[str, Reader] = {
    ".inter": readers.read_recbole,
    ".csv": readers.read_csv,
    ".tsv": readers.read_csv,
    ".parquet": readers.read_parquet,
}
MOVIELENS = {"ratings.dat": readers.read_movielens_1m, "u.data": readers.read_movielens_100k}


def load_dataset(
    source: str | Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    min_user: int = 1,
    min_item: int = 1,
    limit: int | None = None,
) -> Dataset:
    """Read an event log.

    source     "sample" (the built-in data set), a file, or a folder that holds one log:
               RecBole X.inter (with X.item), .csv, .tsv, .parquet, MovieLens ratings.dat (with movies.dat) or
               MovieLens-100K u.data (with u.item)
    user, item, time
               names of the columns; time=None takes the order of the file as the order in time
    min_user, min_item
               k-core: see `build_dataset`; 1 keeps everything
    limit      only the first `limit` users of the log

    Raises DataError for a path that is not there, a column that is missing, a bad row, and a log without events.
    """
    for option, value in (("min_user", min_user), ("min_item", min_item), ("limit", limit)):
        if value is not None and value < 1:
            raise DataError(f"expected {option} of at least 1; got {value}; leave it out to keep everything")
    if source == "sample":
        if (min_user, min_item, limit) != (1, 1, None):
            raise DataError("expected the sample as it is; got min_user, min_item or limit; leave them out")
        return sample_dataset()
    if len({user, item, time}) < 3:
        raise DataError(f"expected three different columns; got '{user}', '{item}' and '{time}'; name each once")
    path = _log_file(Path(source))
    if path.name in MOVIELENS:
        log, name = MOVIELENS[path.name](path), path.absolute().parent.name
    else:
        log, name = READERS[path.suffix](path, user, item, time), path.stem
    return build_dataset(log, name, min_user, min_item, limit)


def _log_file(path: Path) -> Path:
    """The one file in `path` (a file or a folder) that can be read as a log."""
    known = f"{', '.join(READERS)}, {' or '.join(MOVIELENS)}"
    if path.is_file():
        if path.suffix not in READERS and path.name not in MOVIELENS:
            raise DataError(f"expected a log ({known}); got {path}; convert it to CSV with named columns")
        return path
    if not path.is_dir():
        raise DataError(
            f"expected a log file, a folder with one, or 'sample'; got {path}, which is not there; "
            "check the path, or download one with `deployrec data get`"
        )
    found = sorted(file for file in path.iterdir() if file.suffix == ".inter")
    found = found or sorted(file for file in path.iterdir() if file.name in MOVIELENS or file.suffix in READERS)
    if len(found) > 1:
        found = [file for file in found if file.stem == path.absolute().name] or found
    if len(found) != 1:
        got = ", ".join(file.name for file in found) or "none"
        raise DataError(f"expected one log ({known}) in {path}; got {got}; name the file")
    return found[0]
