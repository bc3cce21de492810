"""The runtime works where numpy and onnxruntime are all that is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from deployrec.runtime import Bundle

# onnxruntime asks for these at import only if they are there; nothing else may be asked for.
SCRIPT = """
import sys

ALLOWED = {"deployrec", "numpy", "onnxruntime"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            asked.add(top)
            raise ImportError(f"{name} is blocked")

asked = set()
sys.meta_path.insert(0, Blocker())

import deployrec.bundle
from deployrec.bundle.parity import ParityCases
from deployrec.runtime import Event, Outcome, Recommender
from deployrec.runtime.verify import verify

with Recommender.load(sys.argv[1], store=f"file:{sys.argv[2]}") as recommender:
    outcomes, lists = recommender.observe_many([("ann", "i1"), {"user": "bob", "item": "i2"}], recommend=3)
    assert outcomes == [Outcome.APPLIED] * 2 and len(lists["bob"]) == 3
    recommender.encode_history("cat", ["i1"] * 20)
    assert len(recommender.observe_and_recommend("ann", "i4", "e", "2026-01-01")) == 10
    recommender.save_states(sys.argv[2])
    recommender.load_states(sys.argv[2])
    repr(recommender), repr(recommender.bundle)
report = verify(sys.argv[1])
assert report.passed and "parity holds" in repr(report)
BLOCKED = "torch onnx onnxscript polars pandas pydantic safetensors typer rich lightning triton scipy streamlit"
for name in BLOCKED.split():
    assert name not in sys.modules, name
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"the blocker lets {name} through")
print("served")
"""


ABSENT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())

from deployrec.bundle import Bundle
from deployrec.errors import ConfigError
from deployrec.runtime import Recommender

print(Bundle.open(sys.argv[1]))
for _ in range(2):
    try:
        Recommender.load(sys.argv[1])
    except ConfigError as error:
        print(error)
"""


def test_a_missing_onnxruntime_is_one_line_that_names_the_extras(twin_bundle: Callable[..., Bundle]) -> None:
    command = [sys.executable, "-c", ABSENT, str(twin_bundle().path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    bundle, first, again = result.stdout.splitlines()
    assert bundle.startswith("Bundle(")
    assert first == again
    assert first.startswith("expected the package onnxruntime; got none installed; run pip install ")
    assert "deployrec[cpu]" in first
    assert "deployrec[gpu]" in first
    assert result.stderr == ""


def test_nothing_but_numpy_and_onnxruntime_is_needed(
    twin_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory
) -> None:
    states = tmp_path_factory.mktemp("states") / "states.npz"
    command = [sys.executable, "-c", SCRIPT, str(twin_bundle().path), str(states)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.strip().endswith("served"), result.stderr
    assert result.stderr == ""
