"""Proxies of the environment: which one is taken, and SOCKS through a small server."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from enginecrate.cli.main import main
from enginecrate.errors import RegistryUnavailable, SettingInvalid
from enginecrate.http_client.proxies import Proxies
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.values import ImageRef
from modern_registry import ModernRegistry, modern_registry
from socks_server import socks_server

OPTIONS = RegistryOptions(insecure=True, retry=Retry(attempts=1))
PROXY = {"HTTPS_PROXY": "http://proxy.test:3128"}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("exceptions", "host", "port"),
    [
        ("fd07:b51a:cc66:f0::/64", "fd07:b51a:cc66:f0::2", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("2001:DB8::1", "2001:db8::1", None),
        ("[2001:db8::]/32", "2001:db8::5", None),
        ("[2001:db8::1]:443", "2001:db8::1", None),
        ("::ffff:10.0.0.1", "10.0.0.1", None),
        ("10.0.0.0/8", "10.2.3.4", 5000),
        ("10.1.2.3/8", "10.2.3.4", None),
        ("10.2.3.4", "10.2.3.4", None),
        ("example.com", "example.com", None),
        ("EXAMPLE.com", "r.Example.COM", None),
        ("example.com.", "example.com", None),
        (".example.com", "r.example.com", None),
        ("*.example.com", "a.b.example.com", None),
        ("example.com:5000", "example.com", 5000),
        ("example.com:443", "example.com", None),
        ("https://example.com", "example.com", None),
        ("a.test b.test, c.test;d.test", "b.test", None),
        ("a.test b.test, c.test;d.test", "d.test", None),
        ("a.test,*", "example.com", None),
        ("", "localhost", None),
        ("", "127.0.0.1", None),
        ("", "::1", None),
    ],
)
def test_what_is_reached_directly(exceptions, host, port):
    proxies = Proxies({**PROXY, "NO_PROXY": exceptions})
    assert proxies.choose("https", host, port) is None
    assert proxies.unusable == []


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "unusable"),
    [
        ("localhost,[::1]", "example.com", None, []),
        ("fd07:b51a:cc66:f0::/64", "fd07:b51a:cc66:f1::2", None, []),
        ("[2001:db8::1]:5000", "2001:db8::1", None, []),
        (".example.com", "example.com", None, []),
        ("example.com", "badexample.com", None, []),
        ("example.com:5000", "example.com", None, []),
        ("http://example.com", "example.com", None, []),
        ("0.0.1", "10.0.0.1", None, []),
        ("10.0.0.0/99,example.com:x,[::1,http://[", "example.com", None,
         ["10.0.0.0/99", "example.com:x", "[::1", "http://["]),
    ],
)  # fmt: skip
def test_what_goes_through_the_proxy(exceptions, host, port, unusable):
    proxies = Proxies({**PROXY, "NO_PROXY": exceptions})
    found = proxies.choose("https", host, port)
    assert found is not None
    assert found.address == "http://proxy.test:3128"
    assert proxies.unusable == unusable


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("proxy.test:3128", "http://proxy.test:3128"),
        ("http://proxy.test/", "http://proxy.test:80"),
        ("https://proxy.test", "https://proxy.test:443"),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
        ("socks://127.0.0.1:1080/", "socks5h://127.0.0.1:1080"),
        ("SOCKS5://proxy.test", "socks5://proxy.test:1080"),
    ],
)
def test_addresses_of_proxies(text, address):
    found = Proxies({"https_proxy": text, "HTTPS_PROXY": "x.test"}).choose("https", "r.test")
    assert found is not None
    assert found.address == address


MALFORMED = ["foo://x", "socks4://h:1", "http://", "http://h:99999", "http://h:x", "http://[::1"]


@pytest.mark.parametrize("text", [*MALFORMED, "://", "socks5h://h\x01"])
def test_a_malformed_proxy_is_an_error_once_it_is_needed(text):
    proxies = Proxies({"ALL_PROXY": text, "NO_PROXY": "direct.test"})
    assert proxies.choose("https", "direct.test") is None
    with pytest.raises(SettingInvalid, match=r"^ALL_PROXY .*unset it"):
        proxies.choose("https", "r.test")


def test_nothing_of_a_password_is_shown():
    text = "foo://user:secret@proxy.test:1"
    with pytest.raises(SettingInvalid) as caught:
        Proxies({"ALL_PROXY": text}).choose("https", "r.test")
    assert "secret" not in str(caught.value)
    found = Proxies({"ALL_PROXY": text.replace("foo", "socks5")}).choose("https", "r.test")
    assert "secret" not in f"{found!r} {found and found.address}"


@pytest.mark.parametrize("command", ["show", "save", "copy", "push", "audit", "verify", "predict"])
def test_every_command_says_so(capfd, monkeypatch, tmp_path, command):
    reference = "registry.test/isv/app:v1"
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG")
    words = {
        "push": ["image", "push", "oci:" + str(layout_of(tmp_path)) + ":v1", "registry.test/a/b"],
        "save": ["image", "save", reference, str(tmp_path / "a.tar")],
        "copy": ["image", "copy", reference, f"oci:{tmp_path / 'to'}"],
        "show": ["image", "show", reference],
        "audit": ["audit", reference],
        "verify": ["verify", reference, "--key", str(key_of(tmp_path))],
        "predict": ["predict", str(photo), "--url", "http://server.test:9"],
    }
    monkeypatch.setenv("ALL_PROXY", "foo://user:secret@x")
    monkeypatch.setenv("ENGINECRATE_CACHE_DIR", str(tmp_path / "cache"))
    assert main(words[command]) == 2
    said = capfd.readouterr().err
    assert "ALL_PROXY" in said
    assert "secret" not in said


def layout_of(folder: Path) -> Path:
    from enginecrate.image.transports.layout import Layout
    from small_images import add_image

    layout = Layout(folder / "layout", create=True)
    add_image(layout, ["v1"])
    return layout.folder


def key_of(folder: Path) -> Path:
    from enginecrate.release.keys.keys import make_key

    (folder / "vendor.pub").write_text(make_key().public.pem)
    return folder / "vendor.pub"


@pytest.fixture
def modern() -> Iterator[ModernRegistry]:
    with modern_registry() as running:
        running.tags["v1"] = "sha256:" + "0" * 64
        yield running


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
@pytest.mark.parametrize("login", ["", "me:p%40ss@"])
def test_socks(modern, monkeypatch, scheme, login):
    """The name is one that only the proxy knows."""
    with socks_server(modern.address, login=b"me:p@ss" if login else b"") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{login}{proxy.address}")
        repository = Repository(ImageRef("inner.test", "isv/app"), OPTIONS)
        assert repository.tags() == ["v1"]
    assert ("inner.test", 80) in proxy.asked


@pytest.mark.parametrize(
    ("options", "login", "words"),
    [
        ({"login": b"me:x"}, "", "it wants a login"),
        ({"login": b"me:x"}, "me:wrong@", "refuses the name and the password"),
        ({"reply": 2}, "", "its rules do not allow it"),
    ],
)
def test_a_socks_proxy_that_refuses(modern, monkeypatch, options, login, words):
    with socks_server(modern.address, **options) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{login}{proxy.address}")
        with pytest.raises(RegistryUnavailable, match=words):
            Repository(ImageRef("inner.test", "isv/app"), OPTIONS).tags()


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_proxy_that_is_not_there_is_named(monkeypatch, scheme):
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:secret@127.0.0.1:1")
    with pytest.raises(
        RegistryUnavailable, match=rf"{scheme}://127\.0\.0\.1:1 .*NO_PROXY"
    ) as caught:
        Repository(ImageRef("inner.test", "isv/app"), OPTIONS).tags()
    assert "secret" not in str(caught.value)


def test_something_that_is_no_socks_proxy(modern, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{modern.address}")
    impatient = replace(OPTIONS, connect_timeout=0.3)
    with pytest.raises(RegistryUnavailable, match="proxy"):
        Repository(ImageRef("inner.test", "isv/app"), impatient).tags()
