"""The C++ library over ONNX Runtime: any calls get what Python's `Recommender` answers, under the sanitizers too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.runtime.recommender import Recommender
from tests.plugins_trt import toolchain
from tests.plugins_trt.calls import USERS, Calls

MODELS = ("glintru", "recblr", "gru4rec", "sasrec")
SANITIZERS = {"plain": "", "asan": "address,undefined", "tsan": "thread"}
MOST_EXCLUDED = "4096"
SUPPRESSIONS = Path(__file__).parent / "cpp" / "tsan.supp"
ENVIRONMENT = {"TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}"}


def replay(builds: Path, kind: str) -> Path:
    """The program, built with sanitizers of a kind."""
    toolchain.need_onnxruntime()
    options = ["-DDEPLOYREC_CPU=ON", "-DDEPLOYREC_TESTS=ON", f"-DDEPLOYREC_SANITIZE={SANITIZERS[kind]}"]
    options += ["-DCMAKE_DISABLE_FIND_PACKAGE_TensorRT=ON", "-DCMAKE_CXX_FLAGS=-O1 -g"]
    return toolchain.build(builds, f"serving-{kind}", *options, targets=("replay",)) / "tests" / "replay"


@pytest.mark.slow
@pytest.mark.parametrize("kind", SANITIZERS)
@pytest.mark.parametrize("key", MODELS)
def test_any_calls_get_the_answers_of_python(
    key: str, kind: str, bundle_of: Callable[[str], Path], builds: Path, tmp_path: Path
) -> None:
    """20,000 calls over the models, of each sanitizer its own; users of SASRec go far beyond its window."""
    program, bundle = replay(builds, kind), bundle_of(key)
    calls = Calls(Recommender.load(bundle), seed=list(SANITIZERS).index(kind), users=range(-3, USERS)).make(5000)
    script = calls.save(tmp_path / "script")
    printed = toolchain.checked(program, bundle, "1", MOST_EXCLUDED, script, **ENVIRONMENT)
    calls.check(script)
    read_again = re.fullmatch(r"\d+ events, (\d+) read again\n", printed)
    assert read_again
    assert (int(read_again[1]) > 1000) == (key == "sasrec")


@pytest.mark.slow
@pytest.mark.parametrize("lanes", ["1", "3"])
@pytest.mark.parametrize("kind", ["asan", "tsan"])
def test_eight_threads_get_the_answers_of_python(
    kind: str, lanes: str, bundle_of: Callable[[str], Path], builds: Path, tmp_path: Path
) -> None:
    program, bundle = replay(builds, kind), bundle_of("sasrec")
    threads = [Calls(Recommender.load(bundle), seed, range(8 * seed, 8 * seed + 8)).make(400) for seed in range(8)]
    scripts = [calls.save(tmp_path / f"script-{place}") for place, calls in enumerate(threads)]
    toolchain.checked(program, bundle, lanes, MOST_EXCLUDED, *scripts, **ENVIRONMENT)
    for calls, script in zip(threads, scripts, strict=True):
        calls.check(script)
