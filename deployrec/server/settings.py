"""What a server is told when it starts; checked before any port is opened."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployrec.errors import ConfigError
from deployrec.options import option

NEVER_SHARED = ("memory", "file")
"""Stores that live in one process and end, or stay, with its bundle."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what one request, and all that wait, may ask for."""

    max_batch: int = option(256, "events or users of one run of the graphs", at_least=1)
    max_delay: float = option(1.0, "milliseconds that a request may wait for others to run with", at_least=0)
    max_queue: int = option(4096, "events or users that may wait; beyond, requests get 429", at_least=1)
    max_body: int = option(2**20, "bytes of a request's body", at_least=1)
    max_events: int = option(1000, "events or users of a request", at_least=1)
    max_history: int = option(10_000, "items of a bare history", at_least=1)
    max_id: int = option(256, "bytes of an id, in UTF-8", at_least=1, at_most=480)
    max_k: int = option(1000, "items of a list", at_least=1)
    body_seconds: float = option(10.0, "seconds until a body must have come", above=0)


@dataclass(frozen=True)
class Settings:
    """bundle: a bundle's folder; bundles: a folder of them in which current.json names the one to serve; canary: the
    name of a second one in it, and `share` of the users, 0 to 1, who get it; token_file: holds the bearer token that
    requests must bring; threads: of ONNX Runtime."""

    bundle: str | None = None
    bundles: str | None = None
    store: str = "memory"
    canary: str | None = None
    share: float = 0.0
    token_file: str | None = None
    backend: str = "onnxruntime"
    threads: int = 1
    log_requests: bool = False
    limits: Limits = Limits()

    def check(self, workers: int = 1) -> None:
        """Raises ConfigError for what cannot be served together."""
        if (self.bundle is None) == (self.bundles is None):
            got = "neither" if self.bundle is None else "both"
            raise ConfigError(f"expected BUNDLE or --bundles DIR; got {got}; name one of them")
        if self.canary is not None and self.bundles is None:
            raise ConfigError(
                "expected --canary with --bundles DIR; got a single BUNDLE; put both bundles in one folder"
            )
        alone = self.store.partition(":")[0] in NEVER_SHARED
        if alone and (workers > 1 or self.bundles is not None):
            why = f"--workers {workers}" if workers > 1 else "--bundles"
            raise ConfigError(
                f"expected a store that outlives a process for {why}; got '{self.store}'; take lmdb:PATH or redis://HOST"
            )
        self.token()

    def token(self) -> bytes | None:
        """The token, without the line's end; ConfigError for a file that holds none."""
        if self.token_file is None:
            return None
        token = Path(self.token_file).read_bytes().strip()
        if not re.fullmatch(rb"[\x21-\x7e]{8,4096}", token):
            raise ConfigError(
                f"expected a token of at least 8 printable characters without spaces in {self.token_file}; got another "
                "text; write one such as `openssl rand -hex 32` prints"
            )
        return token

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        document: dict[str, Any] = json.loads(text)
        return cls(**{**document, "limits": Limits(**document["limits"])})


def canary_of(text: str) -> tuple[str, float]:
    """Name and share of "NAME=5%"; raises ConfigError."""
    name, _, share = text.rpartition("=")
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", share)
    if not name or found is None or not 0 < float(found[1]) <= 100:
        raise ConfigError(f"expected --canary NAME=SHARE such as recblr-2=5%; got '{text}'; give a share up to 100%")
    return name, float(found[1]) / 100
