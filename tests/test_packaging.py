"""What is installed: one version number, a base of numpy alone, and one clear line for a missing extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import deployrec
from deployrec.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
# Runs verbs where some packages cannot be imported; prints each exit code and what came on stderr.
SCRIPT = """
import contextlib, io, sys

blocked = set(sys.argv[1].split(","))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from deployrec.__main__ import main

for line in sys.argv[2:]:
    sys.argv = ["deployrec", *line.split()]
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    print(code, err.getvalue().strip())
"""
TRAIN = ("torch", "lightning", "onnx", "onnxscript", "polars", "safetensors", "triton", "streamlit", "plotly")


def without(packages: tuple[str, ...], *lines: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, ",".join(packages), *lines]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.splitlines()


def test_there_is_one_version_number() -> None:
    assert "version" in PROJECT["dynamic"]
    cmake = (ROOT / "plugins_trt" / "CMakeLists.txt").read_text()
    assert re.findall(r"project\(deployrec VERSION (\S+)", cmake) == [deployrec.__version__]
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == deployrec.__version__


def test_a_wheel_holds_every_package_and_nothing_else() -> None:
    shipped = {ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    homes = (ROOT, ROOT / "kernels", ROOT / "demo_app")
    assert shipped == {file.parent for home in homes for file in home.glob("deployrec*/__init__.py")}


def test_the_base_is_numpy_and_one_extra_never_brings_both_runtimes() -> None:
    assert [requirement.partition(">")[0] for requirement in PROJECT["dependencies"]] == ["numpy"]
    for name, requirements in PROJECT["optional-dependencies"].items():
        plain = [
            re.split(r"[><=;\[ ]", text)[0]
            for text in requirements
            if "platform_system" not in text and ";" not in text
        ]
        assert not {"onnxruntime", "onnxruntime-gpu"} <= set(plain), name
    assert {"Source", "Changelog"} <= set(PROJECT["urls"])


def test_every_missing_package_is_in_the_extra_that_is_named() -> None:
    extras = PROJECT["optional-dependencies"]
    for package, named in EXTRAS.items():
        for extra in re.findall(r"\[(\w+)\]", named):
            brought = " ".join([*extras[extra], *(extras["cli"] if "deployrec[cli]" in extras[extra] else [])])
            # model_signing is model-signing, OpenSSL pyopenssl
            known_as = {"sklearn": "scikit-learn"}.get(package, package.lower().replace("_", "-"))
            assert known_as in brought or package == "deployrec_demo", (package, extra)


def test_a_bundle_is_served_where_only_the_runtime_is_installed(bundle_of: Callable[[str], Path]) -> None:
    bundle = bundle_of("recblr")
    lines = without(TRAIN, f"info {bundle}", f"verify {bundle}", f"recommend {bundle} --k 3", "--version", "--help")
    assert lines == ["0 "] * 5


@pytest.mark.parametrize(
    ("package", "extra", "lines"),
    [
        ("torch", "train", ["train", "export --model recblr", "evaluate b", "models", "bench b", "build engine b"]),
        ("lightning", "train", ["train", "train --resume b"]),
        ("polars", "train", ["data info sample"]),
        ("streamlit", "demo", ["demo"]),
        ("onnxruntime", "cpu", ["recommend BUNDLE", "verify BUNDLE"]),
        ("typer", "cpu", ["train", "recommend BUNDLE"]),
        ("rich", "cpu", ["info BUNDLE"]),
    ],
)
def test_a_missing_extra_is_one_line(
    package: str, extra: str, lines: list[str], bundle_of: Callable[[str], Path]
) -> None:
    told = without((package,), *(line.replace("BUNDLE", str(bundle_of("recblr"))) for line in lines))
    assert len(told) == len(lines)
    for answer in told:
        assert answer.startswith(f"2 deployrec: expected the package {package}; got none installed; run pip install ")
        assert f'"deployrec[{extra}]"' in answer


def test_a_slip_in_a_models_name_is_answered_before_torch_is_imported() -> None:
    (answer,) = without(("torch", "lightning"), "train --model glintrou")
    assert answer.startswith("2 deployrec: expected one of the models glintru")
