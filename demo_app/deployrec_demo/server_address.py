"""Where the server is that the demo watches, and how it is asked: without any proxy, with its token if it has one."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from deployrec.errors import ConfigError

SERVER, TOKEN_FILE = "DEPLOYREC_DEMO_SERVER", "DEPLOYREC_DEMO_TOKEN_FILE"
"""Name the server's address, and the file of its token, to the demo's process."""
DEFAULT = "http://127.0.0.1:8000"
"""Where `deployrec serve` listens when it is told nothing."""
PATIENCE = 2.0
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Address:
    url: str
    host: str
    port: int
    token: str = ""

    @classmethod
    def of(cls, url: str, token_file: str | Path | None = None) -> Address:
        """Raises ConfigError for what is no http://HOST:PORT, and for a token file that cannot be read."""
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ConfigError(f"expected a server's address such as {DEFAULT}; got '{url}'; give scheme, host and port")
        try:
            token = Path(token_file).read_text().strip() if token_file else ""
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise ConfigError(
                f"expected a file with the server's token; got {token_file} ({reason}); pass another --token-file"
            ) from None
        return cls(f"http://{parts.netloc}", parts.hostname, port, token)

    @classmethod
    def given(cls) -> Address:
        """The one that the demo was started with."""
        return cls.of(os.environ.get(SERVER, DEFAULT), os.environ.get(TOKEN_FILE))

    @property
    def here(self) -> bool:
        """Whether it is this machine by its name or number, so that nothing sent there leaves it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def connection(self, patience: float = PATIENCE) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=patience)

    def ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None
    ) -> tuple[int, bytes]:
        """Status and bytes of an answer; raises OSError or http.client.HTTPException where none comes."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def metrics(self) -> str:
        """The text of /metrics. Raises ConfigError where no such server answers."""
        expected = f"expected `deployrec serve` at {self.url}"
        try:
            with closing(self.connection()) as connection:
                status, text = self.ask(connection, "GET", "/metrics")
        except (OSError, http.client.HTTPException) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise ConfigError(f"{expected}; got no answer ({said.lower()}); start it, or name it by --server") from None
        if status == 401:
            raise ConfigError(f"{expected} to take the token; got 401; name the file of its token by --token-file")
        if status != 200 or b"deployrec_" not in text:
            raise ConfigError(f"{expected}; got status {status} of something else; name the server by --server")
        return text.decode()


def of_user(user: str) -> str:
    """A user's path."""
    return f"/v1/users/{quote(user, safe='')}"


def decoded(text: bytes) -> Any:
    return json.loads(text)
