"""`deployrec build engine` with a real builder (TensorRT for RTX, no GPU): what it parses, builds and refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Manifest
from deployrec.export.engine import PlanBuilder, profile
from deployrec.runtime.backends.tensorrt.backend import profile_of
from deployrec.runtime.recommender import Recommender

PLUGIN_LAYERS = {"glintru": 1, "recblr": 2}


def python(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in the builder's environment with this process's import path."""
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env={**environment, **paths}, capture_output=True, text=True, check=False)


def copied(bundle: Path, to: Path) -> Path:
    shutil.copytree(bundle, to)
    return to


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("key", PLUGIN_LAYERS)
def test_all_graphs_are_built_with_the_plugin_in_encode_alone(
    key: str,
    precision: str,
    bundle_of: Callable[[str], Path],
    builder_environment: dict[str, str],
    plugin: Path,
    tmp_path: Path,
) -> None:
    path = copied(bundle_of(key), tmp_path / "bundle")
    before = Bundle.open(path).manifest
    options = ("--precision", precision, "--max-batch", "64", "--max-history", "300", "--plugin", plugin)
    run = python(builder_environment, "-m", "deployrec", "build", "engine", path, *options)
    assert run.returncode == 0, run.stderr
    assert f"--dynamicPlugins={plugin}" in run.stdout
    assert "--noTF32" in run.stdout
    assert "--maxShapes=item_ids:64x300,lengths:64,past." in run.stdout
    assert "tritonserver" in run.stdout

    bundle = Bundle.open(path)  # checks the digest of every plan
    assert bundle.manifest.bundle_id == before.bundle_id
    assert not bundle.stray_files()
    record = json.loads(bundle.file("engine/build.json").read_text())
    layers = {graph: built["plugin_layers"] for graph, built in record["graphs"].items()}
    assert layers == {"step": 0, "advance": 0, "encode": PLUGIN_LAYERS[key], "score": 0}
    assert record["profile"] == {"B": [1, 32, 64], "T": [1, 200, 300], "E": [1, 64, 512], "K": [1, 10, 100]}
    for graph in layers:
        assert bundle.file(f"engine/{graph}.plan").stat().st_size == record["graphs"][graph]["bytes"] > 0
    if precision == "fp16":  # half a unit of fp16 is 5e-4; a bundle's states and scores are of order one
        assert 0 < record["parity"]["user"] < 2e-2
        assert 0 < record["parity"]["state"] < 2e-2
    else:
        assert record["parity"] == {}


def test_a_plan_takes_any_batch_and_is_tuned_for_a_single_user_besides(bundle_of: Callable[[str], Path]) -> None:
    class Profile(dict[str, Any]):
        def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
            self[name] = shapes

        set_shape_input = set_shape

    builder = PlanBuilder.__new__(PlanBuilder)
    builder.builder = SimpleNamespace(create_optimization_profile=Profile)
    manifest = Bundle.open(bundle_of("recblr")).manifest
    many, single = builder.profiles(manifest.graphs["step"], profile(manifest, 64))
    assert [shape[0] for shape in many["item_id"]] == [1, 32, 64]
    assert {tuple(shape[0] for shape in shapes) for name, shapes in single.items() if name != "k"} == {(1, 1, 1)}
    assert single["exclude_items"] == ((1, 1), (1, 64), (1, 512))
    assert single["k"] == many["k"] == ([1], [10], [100])
    assert (profile_of(1), profile_of(2), profile_of(64)) == (1, 0, 0)


@pytest.mark.slow
def test_building_again_replaces_the_plans(
    bundle_of: Callable[[str], Path], builder_environment: dict[str, str], plugin: Path, tmp_path: Path
) -> None:
    path = copied(bundle_of("recblr"), tmp_path / "bundle")
    for largest in ("4", "8"):
        options = ("--max-batch", largest, "--plugin", plugin)
        assert python(builder_environment, "-m", "deployrec", "build", "engine", path, *options).returncode == 0
    record = json.loads(Bundle.open(path).file("engine/build.json").read_text())
    assert record["profile"]["B"] == [1, 8, 8]
    assert not [child for child in path.iterdir() if child.name.startswith(".")]


@pytest.mark.slow
def test_a_network_without_the_plugin_is_refused_and_not_built_as_a_loop(
    bundle_of: Callable[[str], Path], builder_environment: dict[str, str]
) -> None:
    script = (
        "import sys\n"
        "from deployrec.export import engine\n"
        "from deployrec.bundle.bundle import Bundle\n"
        "from deployrec.runtime.backends.tensorrt.api import import_tensorrt\n"
        "bundle = Bundle.open(sys.argv[1])\n"
        "graph = bundle.manifest.graphs['encode']\n"
        "sizes = engine.profile(bundle.manifest, 4)\n"
        "engine.PlanBuilder(import_tensorrt()).build(bundle.file(graph.file), graph, 'id', sizes)\n"
    )
    run = python(builder_environment, "-c", script, bundle_of("glintru"))
    assert run.returncode == 1
    assert "expected 1 plugin layers in encode.onnx; got 0 and a loop; load libdeployrec_plugin.so" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["none", "missing", "no library", "another library", "no precision", "no batch", "long lists", "carried"]
)
def test_refusals_are_one_line_and_leave_the_bundle_alone(
    kind: str, bundle_of: Callable[[str], Path], builder_environment: dict[str, str], plugin: Path, tmp_path: Path
) -> None:
    path = copied(bundle_of("recblr"), tmp_path / "bundle")
    before = sorted((file.name, file.read_bytes()) for file in path.iterdir())
    text = tmp_path / "text.so"
    text.write_text("no library")
    other = Path(builder_environment["LD_LIBRARY_PATH"].split(os.pathsep)[0]) / "libnvinfer_plugin.so.11"
    options, wanted = {
        "none": ((), "expected the plugin library libdeployrec_plugin.so; got none;"),
        "missing": (("--plugin", tmp_path / "absent.so"), "got no such file; build plugins_trt first"),
        "no library": (("--plugin", text), f"expected {text} to"),
        "another library": (("--plugin", other), f"expected {other} to"),
        "no precision": (
            ("--plugin", plugin, "--precision", "int4"),
            "expected a precision of fp32 or fp16; got 'int4'",
        ),
        "no batch": (("--plugin", plugin, "--max-batch", "0"), "expected sizes of at least 1; got 0 for axis B"),
        # TensorRT for RTX has no lean runtime to carry, and with one it leaves the library out.
        "carried": (("--plugin", plugin, "--carry-plugin"), "expected TensorRT"),
        "long lists": (
            ("--plugin", plugin, "--max-k", "3840"),
            "expected max_k from 1 to 3,839, the most of TensorRT's",
        ),
    }[kind]
    environment = {key: value for key, value in builder_environment.items() if key != "DEPLOYREC_PLUGIN_LIBRARY"}
    run = python(environment, "-m", "deployrec", "build", "engine", path, *options)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert wanted in line
    assert sorted((file.name, file.read_bytes()) for file in path.iterdir()) == before


def test_without_tensorrt_the_error_says_what_to_install(bundle_of: Callable[[str], Path]) -> None:
    script = (
        "import sys\n"
        "sys.modules['tensorrt'] = sys.modules['tensorrt_bindings'] = None\n"
        "sys.argv = ['deployrec', 'build', 'engine', sys.argv[1]]\n"
        "from deployrec.__main__ import main\n"
        "main()\n"
    )
    run = python(dict(os.environ), "-c", script, bundle_of("recblr"))
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert "expected the TensorRT Python package; got " in line
    assert "install deployrec[tensorrt]" in line


def test_backend_without_plans_says_how_to_build_them(bundle_of: Callable[[str], Path]) -> None:
    from deployrec.errors import BundleError

    with pytest.raises(
        BundleError, match=r"expected TensorRT plans in .*; got none of .*; run `deployrec build engine"
    ):
        Recommender.load(bundle_of("recblr"), backend="tensorrt")


@pytest.mark.slow
def test_backend_without_a_gpu_says_so(
    bundle_of: Callable[[str], Path], builder_environment: dict[str, str], plugin: Path, tmp_path: Path
) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    path = copied(bundle_of("recblr"), tmp_path / "bundle")
    assert python(builder_environment, "-m", "deployrec", "build", "engine", path, "--plugin", plugin).returncode == 0
    script = (
        "import sys\nfrom deployrec.runtime import Recommender\nRecommender.load(sys.argv[1], backend='tensorrt')\n"
    )
    run = python(builder_environment, "-c", script, path)
    assert "ConfigError: expected a GPU for TensorRT; got no CUDA driver" in run.stderr


@pytest.mark.parametrize(("num_items", "most"), [(5, 512), (3416, 3416), (10**6, 16_384)])
def test_a_plan_takes_as_many_seen_items_as_there_are(num_items: int, most: int) -> None:
    manifest = cast(Manifest, SimpleNamespace(num_items=num_items, encode_chunk=512))
    assert profile(manifest, 8)["E"] == (1, 64, most)


@pytest.mark.parametrize(("num_items", "max_k", "found"), [(5, 256, (1, 5, 5)), (3416, 300, (1, 10, 300))])
def test_a_plans_lists_are_as_long_as_asked_for_or_the_catalogue(
    num_items: int, max_k: int, found: tuple[int, int, int]
) -> None:
    manifest = cast(Manifest, SimpleNamespace(num_items=num_items, encode_chunk=512))
    assert profile(manifest, 8, max_k=max_k)["K"] == found
