"""A real TensorRT builder without a GPU: TensorRT for RTX from a pip package behind TensorRT's Python API.

It parses and builds; it cannot run an engine here, and it is not the enterprise library.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("tensorrt_bindings", "onnxruntime_ep_nv_tensorrt_rtx")
# The names under which tensorrt_bindings 11 asks for its libraries, and what the package calls the same thing.
_LINKS = {
    "libnvinfer.so.11": "libtensorrt_rtx.so.*",
    "libtensorrt_rtx.so": "libtensorrt_rtx.so.*",
    "libtensorrt_rtx.so.1": "libtensorrt_rtx.so.*",
    "libnvonnxparser.so.11": "libtensorrt_onnxparser_rtx.so.*",
}
_NO_BUILTIN_PLUGINS = (
    "int initLibNvInferPlugins(void* logger, const char* name) { (void)logger; (void)name; return 1; }\n"
)


def missing() -> str | None:
    """Why the builder cannot be had here, or None."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        return f"needs the packages {' and '.join(absent)}"
    return None if shutil.which("cc") else "needs a C compiler"


def lay_out(folder: Path) -> dict[str, str]:
    """Lays the libraries out in `folder`; returns the environment in which `import tensorrt_bindings` finds them."""
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    assert spec is not None
    package = Path(next(iter(spec.submodule_search_locations or [])))
    for link, pattern in _LINKS.items():
        (folder / link).symlink_to(next(package.glob(pattern)))
    source = folder / "no_builtin_plugins.c"
    source.write_text(_NO_BUILTIN_PLUGINS)
    library = folder / "libnvinfer_plugin.so.11"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    paths = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(path for path in paths if path)}
