"""`python -m deployrec_demo.rivals NUM_ITEMS KEY ...`: models with random weights, exported once to be timed.

A process of its own, at the lowest priority: the export needs torch and seconds of the processor, and the visitor's
clicks go first. It ends with the process that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from deployrec.errors import ConfigError
from deployrec_demo.engine import Engine

RIVALS = {"sasrec": "SASRec", "gru4rec": "GRU4Rec"}


def exported(engine: Engine) -> list[Path]:
    """Bundles of RIVALS but the served model, over as many items; ConfigError where they cannot be made."""
    for name in ("torch", "onnx"):
        if find_spec(name) is None:
            raise ConfigError(f"expected {name} for other models to be measured beside; got none installed; "
                              'run pip install "deployrec[train]"')  # fmt: skip
    keys = [key for key in RIVALS if key != engine.manifest.model["key"]]
    command = [sys.executable, "-m", "deployrec_demo.rivals", str(engine.manifest.num_items), *keys]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word of why"]
        raise ConfigError(f"expected {', '.join(keys)} to be exported; got: {said[-1]}; see the server's log")
    return [Path(line) for line in done.stdout.splitlines()]


def main() -> None:
    os.nice(19)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from deployrec.benchmark.bundles import rival_bundle

    for key in sys.argv[2:]:
        print(rival_bundle(key, int(sys.argv[1])).path)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
