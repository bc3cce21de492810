"""The runtime's small bundles, and a real tritonserver."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]
ROOT = Path(__file__).parents[2]
VARIABLE = "DEPLOYREC_TEST_PYTRITON"


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def tritonserver(tmp_path: Path) -> Iterator[Callable[[Path], tuple[int, int]]]:
    """Starts a server of a repository; answers with its HTTP and gRPC ports. Its log is tmp_path/triton.log.

    Python models run with the packages of its environment: this build of the Python backend reads no arrays of numpy 2.
    """
    home = os.environ.get(VARIABLE)
    if home is None:
        pytest.skip(
            f"needs a virtual environment with nvidia-pytriton, onnxruntime and lmdb, and {VARIABLE}=ITS_FOLDER"
        )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(home) / "lib" / version / "site-packages"
    server = packages / "pytriton" / "tritonserver"
    backends = tmp_path / "backends"
    shutil.copytree(server / "backends", backends)
    stub = server / "python_backend_stubs" / version.removeprefix("python") / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    processes: list[subprocess.Popen[bytes]] = []

    def start(repository: Path) -> tuple[int, int]:
        http, grpc, metrics = free_ports(3)
        prefix = Path(sys.base_prefix)
        libraries = [str(prefix / "lib"), str(packages / "nvidia_pytriton.libs")]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PATH": os.pathsep.join([str(Path(home) / "bin"), os.environ["PATH"]]),
        }
        log = (tmp_path / "triton.log").open("wb")
        command = [server / "bin" / "tritonserver", f"--model-repository={repository}"]
        command += [
            f"--backend-directory={backends}",
            "--strict-readiness=false",
            "--exit-on-error=false",
            "--exit-timeout-secs=5",
        ]
        command += ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"]
        command += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
        processes.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        until = time.monotonic() + 60
        while not ready(http):
            assert processes[-1].poll() is None, (tmp_path / "triton.log").read_text()[-3000:]
            assert time.monotonic() < until, (tmp_path / "triton.log").read_text()[-3000:]
            time.sleep(0.1)
        return http, grpc

    yield start
    for process in processes:
        process.terminate()
        process.wait(60)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
