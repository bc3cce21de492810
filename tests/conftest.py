"""What tests of several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

from deployrec.bundle.parity import LONG
from deployrec.data import Dataset, load_dataset
from deployrec.export import export_bundle
from tests.support import random_model

# Timings of a shared machine are not what property tests are about.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def short_certificates() -> Iterator[None]:
    """Exports here are held on histories of up to 2,000 events; tests/export/test_endless.py exports in full."""
    with mock.patch("deployrec.export.parity.LONGEST", LONG):
        yield


@pytest.fixture(scope="session")
def real_log() -> Callable[[str], Path]:
    """The folder of a real log by name; the test skips where it is absent (MovieLens may not be redistributed).

    Logs lie in ../shared/data beside the checkout, or where DEPLOYREC_TEST_DATA says.
    """
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("DEPLOYREC_TEST_DATA", beside))

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"needs {name} in ../shared/data or $DEPLOYREC_TEST_DATA")
        return root / name

    return folder


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return load_dataset("sample")


@pytest.fixture(scope="session")
def bundle_of(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A verified bundle of a random model, by key; exported once per session. Copy it before changing it."""
    made: dict[str, Path] = {}

    def bundle(key: str) -> Path:
        if key not in made:
            made[key] = tmp_path_factory.mktemp("bundles") / key
            export_bundle(random_model(key, sample), sample, made[key], window=50)
        return made[key]

    return bundle
