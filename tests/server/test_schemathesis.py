"""schemathesis over the server's own description: thousands of requests, none of which ends in a 5xx or a hang."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.callers import Server
from deployrec.bundle import Bundle

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
CHECKS += "unsupported_method,negative_data_rejection"


@pytest.mark.slow
def test_every_route_answers_as_it_is_described(bundle: Bundle, tmp_path: Path) -> None:
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("needs schemathesis")
    with Server(bundle.path) as server:
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        command = [program, "run", url, "--checks", CHECKS, "--max-examples", "15", "--seed", "1"]
        command += ["--phases", "coverage,fuzzing", "--request-timeout", "20"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-4000:]
        assert server.ready()
