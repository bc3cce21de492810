"""Which extra of deployrec's installation brings a package that is missing."""

from __future__ import annotations

from deployrec.errors import ConfigError

SERVING = '"deployrec[cpu]" or "deployrec[gpu]"'
EXTRAS = {
    **dict.fromkeys(("typer", "rich", "onnxruntime"), SERVING),
    **dict.fromkeys(
        ("torch", "lightning", "onnx", "onnxscript", "polars", "safetensors", "triton"), '"deployrec[train]"'
    ),
    **dict.fromkeys(("streamlit", "plotly", "deployrec_demo"), '"deployrec[demo]"'),
    **dict.fromkeys(("model_signing", "OpenSSL"), '"deployrec[sign]"'),
    **dict.fromkeys(
        ("starlette", "uvicorn", "uvloop", "httptools", "msgspec", "prometheus_client"), '"deployrec[serve]"'
    ),
    "confluent_kafka": '"deployrec[kafka]"',
    "tritonclient": '"deployrec[triton-server]"',
    "matplotlib": '"deployrec[benchmarks]"',
    **{
        package: f'"deployrec[{extra}]"'
        for package, extra in (
            *(("lmdb", "lmdb"), ("redis", "redis"), ("pyarrow", "parquet"), ("ray", "ray")),
            *(("faiss", "index"), ("sklearn", "items")),
        )
    },
    "tensorrt": '"deployrec[tensorrt]"',
}


def missing_extra(error: ModuleNotFoundError) -> ConfigError | None:
    """What to tell the user about a package that could not be imported; None where no extra would bring it."""
    package = (error.name or "").partition(".")[0]
    return missing_package(package) if package in EXTRAS else None


def missing_package(package: str) -> ConfigError:
    """The one line that says which extra brings `package`."""
    return ConfigError(f"expected the package {package}; got none installed; run pip install {EXTRAS[package]}")
