"""Public data sets from their official source, checked against the digest published there."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployrec.errors import DataError

CHUNK = 1 << 18
TIMEOUT = 30.0
LARGEST_UNPACKED = 1 << 30

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Source:
    """An archive with one top folder: where it is, the md5 its publisher names, the log inside, and its home page."""

    url: str
    md5: str
    log: str
    home: str


# Only archives whose publisher names a digest; GroupLens does so in URL.md5.
SOURCES = {
    "ml-1m": Source(
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        log="ratings.dat",
        home="https://grouplens.org/datasets/movielens/1m/",
    ),
    "ml-100k": Source(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        log="u.data",
        home="https://grouplens.org/datasets/movielens/100k/",
    ),
}


def download(name: str, out: str | Path = "data", progress: Progress | None = None) -> Path:
    """Fetch data set `name` into the folder `out`/`name` and return it; at once where it is already there.

    The folder appears complete or not at all: everything before is written beside it under a temporary name.
    progress   called with the bytes received so far and their total, None where the server does not say

    Raises DataError for an unknown name, no network, a broken transfer, a wrong digest, an unsafe archive, a full disk.
    """
    if name not in SOURCES:
        raise DataError(f"expected one of {', '.join(SOURCES)}; got '{name}'; other logs are read from their files")
    source, out = SOURCES[name], Path(out)
    target = out / name
    if (target / source.log).is_file():
        return target
    if target.exists():
        raise DataError(f"expected {target} to hold {source.log} or not to exist; got neither; remove it or use --out")
    created = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}.", ignore_cleanup_errors=True) as folder:
            archive, unpacked = Path(folder) / "archive.zip", Path(folder) / name
            _fetch(source, archive, progress)
            _unpack(archive, unpacked, source)
            os.replace(unpacked, target)
    except OSError as error:
        raise DataError(
            f"expected to write {target}; got: {error.strerror or error}; make room, or choose a folder with --out"
        ) from error
    finally:
        if created and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return target


def _fetch(source: Source, archive: Path, progress: Progress | None) -> None:
    host = source.url.split("/")[2]
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    with archive.open("wb") as file, _open(source.url, host) as response:
        total = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
        while chunk := _receive(response, host):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if progress is not None:
                progress(received, total)
    if total is not None and received != total:
        raise DataError(f"expected {total} bytes from {host}; got {received}, then the connection closed; run it again")
    if digest.hexdigest() != source.md5:
        raise DataError(
            f"expected md5 {source.md5} of {source.url}; got {digest.hexdigest()}; "
            f"run it again, and if it stays so, see {source.home}"
        )


def _open(url: str, host: str) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener().open(url, timeout=TIMEOUT)
        return response
    except urllib.error.HTTPError as error:
        raise DataError(f"expected {url}; got HTTP {error.code} {error.reason}; try again later") from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(_unreachable(host, error)) from error


def _receive(response: http.client.HTTPResponse, host: str) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(_unreachable(host, error)) from error


def _unreachable(host: str, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", error) or type(error).__name__).split())
    return f"expected a connection to {host}; got: {reason}; connect to the network and run it again"


def _unpack(archive: Path, target: Path, source: Source) -> None:
    """The archive's top folder becomes `target`; only plain files, and only inside it."""
    try:
        with zipfile.ZipFile(archive) as content:
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > LARGEST_UNPACKED:
                raise DataError(
                    f"expected at most {LARGEST_UNPACKED} bytes in {source.url}; got more; see {source.home}"
                )
            for entry in entries:
                path = target.joinpath(*_inside(entry, source).parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(entry) as packed, path.open("wb") as file:
                    shutil.copyfileobj(packed, file, CHUNK)
    except zipfile.BadZipFile as error:
        raise DataError(f"expected a zip archive from {source.url}; got {error}; see {source.home}") from error
    if not (target / source.log).is_file():
        raise DataError(f"expected {source.log} in {source.url}; got an archive without it; see {source.home}")


def _inside(entry: zipfile.ZipInfo, source: Source) -> PurePosixPath:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    mode = entry.external_attr >> 16
    plain = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or len(path.parts) < 2 or not plain:
        raise DataError(
            f"expected plain files below one folder in {source.url}; got '{entry.filename}'; see {source.home}"
        )
    return path
