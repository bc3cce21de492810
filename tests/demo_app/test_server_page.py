"""The server's page beside a server, and the load that it sends: bounded, of this machine, gone afterwards."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.callers import Server
from deployrec.errors import ConfigError
from deployrec_demo import load, server_address, server_page
from deployrec_demo.load import CALLERS, SECONDS, Load, check
from deployrec_demo.server_address import Address
from tests.demo_app.conftest import text

Open = Callable[..., AppTest]


@pytest.fixture
def nobody() -> Address:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Address.of(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://localhost", "http://", "http://h:x", "http://h/v1"])
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a server's address such as http://127\.0\.0\.1:8000"):
        Address.of(url)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.9:1", True),
        ("http://[::1]:8000", True),
        ("http://192.0.2.7:8000", False),
        ("http://localhost.example.com:8000", False),
        ("http://0.0.0.0:8000", False),
    ],
)
def test_load_goes_to_this_machine_alone(url: str, here: bool) -> None:
    address = Address.of(url)
    assert address.here is here
    if not here:
        with pytest.raises(ConfigError, match="load goes nowhere else"):
            Load().start(address, CALLERS[0])


def test_load_is_bounded() -> None:
    with pytest.raises(ConfigError, match="expected 1 or 8 or 32 callers; got 1000"):
        check(Address.of("http://localhost:8000"), 1000)
    assert SECONDS <= 30


def test_a_token_file_is_read_or_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    assert Address.of("http://localhost:1", tmp_path / "token").token == "secret-token"
    with pytest.raises(ConfigError, match="no such file"):
        Address.of("http://localhost:1", tmp_path / "none")


def test_without_a_server_the_page_says_how_to_start_one(
    opened: Open, nobody: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server_address.SERVER, nobody.url)
    app = opened(page="server_page")
    assert not app.exception
    assert [info.value for info in app.info] == [
        f"expected `deployrec serve` at {nobody.url}; got no answer (connection refused); start it, or name it by "
        "--server"
    ]
    assert app.code[0].value.startswith("deployrec serve ")
    assert not app.button


def test_callers_of_a_server_that_is_gone_end(nobody: Address) -> None:
    began = time.monotonic()
    load.visitors(nobody, "nobody", lambda: True)
    assert time.monotonic() - began < 5


@pytest.fixture
def server(bundle_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "token").write_text("a-token-of-the-test")
    options: list[str | Path] = ["--token-file", tmp_path / "token", "--store", f"file:{tmp_path / 'users'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "ready", _ready)
        with Server(bundle_of("recblr"), *options) as one:
            monkeypatch.setenv(server_address.SERVER, f"http://127.0.0.1:{one.port}")
            monkeypatch.setenv(server_address.TOKEN_FILE, str(tmp_path / "token"))
            yield one


def _ready(server: Server) -> bool:
    """Open to anybody, the token notwithstanding."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.mark.slow
def test_the_page_follows_a_server_under_load(
    opened: Open, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load, "SECONDS", 4)
    app = opened(page="server_page")
    assert not app.exception
    assert "requests a second" in text(app)
    app = app.button(key="send").click().run()
    running = server_page._shared_load()
    assert running.running
    time.sleep(2.5)
    app = app.run()
    assert not app.exception
    sample = server_page._watch(Address.given()).samples[-1]
    assert sample.outcomes["applied"] > 20
    assert sample.failed == 0
    app.button(key="stop").click().run()
    assert running.wait() == 0
    # Every visitor was erased: the server's store holds nobody.
    server.end(signal.SIGTERM)
    assert "demo-load" not in "".join(path.read_bytes().decode("latin-1") for path in tmp_path.glob("users*"))


@pytest.mark.slow
def test_a_server_that_wants_a_token_says_so(opened: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(server_address.TOKEN_FILE)
    app = opened(page="server_page")
    assert "name the file of its token by --token-file" in app.info[0].value


@pytest.mark.slow
def test_a_server_that_starts_later_is_seen(opened: Open, server: Server) -> None:
    server.end(signal.SIGTERM)
    app = opened(page="server_page")
    assert app.info
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "ready", _ready)
        server.start()
    app = app.run()
    assert not app.info
    assert "waiting for a batch" in text(app)
