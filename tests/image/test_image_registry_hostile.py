"""A registry that means harm: answers that grow, nest, or lead a password elsewhere."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from enginecrate.errors import (
    BlobCorrupt,
    EnginecrateError,
    ImageError,
    ImageInvalid,
    RegistryDenied,
    RegistryUnavailable,
)
from enginecrate.image.formats.oci import LAYER_GZIP, Descriptor
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry, options
from enginecrate.values import Digest, ImageRef
from registry_login import auth_file
from small_images import noise

OPTIONS = RegistryOptions(retry=Retry(attempts=1))


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that gives the same answer to everything; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def repository(address: str) -> Repository:
    return Repository(ImageRef(address, "isv/app"), OPTIONS)


def test_an_answer_that_is_compressed():
    bomb = gzip.compress(bytes(50 << 20))
    with (
        answering(200, bomb, Content_Encoding="gzip") as address,
        pytest.raises(ImageInvalid, match="compressed with 'gzip'"),
    ):
        repository(address).resolve("v1")


DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_that_nests_deeply(status):
    with answering(status, DEEP) as address:
        here = repository(address)
        with pytest.raises(ImageError):
            here.resolve("v1")
        with pytest.raises(ImageError):
            here.tags()
        with pytest.raises(ImageError):
            here.referrers(Digest.of(b""))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_tokens_from_another_machine_need_tls(home):
    """Plain HTTP is free on this machine; a password does not leave it that way."""
    challenge = 'Bearer realm="http://registry.test/token",service="s"'
    with answering(401, json.dumps({}).encode(), WWW_Authenticate=challenge) as address:
        auth_file(home / ".config/containers/auth.json", address)
        with pytest.raises(RegistryDenied, match="a password must not be sent"):
            repository(address).resolve("v1")


@contextmanager
def speaking(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that does to each connection what `answer` does; its address."""

    def serve(client: socket.socket) -> None:
        try:
            with client:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = client.recv(1 << 16)
                    if not piece or piece[:1] == b"\x16":  # TLS
                        return
                    head += piece
                answer(client, head)
        except OSError:
            return

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def drip(start: bytes) -> Callable[[socket.socket, bytes], None]:
    """A byte every 20 ms, for ever."""

    def answer(client: socket.socket, _: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(b" ")
            time.sleep(0.02)

    return answer


LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n"


@pytest.mark.parametrize("start", [LONG, b"HTTP/1.1 200 OK\r\nX-Slow: a"], ids=["body", "head"])
@pytest.mark.parametrize("what", ["manifest", "tags", "referrers", "blob"])
def test_a_registry_that_sends_byte_by_byte(monkeypatch, tmp_path, start, what):
    """No timeout between two bytes passes."""
    monkeypatch.setattr(options, "_PACE_SECONDS", 0.3)
    blob = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(b"x"), size=3_000_000)
    with speaking(drip(start)) as address:
        chosen = RegistryOptions(downloads=tmp_path, min_rate=1000)
        here = Repository(ImageRef(address, "isv/app"), chosen)
        ask = {
            "manifest": lambda: here.resolve("v1"),
            "tags": here.tags,
            "referrers": lambda: here.referrers(Digest.of(b"")),
            "blob": lambda: list(here.read_blob(blob)),
        }
        with pytest.raises(RegistryUnavailable, match=r"too slowly .*REGISTRY_MIN_RATE"):
            ask[what]()


def test_a_slow_start_is_no_slow_transfer(monkeypatch):
    """A registry may work before it answers."""
    monkeypatch.setattr(options, "_PACE_SECONDS", 0.05)

    def answer(client: socket.socket, _: bytes) -> None:
        time.sleep(0.3)
        client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"tags":["v1"]}')

    with speaking(answer) as address:
        assert repository(address).tags() == ["v1"]


@pytest.mark.parametrize(
    "endless",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-More: more\r\n"],
    ids=["informational", "headers"],
)
def test_a_head_without_end(endless):
    def answer(client: socket.socket, _: bytes) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n" if endless.startswith(b"X") else b"")
        while True:
            client.sendall(endless * 1000)

    with speaking(answer) as address, pytest.raises(RegistryUnavailable):
        repository(address).resolve("v1")


def test_a_page_for_browsers_is_no_success():
    with answering(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8") as address:
        here = repository(address)
        for ask in (lambda: here.resolve("v1"), here.tags, lambda: here.referrers(Digest.of(b""))):
            with pytest.raises(RegistryUnavailable, match="answers with a web page"):
                ask()


def test_a_wait_of_a_day_is_not_waited_for():
    with answering(429, b"", Retry_After="86400") as address:
        here = Repository(ImageRef(address, "isv/app"))
        with pytest.raises(RegistryUnavailable, match="in 24 hours, as it asks"):
            here.resolve("v1")


LINKS = ["http://[::1", "//", "http://x:y/", "\x01", "http://xn--\xff.test/", "file:///etc/passwd"]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("header", ["Link", "Location"])
def test_addresses_that_lead_nowhere(link, header):
    value = f'<{link}>; rel="next"' if header == "Link" else link
    status = 200 if header == "Link" else 307
    with (
        answering(status, b'{"tags":["v1"]}', **{header: value}) as address,
        pytest.raises(ImageError),
    ):
        repository(address).tags()


def test_a_list_that_would_fill_the_memory():
    """200 pages of 4 MiB would be 800 MB."""
    number = 0

    def answer(client: socket.socket, head: bytes) -> None:
        nonlocal number
        number += 1
        body = b'{"tags":["' + b"a" * (3 << 20) + b'"]}'
        link = f'Link: </v2/isv/app/tags/list?n={number}>; rel="next"\r\n'
        start = f"HTTP/1.1 200 OK\r\n{link}Content-Length: {len(body)}\r\n\r\n"
        client.sendall(start.encode() + body)

    with speaking(answer) as address, pytest.raises(ImageInvalid, match="a list of more than"):
        repository(address).tags()
    assert number < 15


MIB = 1 << 20


@pytest.mark.parametrize("lie", ["short", "416", "416 and short", "cut"])
def test_a_blob_that_is_cut_short(tmp_path, lie):
    """Half of it is kept from an earlier run; the registry denies the rest, or has no more."""
    data = noise(2 * MIB)
    blob = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(data), size=len(data))
    (tmp_path / Digest.of(data).hex).write_bytes(data[:MIB])

    def answer(client: socket.socket, head: bytes) -> None:
        if b"range: bytes=" in head.lower() and "416" in lie:
            client.sendall(b"HTTP/1.1 416 No\r\nContent-Length: 1000\r\n\r\n")
        elif lie == "416":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n" + data)
        else:
            length = len(data) if lie == "cut" else MIB
            start = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            client.sendall(start.encode() + data[:MIB])

    with speaking(answer) as address:
        retry = Retry(attempts=3, sleep=lambda _: None)
        chosen = RegistryOptions(retry=retry, downloads=tmp_path)
        pieces = Repository(ImageRef(address, "isv/app"), chosen).read_blob(blob)
        if lie == "416":
            assert b"".join(pieces) == data
        else:
            with pytest.raises((BlobCorrupt, RegistryUnavailable)) as caught:
                list(pieces)
            assert isinstance(caught.value, EnginecrateError)
