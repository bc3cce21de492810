"""The runtime on what `export` really writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployrec.benchmark.bundles import random_bundle
from deployrec.bundle.parity import STATE_RTOL, USER_ATOL
from deployrec.data import Dataset
from deployrec.errors import BundleError
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.runtime.conftest import stored

MODELS = ["glintru", "recblr"]


@pytest.mark.parametrize("key", MODELS)
def test_a_long_history_is_the_same_in_chunks_in_batches_and_step_by_step(
    bundle_of: Callable[[str], Path], sample: Dataset, key: str
) -> None:
    recommender = Recommender.load(bundle_of(key))
    ids = sample.items["item_id"].to_list()
    draw = np.random.default_rng(0)
    length = recommender.manifest.encode_chunk + 50
    history = [ids[row] for row in draw.integers(0, len(ids), length)]
    recommender.encode_history("encoded", history)
    for item in history:
        recommender.observe("stepped", item)
    for start in range(0, length, 5):
        others = [(f"user {index}", draw.choice(ids)) for index in range(3)]
        part = [("batched", item) for item in history[start : start + 5]]
        recommender.observe_many([event for pair in zip(part, others * 2, strict=False) for event in pair])
    encoded = stored(recommender, "encoded")
    for user in ("stepped", "batched"):
        record = stored(recommender, user)
        assert record.num_events == length
        assert record.seen == encoded.seen
        np.testing.assert_allclose(record.user_vector, encoded.user_vector, atol=2 * USER_ATOL)
        for name, tensor in encoded.state.items():
            limit = 2 * STATE_RTOL * max(1, np.abs(tensor).max())
            np.testing.assert_allclose(record.state[name], tensor, atol=limit)
    again = recommender.observe_and_recommend("stepped", ids[0])
    recommender.observe("encoded", ids[0])
    assert [entry.item_id for entry in again] == [entry.item_id for entry in recommender.recommend("encoded")]


@pytest.mark.parametrize("key", MODELS)
def test_one_flipped_byte_in_any_file_is_refused(bundle_of: Callable[[str], Path], tmp_path: Path, key: str) -> None:
    folder = shutil.copytree(bundle_of(key), tmp_path / "bundle")
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            for read in (Recommender.load, verify):
                with pytest.raises(BundleError):
                    read(folder)
        path.write_bytes(content)
    Recommender.load(folder)


MEASURE = """
import sys
from pathlib import Path
from deployrec.runtime.backends.base import load_backend
from deployrec.bundle import Bundle

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

bundle = Bundle.open(sys.argv[1])
before = resident()
backend = load_backend("onnxruntime", bundle)
print((resident() - before) / bundle.file("items.bin").stat().st_size)
"""


def test_all_sessions_share_one_table(tmp_path: Path) -> None:
    bundle = random_bundle("recblr", 400_000, tmp_path / "bundle", dim=64)
    tables = float(subprocess.run([sys.executable, "-c", MEASURE, str(bundle.path)], stdout=-1, check=True).stdout)
    assert 0.9 < tables < 1.5
