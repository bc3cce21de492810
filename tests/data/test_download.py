"""Downloads, against a server of this test's own: complete and checked, or one line and nothing left."""

from __future__ import annotations

import hashlib
import io
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployrec.data import load_dataset
from deployrec.data.download import SOURCES, Source, download
from deployrec.errors import DataError

LOG = "".join(f"{user}::{item}::5::{user + item}\n" for user in (1, 2) for item in (10, 20))


def zipped(members: dict[str, str], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            if name == link:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


GOOD = zipped({"ml-1m/": "", "ml-1m/ratings.dat": LOG, "ml-1m/README": "terms"})


class Server:
    """Answers every path with `body`, of which it sends `sent` bytes, and with `status`."""

    def __init__(self) -> None:
        self.body, self.sent, self.status, self.requests = GOOD, None, 200, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body[: outer.sent])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/ml-1m.zip"

    body: bytes
    sent: int | None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    offer(monkeypatch, server.url, server.body)
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def offer(monkeypatch: pytest.MonkeyPatch, url: str, body: bytes) -> None:
    monkeypatch.setenv("no_proxy", "*")
    md5 = hashlib.md5(body).hexdigest()
    monkeypatch.setitem(SOURCES, "ml-1m", Source(url, md5, "ratings.dat", "https://home.example"))


def refusal(out: Path) -> str:
    """The error's text, one line, with nothing left of the download."""
    with pytest.raises(DataError) as caught:
        download("ml-1m", out)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_archive_becomes_a_loadable_folder(server: Server, tmp_path: Path) -> None:
    received: list[tuple[int, int | None]] = []
    folder = download("ml-1m", tmp_path / "data", lambda *progress: received.append(progress))
    assert folder == tmp_path / "data" / "ml-1m"
    assert sorted(path.name for path in folder.iterdir()) == ["README", "ratings.dat"]
    assert list((tmp_path / "data").iterdir()) == [folder]
    assert received[-1] == (len(GOOD), len(GOOD))
    assert load_dataset(folder).num_events == 4


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    download("ml-1m", tmp_path)
    download("ml-1m", tmp_path)
    assert server.requests == 1


def test_a_wrong_digest_is_refused(server: Server, tmp_path: Path) -> None:
    server.body = zipped({"ml-1m/ratings.dat": LOG + "9::9::9::9\n"})
    text = refusal(tmp_path / "data")
    assert hashlib.md5(GOOD).hexdigest() in text
    assert hashlib.md5(server.body).hexdigest() in text


def test_a_broken_transfer_is_refused(server: Server, tmp_path: Path) -> None:
    server.sent = 100
    assert f"expected {len(GOOD)} bytes from 127.0.0.1" in refusal(tmp_path / "data")


def test_a_server_error_is_refused(server: Server, tmp_path: Path) -> None:
    server.status = 503
    assert "got HTTP 503 Service Unavailable" in refusal(tmp_path / "data")


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    offer(monkeypatch, f"http://127.0.0.1:{port}/ml-1m.zip", GOOD)
    text = refusal(tmp_path / "data")
    assert text.startswith(f"expected a connection to 127.0.0.1:{port}; got: ")
    assert text.endswith("connect to the network and run it again")


@pytest.mark.parametrize(
    "name", ["../ratings.dat", "ml-1m/../../ratings.dat", "/ml-1m/ratings.dat", "ml-1m\\..\\x", "C:/x/y", "ratings.dat"]
)
def test_an_archive_that_reaches_outside_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    server.body = zipped({"ml-1m/ratings.dat": LOG, name: "evil"})
    offer(monkeypatch, server.url, server.body)
    assert "expected plain files below one folder" in refusal(tmp_path / "data")
    assert list(tmp_path.rglob("*")) == []


def test_a_link_in_an_archive_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server.body = zipped({"ml-1m/ratings.dat": LOG, "ml-1m/link": "/etc"}, link="ml-1m/link")
    offer(monkeypatch, server.url, server.body)
    assert "got 'ml-1m/link'" in refusal(tmp_path / "data")


@pytest.mark.parametrize(("body", "text"), [(b"<html>", "expected a zip archive"), (zipped({"a/b": ""}), "without it")])
def test_another_file_of_the_right_digest_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes, text: str
) -> None:
    server.body = body
    offer(monkeypatch, server.url, body)
    assert text in refusal(tmp_path / "data")


def test_a_full_disk_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(source: object, target: object, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    assert "got: No space left on device; make room" in refusal(tmp_path / "data")


def test_unknown_names_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected one of ml-1m, ml-100k; got 'netflix'"):
        download("netflix", tmp_path)
    (tmp_path / "ml-1m").mkdir()
    with pytest.raises(DataError, match=r"ml-1m to hold ratings.dat or not to exist"):
        download("ml-1m", tmp_path)


def test_sources_are_official() -> None:
    for name, source in SOURCES.items():
        assert source.url == f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert len(bytes.fromhex(source.md5)) == 16
