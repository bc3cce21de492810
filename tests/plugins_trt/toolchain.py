"""What the C++ tests need from the machine, where it is, and one build of each kind a test session."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "plugins_trt"
_MAJOR = r"(?:NV_TENSORRT_MAJOR|TRT_MAJOR_ENTERPRISE) (\d+)"


@dataclass(frozen=True)
class Headers:
    """A TensorRT release's folder, whose include/ holds NvInfer.h."""

    root: Path
    major: int


def headers(major: int) -> Headers:
    """The headers of one generation; skips the test where there are none."""
    found = find_headers(major)
    if found is None:
        pytest.skip(f"needs the C++ headers of TensorRT {major} in TensorRT_ROOT or /usr/local/tensorrt*")
    return found


def find_headers(major: int) -> Headers | None:
    for root in _roots():
        version = root / "include" / "NvInferVersion.h"
        found = re.search(_MAJOR, version.read_text()) if version.is_file() else None
        if found and int(found[1]) == major:
            return Headers(root, major)
    return None


def need_onnxruntime() -> None:
    """Skips the test where bundles cannot be built for: without ONNX Runtime's header or what reads a manifest."""
    named = os.environ.get("ONNXRUNTIME_ROOT")
    roots = [Path(root) for root in (named, "/usr/local/onnxruntime", "/usr") if root]
    folders = ("include", "include/onnxruntime", "include/onnxruntime/core/session")
    if not any((root / folder / "onnxruntime_c_api.h").is_file() for root in roots for folder in folders):
        pytest.skip("needs onnxruntime_c_api.h in ONNXRUNTIME_ROOT or /usr/local/onnxruntime")
    for header, package in (("nlohmann/json.hpp", "nlohmann-json3-dev"), ("openssl/evp.h", "libssl-dev")):
        if not any((Path(root) / header).is_file() for root in ("/usr/include", "/usr/local/include")):
            pytest.skip(f"needs {package}")


def need(*programs: str) -> None:
    """Skips the test where a program is not on the PATH."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


def build(base: Path, name: str, *options: str, targets: Iterable[str] = ("all",), source: Path = SOURCE) -> Path:
    """Configures and builds `source` once a session, in a folder that the session's processes share."""
    need("cmake", "ninja", "c++")
    folder = base / name
    with FileLock(str(base / f"{name}.lock")):
        if not (folder / "built").exists():
            checked("cmake", "-S", source, "-B", folder, "-G", "Ninja", "-DDEPLOYREC_WERROR=ON", *options)
            checked("cmake", "--build", folder, "--target", *targets)
            (folder / "built").touch()
    return folder


def checked(*command: str | Path, **environment: str) -> str:
    """Runs a program; what it printed, or a failed test that shows it."""
    run = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if run.returncode != 0:
        pytest.fail(
            f"{' '.join(map(str, command))} ended with {run.returncode}\n{run.stdout[-6000:]}{run.stderr[-6000:]}"
        )
    return run.stdout


def _roots() -> list[Path]:
    variable = "TensorRT_ROOT"  # as CMake spells a package's root
    named = [Path(os.environ[variable])] if variable in os.environ else []
    return [*named, *sorted(Path("/usr/local").glob("tensorrt*")), Path("/usr")]
