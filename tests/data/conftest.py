"""Real logs, where a checkout has them beside it; MovieLens may not be redistributed."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def ml_1m() -> Path:
    folder = SHARED / "ml-1m"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/ml-1m")
    return folder
