"""Parts by name: found without importing them, and refused at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deployrec import discovery
from deployrec.errors import ConfigError


def test_names_are_the_parts_of_the_folders() -> None:
    baselines = ["bert4rec", "caser", "fmlprec", "fpmc", "gru4rec", "lrurec", "mamba4rec", "narm", "sasrec"]
    assert discovery.names("models") == sorted([*baselines, "glintru", "recblr"])
    assert {"onnxruntime", "tensorrt"} <= set(discovery.names("backends"))
    with pytest.raises(
        ConfigError, match=r"expected one of the backends .*onnxruntime.*; got 'abacus'; name one of them"
    ):
        discovery.find("backends", "abacus")
    for support in ("base", "layers", "registry", "testing", "unroll"):
        with pytest.raises(ConfigError, match=f"got '{support}'"):
            discovery.find("models", support)


def test_a_wrong_model_is_refused_without_torch() -> None:
    program = (
        "import sys; from deployrec import discovery, errors\n"
        "try: discovery.check('models', 'abacus')\n"
        "except errors.ConfigError: print('refused', 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "refused False\n"
