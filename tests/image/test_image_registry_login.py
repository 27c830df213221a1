"""Logins: passwords, tokens, credential files and helpers, certificates, plain HTTP."""

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from containers import Registry, running_registry
from enginecrate.errors import (
    EnginecrateError,
    RegistryDenied,
    RegistryUnavailable,
    SettingInvalid,
)
from enginecrate.image.formats.oci import LAYER_GZIP, Descriptor
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.registry import RegistryOptions, Repository, Retry
from enginecrate.image.transports.registry.credentials import Credentials, find_credentials
from enginecrate.image.transports.registry.options import api_host, is_loopback, repository_path
from enginecrate.image.transports.registry.tokens import merge_scopes, parse_challenges
from enginecrate.values import Digest, ImageRef
from modern_registry import ModernRegistry, modern_registry
from registry_login import (
    HTPASSWD,
    PASSWORD,
    USER,
    TokenServer,
    auth_file,
    make_certificate,
    token_server,
)
from small_images import add_image, noise

MIB = 1 << 20
OPTIONS = RegistryOptions(retry=Retry(attempts=2, sleep=lambda _: None), chunk_size=MIB)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the developer's own logins, proxies and certificates."""
    for name in list(os.environ):
        if name.startswith(("XDG_", "DOCKER_", "REGISTRY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with passwords, over TLS with a certificate of a private authority."""
    folder = tmp_path_factory.mktemp("locked")
    authority, certificate, key = make_certificate(folder)
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = [
        f"  tls: {{certificate: {certificate}, key: {key}}}",
        f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}",
    ]
    with running_registry(folder, settings, scheme="https") as running:
        running.authority = authority  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def trusting(locked: Registry) -> RegistryOptions:
    return RegistryOptions(
        ca_file=locked.authority,  # type: ignore[attr-defined]
        retry=OPTIONS.retry,
    )


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_server(tmp_path_factory.mktemp("tokens")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that takes tokens of `tokens`: anybody may pull, who logs in may push."""
    with running_registry(tmp_path_factory.mktemp("guarded"), tokens.settings) as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def push(layout: Layout, registry: Registry, options: RegistryOptions, name: str = "a") -> None:
    add_image(layout, ["v1"], files={"name": name.encode()})
    target = Repository(ImageRef(registry.address, f"isv/{name}"), options, write=True)
    copy_image(layout, "v1", target, ["v1"])


def test_a_password_from_podmans_file(locked, trusting, layout, home):
    with pytest.raises(RegistryDenied, match=rf"podman login {locked.address}"):
        push(layout, locked, trusting)
    auth_file(home / ".config/containers/auth.json", locked.address)
    push(layout, locked, trusting)


def test_a_wrong_password_names_its_file_and_not_itself(locked, trusting, layout, home):
    path = auth_file(home / ".docker/config.json", locked.address, password="secret-word")
    with pytest.raises(RegistryDenied) as caught:
        push(layout, locked, trusting)
    assert str(path) in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_certificate_of_a_private_authority(locked, trusting, layout, home, monkeypatch):
    auth_file(home / ".config/containers/auth.json", locked.address)
    with pytest.raises(RegistryUnavailable, match=r"not trusted.*--ca-file"):
        push(layout, locked, OPTIONS)
    folder = home / ".config/containers/certs.d" / locked.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(trusting.ca_file.read_bytes())
    push(layout, locked, OPTIONS)
    (folder / "ca.crt").unlink()
    monkeypatch.setenv("SSL_CERT_FILE", str(trusting.ca_file))
    push(layout, locked, OPTIONS)


def test_files_that_are_no_certificates(layout, locked, tmp_path):
    (tmp_path / "wrong.pem").write_text("hello")
    for path in ("wrong.pem", "missing.pem"):
        with pytest.raises(SettingInvalid, match=path):
            push(layout, locked, RegistryOptions(ca_file=tmp_path / path))


def test_insecure_does_not_mean_any_certificate(locked, layout):
    with pytest.raises(RegistryUnavailable, match="not trusted"):
        push(layout, locked, RegistryOptions(insecure=True, retry=OPTIONS.retry))


def test_plain_http_needs_permission(registry, layout, modern, monkeypatch):
    """A name that is not this machine's own, led here by a proxy."""
    monkeypatch.setenv("HTTP_PROXY", registry.url)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{modern.address}")
    elsewhere = Registry("registry.test", registry.storage)
    with pytest.raises(RegistryUnavailable):
        push(layout, elsewhere, OPTIONS, "elsewhere")
    assert {method for method, _, _ in modern.seen} == {"CONNECT"}
    insecure = RegistryOptions(insecure=True, retry=OPTIONS.retry)
    push(layout, elsewhere, insecure, "elsewhere")
    direct = Repository(ImageRef(registry.address, "isv/elsewhere"), OPTIONS)
    assert direct.tags() == ["v1"]


def test_anybody_may_pull_where_tokens_are_free(guarded, tokens, layout, home):
    with pytest.raises(RegistryDenied, match="wants a login"):
        push(layout, guarded, OPTIONS, "free")
    auth_file(home / ".config/containers/auth.json", guarded.address)
    push(layout, guarded, OPTIONS, "free")
    asked = len(tokens.asked)
    (home / ".config/containers/auth.json").unlink()
    reader = Repository(ImageRef(guarded.address, "isv/free"), OPTIONS)
    copy_image(reader, "v1", Layout(home / "copy", create=True), ["v1"])
    (one,) = tokens.asked[asked:]  # a token is asked for once
    assert one["user"] is False
    assert one["scope"] == ["repository:isv/free:pull"]
    assert one["service"] == ["test-registry"]


def test_pushing_asks_for_both_rights_once(guarded, tokens, layout, home):
    auth_file(home / ".config/containers/auth.json", guarded.address)
    asked = len(tokens.asked)
    push(layout, guarded, OPTIONS, "both")
    (one,) = tokens.asked[asked:]
    assert one["scope"] == ["repository:isv/both:pull,push"]
    assert one["account"] == [USER]


def test_a_mount_asks_for_both_repositories(guarded, tokens, layout, home):
    auth_file(home / ".config/containers/auth.json", guarded.address)
    push(layout, guarded, OPTIONS, "origin")
    origin = Repository(ImageRef(guarded.address, "isv/origin"), OPTIONS)
    goal = Repository(ImageRef(guarded.address, "isv/goal"), OPTIONS, write=True)
    asked = len(tokens.asked)
    copy_image(origin, "v1", goal, ["v1"])
    both = ["repository:isv/goal:pull,push", "repository:isv/origin:pull"]
    assert both in [one["scope"] for one in tokens.asked[asked:]]
    assert goal.resolve("v1") == origin.resolve("v1")


def test_a_token_that_expires_in_the_middle(guarded, tokens, home, monkeypatch):
    auth_file(home / ".config/containers/auth.json", guarded.address)
    repository = Repository(ImageRef(guarded.address, "isv/long"), OPTIONS, write=True)
    monkeypatch.setattr(tokens, "lifetime", 2.0)
    repository.has_blob(Digest.of(b""))
    token, asked = tokens.issued[-1], len(tokens.issued)
    data = noise(3 * MIB, 20)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB]
            if not start:  # until the registry refuses what it took before
                monkeypatch.setattr(tokens, "lifetime", 600.0)
                while _is_taken(guarded, token):
                    pass

    blob = Descriptor(media_type=LAYER_GZIP, digest=Digest.of(data), size=len(data))
    repository.write_blob(blob, pieces())
    assert len(tokens.issued) == asked + 1
    assert repository.has_blob(Digest.of(data))


def _is_taken(registry: Registry, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{registry.url}/v2/isv/long/tags/list", headers=headers)
    return answer.status_code != 401


def test_an_identity_token(guarded, tokens, layout, home):
    path = auth_file(home / ".docker/config.json", guarded.address, user="", password="")
    entry = {"auths": {guarded.address: {"identitytoken": tokens.refresh_token}}}
    path.write_text(json.dumps(entry))
    push(layout, guarded, OPTIONS, "identity")
    entry["auths"][guarded.address]["identitytoken"] = "old"
    path.write_text(json.dumps(entry))
    with pytest.raises(RegistryDenied, match=r"config\.json"):
        push(layout, guarded, OPTIONS, "identity")


def test_a_token_that_is_in_the_file(guarded, tokens, layout, home):
    token = tokens.issue(["repository:isv/given:pull,push"], everything=True)
    path = auth_file(home / ".docker/config.json", guarded.address)
    path.write_text(json.dumps({"auths": {guarded.address: {"registrytoken": token}}}))
    asked = len(tokens.asked)
    push(layout, guarded, OPTIONS, "given")
    assert len(tokens.asked) == asked


def helper(folder: Path, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_credential_helper(guarded, layout, home, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    config = home / ".docker/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"credsStore": "test"}))
    helper(
        tmp_path / "bin",
        f'[ "$1" = get ] && [ "$(cat)" = {guarded.address} ] && '
        f'echo \'{{"ServerURL": "x", "Username": "{USER}", "Secret": "{PASSWORD}"}}\'',
    )
    push(layout, guarded, OPTIONS, "helped")
    helper(tmp_path / "bin", 'echo "credentials not found in native keychain"; exit 1')
    assert find_credentials(guarded.address, "isv/app") is None
    for script in ("echo secret; exit 3", "echo secret"):
        helper(tmp_path / "bin", script)
        with pytest.raises(SettingInvalid, match="docker-credential-test") as caught:
            find_credentials(guarded.address, "isv/app")
        assert "secret" not in str(caught.value)
    for name in ("missing", "../evil", "-x"):
        config.write_text(json.dumps({"credHelpers": {guarded.address: name}}))
        with pytest.raises(SettingInvalid, match="credential helper"):
            find_credentials(guarded.address, "isv/app")


def test_a_helper_with_an_identity_token(tmp_path):
    helper(tmp_path / "bin", 'echo \'{"Username": "<token>", "Secret": "s"}\'')
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"credHelpers": {"registry.example.com": "test"}}))
    environment = {"REGISTRY_AUTH_FILE": str(config), "PATH": f"{tmp_path}/bin:/bin:/usr/bin"}
    found = find_credentials("registry.example.com", "isv/app", environment)
    assert found == Credentials("docker-credential-test", identity_token="s")


def entries(path: Path, **users: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    auths = {key: {"username": user, "password": "p"} for key, user in users.items()}
    path.write_text(json.dumps({"auths": auths}))


def user(registry: str, repository: str, environment: dict[str, str]) -> str:
    found = find_credentials(registry, repository, environment)
    return found.username if found else ""


def test_the_most_specific_entry_wins(tmp_path):
    path = tmp_path / "auth.json"
    hosts = {"r.example.com": "host", "r.example.com/isv": "vendor", "r.example.com/isv/app": "app"}
    entries(path, **hosts)
    environment = {"REGISTRY_AUTH_FILE": str(path)}
    assert user("r.example.com", "isv/app", environment) == "app"
    assert user("r.example.com", "isv/app/part", environment) == "app"
    assert user("r.example.com", "isv/other", environment) == "vendor"
    assert user("r.example.com", "isv-other/app", environment) == "host"
    assert user("other.example.com", "isv/app", environment) == ""


def test_the_order_of_files(tmp_path):
    environment = {
        "HOME": str(tmp_path / "home"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
    }
    transports = [
        (tmp_path / "docker/config.json", "docker"),
        (tmp_path / "home/.config/containers/auth.json", "podman-home"),
        (tmp_path / "run/containers/auth.json", "podman"),
    ]
    for path, name in transports:
        entries(path, **{"r.example.com": name})
        assert user("r.example.com", "isv/app", environment) == name
    entries(tmp_path / "own.json", **{"r.example.com": "own"})
    environment["REGISTRY_AUTH_FILE"] = str(tmp_path / "own.json")
    assert user("r.example.com", "isv/app", environment) == "own"
    (tmp_path / "own.json").unlink()
    with pytest.raises(SettingInvalid, match="REGISTRY_AUTH_FILE"):
        find_credentials("r.example.com", "isv/app", environment)


def test_old_keys_and_the_names_of_docker_hub(tmp_path):
    path = tmp_path / "auth.json"
    environment = {"REGISTRY_AUTH_FILE": str(path)}
    entries(path, **{"https://index.docker.io/v1/": "hub", "https://r.example.com/v2/": "old"})
    assert user("docker.io", "isv/app", environment) == "hub"
    assert user("r.example.com", "isv/app", environment) == "old"


AUTH = base64.b64encode(b"vendor:open sesame").decode()


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("r.example.com:443", "r.example.com"),
        ("r.example.com", "r.example.com:443"),
        ("https://r.example.com:443/v2/", "r.example.com"),
        ("R.Example.COM", "r.example.com"),
        ("r.example.com", "R.example.com"),
        ("LocalHost:5000", "localhost:5000"),
        ("[::1]:443", "[::1]"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "index.docker.io"),
        ("Docker.io/isv", "docker.io"),
    ],
)
def test_one_registry_in_several_spellings(tmp_path, key, asked):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {key: {"auth": AUTH}}}))
    found = find_credentials(asked, "isv/app", {"REGISTRY_AUTH_FILE": str(path)})
    assert found is not None
    assert (found.username, found.password) == (USER, PASSWORD)


def test_a_port_that_is_another(tmp_path):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"r.example.com:4443": {"auth": AUTH}}}))
    assert find_credentials("r.example.com", "a", {"REGISTRY_AUTH_FILE": str(path)}) is None


@pytest.mark.parametrize(
    "content",
    [
        {"credHelpers": None, "credsStore": None, "auths": {"r.test": {"auth": AUTH}}},
        {"auths": {"r.test": {"auth": AUTH, "identitytoken": None, "username": None}}},
        {"auths": {"r.test": {"auth": AUTH + "\n"}}},
        {"auths": {"r.test": {"auth": AUTH[:8] + "\r\n" + AUTH[8:]}}},
        {"auths": {"r.test": {"auth": AUTH.rstrip("=")}}},
        {"auths": {"r.test": {}, "https://r.test/v1/": {"auth": AUTH}}},
        {"auths": {"other.test": {"auth": 5}, "r.test": {"auth": AUTH}, "third.test": None}},
        {"auths": {"r.test": {"auth": AUTH}}, "credHelpers": {"r.test": None}},
        {"auths": {"r.test": {"auth": AUTH}}, "credsStore": "missing", "HttpHeaders": {"a": "b"}},
        {"auths": {"r.test": {"auth": AUTH}}, "credHelpers": {"R.test:443": "missing"}},
    ],
)
@pytest.mark.parametrize("mark", ["", "utf-8-sig", "utf-16"])
def test_shapes_of_auth_files(tmp_path, content, mark):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(content), encoding=mark or "utf-8")
    found = find_credentials("r.test", "isv/app", {"REGISTRY_AUTH_FILE": str(path), "PATH": ""})
    assert found is not None
    assert (found.username, found.password) == (USER, PASSWORD)


@pytest.mark.parametrize("content", ["", " \n", "{}", '{"auths": null}'])
def test_auth_files_without_an_entry(tmp_path, content):
    path = tmp_path / "auth.json"
    path.write_text(content)
    assert find_credentials("r.test", "isv/app", {"REGISTRY_AUTH_FILE": str(path)}) is None


def test_a_helper_is_asked_with_the_spelling_of_its_file(tmp_path):
    helper(tmp_path / "bin", 'echo "{\\"Username\\": \\"$(cat)\\", \\"Secret\\": \\"s\\"}"')
    config = tmp_path / "config.json"
    environment = {"REGISTRY_AUTH_FILE": str(config), "PATH": f"{tmp_path}/bin:/bin:/usr/bin"}
    for content, expected in (
        ({"credsStore": "test", "auths": {"https://R.test:443": {}}}, "https://R.test:443"),
        ({"credsStore": "test"}, "r.test"),
        ({"credHelpers": {"R.test": "test"}}, "R.test"),
    ):
        config.write_text(json.dumps(content))
        assert user("r.test", "isv/app", environment) == expected


def test_what_is_free_needs_no_helper(modern, home, monkeypatch):
    """Anonymous tokens of public images; the helper is missed where a login is wanted."""
    config = home / ".docker/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"auths": {}, "credsStore": "desktop.exe"}))
    modern.tags["v1"] = "sha256:" + "0" * 64
    modern.login = "Bearer free"
    with modern_registry() as authority:
        authority.answers["GET /token"] = (200, {}, b'{"token": "free", "expires_in": "300"}')
        modern.challenge = f"Bearer realm=http://{authority.address}/token?a=b,service=s"
        assert Repository(ImageRef(modern.address, "isv/app"), OPTIONS).tags() == ["v1"]
        assert authority.seen[0][1].startswith("/token?a=b&")
        for refusal in (401, 403):
            authority.answers["GET /token"] = (refusal, {}, b"")
            with pytest.raises(SettingInvalid, match=r"docker-credential-desktop\.exe"):
                Repository(ImageRef(modern.address, "isv/app"), OPTIONS).tags()
        modern.challenge = 'Basic realm="r"'
        with pytest.raises(SettingInvalid, match=r"docker-credential-desktop\.exe"):
            Repository(ImageRef(modern.address, "isv/app"), OPTIONS).tags()
        modern.login = ""
        assert Repository(ImageRef(modern.address, "isv/app"), OPTIONS).tags() == ["v1"]


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="r", Bearer realm="{}/token",service="s"',
        "BASIC realm=r, BEARER realm={}/token",
        'Bearer realm="{}/token?q=1&r=2",scope="*"',
        "Bearer realm={}/token?q=1,service=a",
    ],
)
def test_challenges_in_unusual_forms(modern, home, challenge):
    modern.tags["v1"] = "sha256:" + "0" * 64
    modern.login = "Bearer right"
    with modern_registry() as authority:
        authority.answers["GET /token"] = (200, {}, b'{"access_token": "right", "token": null}')
        modern.challenge = challenge.format(f"http://{authority.address}")
        assert Repository(ImageRef(modern.address, "isv/app"), OPTIONS).tags() == ["v1"]


@pytest.mark.parametrize(
    "content", ["{", '{"auths": []}', '{"auths": {"r.example.com": {"auth": "secret!"}}}']
)
def test_broken_files_are_named_without_their_content(tmp_path, content):
    path = tmp_path / "auth.json"
    path.write_text(content)
    with pytest.raises(SettingInvalid, match=r"auth\.json") as caught:
        find_credentials("r.example.com", "isv/app", {"REGISTRY_AUTH_FILE": str(path)})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.fixture
def modern() -> Iterator[ModernRegistry]:
    with modern_registry() as running:
        yield running


def test_a_redirect_gets_no_secrets(modern, home):
    """Blobs often lie on another host: it sees neither the password nor the token."""
    with modern_registry() as storage:
        data = noise(1000)
        digest = Digest.of(data)
        modern.blobs[digest] = storage.blobs[digest] = data
        modern.redirect = f"http://{storage.address}"
        realm = {"WWW-Authenticate": 'Basic realm="test"'}
        modern.answers["GET /v2/isv/app/manifests/v1"] = (401, realm, b"")
        auth_file(home / ".docker/config.json", modern.address)
        repository = Repository(ImageRef(modern.address, "isv/app"), OPTIONS)
        with pytest.raises(RegistryDenied):
            repository.resolve("v1")
        blob = Descriptor(media_type=LAYER_GZIP, digest=digest, size=len(data))
        assert b"".join(repository.read_blob(blob)) == data
        (mine,) = [seen for seen in modern.seen if "/blobs/" in seen[1]]
        (theirs,) = storage.seen
    assert mine[2]["Authorization"].startswith("Basic ")
    assert "Authorization" not in theirs[2]


def test_passwords_do_not_go_to_an_insecure_realm(monkeypatch):
    from enginecrate.image.transports.registry.authorization import Authenticator

    def send(*_: object) -> object:
        raise AssertionError("the password was sent")

    found = Credentials("file", USER, PASSWORD)
    authenticator = Authenticator("registry.example.com", lambda: found, send)
    for realm in ("http://tokens.example.com/", "ftp://x/", "https://u:p@x/", "", "https://["):
        challenge = {"www-authenticate": f'Bearer realm="{realm}"'}
        with pytest.raises(RegistryDenied, match="must not be sent"):
            authenticator.answer(httpx.Response(401, headers=challenge), ("repository:a:pull",), "")


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"<html>", b'{"token": "a\\r\\nX: y"}', b'{"token": 5}', b" " * (2 * MIB)],
)
def test_an_answer_that_is_no_token(modern, answer):
    modern.answers["GET /token"] = (200, {}, answer)
    realm = f'Bearer realm="http://{modern.address}/token"'
    modern.answers["GET /v2/isv/app/manifests/v1"] = (401, {"WWW-Authenticate": realm}, b"")
    with pytest.raises(EnginecrateError, match=r"token|limit"):
        Repository(ImageRef(modern.address, "isv/app"), OPTIONS).resolve("v1")


def test_nothing_secret_is_shown_or_logged(guarded, tokens, layout, home, caplog):
    caplog.set_level(logging.DEBUG)
    auth_file(home / ".config/containers/auth.json", guarded.address)
    push(layout, guarded, OPTIONS, "quiet")
    secrets = [PASSWORD, "Basic ", *tokens.issued]
    shown = caplog.text + repr(find_credentials(guarded.address, "isv/quiet"))
    assert not [secret for secret in secrets if secret in shown]


def test_this_machine_is_reached_without_a_proxy(registry, layout, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    push(layout, registry, OPTIONS, "direct")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ('Basic realm="a"', [("basic", {"realm": "a"})]),
        ("Basic", [("basic", {})]),
        (
            'Bearer realm="https://a/t",service="s, \\"x\\"",scope="r:a:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": 's, "x"', "scope": "r:a:pull,push"})],
        ),
        (
            'Negotiate, BASIC realm=a, bearer realm="b" , error="insufficient_scope"',
            [
                ("negotiate", {}),
                ("basic", {"realm": "a"}),
                ("bearer", {"realm": "b", "error": "insufficient_scope"}),
            ],
        ),
        (";;;", []),
        ('Bearer realm="unclosed', [("bearer", {})]),
    ],
)
def test_challenges(header, expected):
    found = [(one.scheme, one.parameters) for one in parse_challenges(header)]
    assert found[: len(expected)] == expected


def test_scopes_are_merged():
    scopes = ["repository:b:pull", "repository:a:push", "repository:a:pull", "junk"]
    assert merge_scopes(scopes) == ("repository:a:pull,push", "repository:b:pull")


def test_hosts():
    assert api_host("docker.io") == "registry-1.docker.io"
    assert repository_path("docker.io", "debian") == "library/debian"
    assert repository_path("docker.io", "isv/app") == "isv/app"
    assert repository_path("r.example.com", "app") == "app"
    for name in ("localhost", "localhost:5000", "127.0.0.1:1", "127.1.2.3", "[::1]:5000", "[::1]"):
        assert is_loopback(name)
    for name in (
        "localhost.example.com",
        "example.com:127",
        "10.0.0.1",
        "[::2]",
        "127.0.0.1.example.com",
    ):
        assert not is_loopback(name)
