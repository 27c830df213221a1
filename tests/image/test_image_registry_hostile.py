"""A registry that means harm: answers that grow, nest, or lead a password elsewhere."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from enginecrate.errors import ImageError, ImageInvalid, RegistryDenied
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.values import Digest, ImageRef
from registry_login import auth_file

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
