"""The runtime works where numpy and onnxruntime are all that is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

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

from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify

recommender = Recommender.load(sys.argv[1])
recommender.observe_many([("ann", "i1"), ("bob", "i2"), ("ann", "i3")])
recommender.encode_history("cat", ["i1"] * 20)
assert len(recommender.observe_and_recommend("ann", "i4", "e")) == 10
recommender.save_states(sys.argv[2])
recommender.load_states(sys.argv[2])
assert verify(sys.argv[1]).passed
for name in ("torch", "onnx", "polars", "pydantic", "safetensors", "typer", "rich", "lightning", "triton"):
    assert name not in sys.modules, name
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"the blocker lets {name} through")
print("served")
"""


def test_nothing_but_numpy_and_onnxruntime_is_needed(twin_bundle: Callable[..., Bundle], tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    states = tmp_path_factory.mktemp("states") / "states.npz"
    command = [sys.executable, "-c", SCRIPT, str(twin_bundle().path), str(states)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.strip().endswith("served"), result.stderr
    assert result.stderr == ""
