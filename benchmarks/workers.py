"""Processes that answer one JSON line with one: each may have packages, or a state of this project, of its own.

Between two questions a worker sleeps on its pipe, so that workers of one core never run at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ANSWER = "answer "
"""Begins a line that is an answer: packages print what they like."""


class Worker:
    """A started process of `module`; raises RuntimeError with its last line where it ends instead of answering."""

    def __init__(
        self,
        python: str | Path,
        module: str,
        arguments: Sequence[object] = (),
        *,
        path: Sequence[Path],
        core: int | None = None,
    ) -> None:
        """path: folders to import from, before the installed packages; core: the only one that it may run on."""
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        # A pipe that nobody reads would stop a worker that warns a lot.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            [*pinned, str(python), "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=path[0],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_WAIT_POLICY": "PASSIVE"},
        )
        try:
            self.about: dict[str, Any] = self._read()
        except BaseException:
            self.close()
            raise

    def ask(self, **request: Any) -> Any:
        """The worker's answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what ended it stands in its last line
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        self._errors.seek(0)
        ended = self._errors.read().strip().rpartition("\n")[2]
        raise RuntimeError(f"its process ended: {ended or 'without a word'}")


def serve(about: Mapping[str, Any], answers: Callable[..., Any]) -> None:
    """The worker's side: says `about` itself, then answers each question by `answers(**question)`."""
    _answer(about)
    for line in sys.stdin:
        _answer(answers(**json.loads(line)))


def _answer(content: object) -> None:
    print(ANSWER + json.dumps(content), flush=True)
