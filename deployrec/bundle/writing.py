"""Where a bundle comes to stand: whole or not at all, and never over what nobody asked to replace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployrec.bundle.manifest import MANIFEST
from deployrec.errors import BundleError, ConfigError
from deployrec.files import check_writable
from deployrec.folders import place_instead, place_new, recover, staging


def check_target(out: Path, force: bool) -> None:
    """Raises ConfigError if `out` cannot become a bundle: asked before any long work.

    What a killed export has left is cleared away first, and the bundle that it was to replace stands again.
    """
    check_writable(out.parent, "--out")
    recover(Path(os.path.realpath(out)))
    if out.exists() and not force:
        raise ConfigError(f"expected a new folder; got {out}, which exists; pass --force to replace it")
    if out.exists() and not (out / MANIFEST).is_file():
        raise ConfigError(f"expected a bundle to replace; got {out}, which is none; pass another --out")


@contextmanager
def writing(out: Path, force: bool) -> Iterator[Path]:
    """An empty folder to write and seal a bundle in, which stands at `out` once the block has ended well.

    With `force` it takes the place of a bundle there, in one step. Raises ConfigError like `check_target`, also for
    what others have put at `out` meanwhile, and BundleError, in one line, for whatever the disk refuses.
    """
    check_target(out, force)
    target = Path(os.path.realpath(out))  # a link to a bundle goes on pointing at it
    try:
        with staging(target) as folder:
            yield folder
            _move(folder, target, force)
    except OSError as error:
        raise BundleError(f"expected to write {out}; got '{error}'; free disk space or pass another --out") from error


def _move(folder: Path, out: Path, force: bool) -> None:
    while True:
        check_target(out, force)
        place = place_instead if out.exists() else place_new
        try:
            place(folder, out)
            return
        except (FileExistsError, FileNotFoundError):
            if not folder.exists():
                raise
            # Another bundle came or went since it was looked for.
