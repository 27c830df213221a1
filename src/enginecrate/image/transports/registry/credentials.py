"""Credentials for a registry: of `docker login` and `podman login`, in files or in helpers.

Helpers are programs that keep secrets outside of files: `docker-credential-NAME`.
Sources: docker's config.json; containers-auth.json(5); docker-credential-helpers, "Development":
the protocol on stdin and stdout.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from enginecrate.errors import SettingInvalid
from enginecrate.image.transports.registry.options import host_name, names_of
from enginecrate.settings import home_folder

__all__ = ["Credentials", "find_credentials"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TIMEOUT = 60
_NOTHING = ("credentials not found", "no credentials")
"""Answers of helpers that know nothing of a server."""
_MAX_FILE = 4 << 20
_HUB_SERVER = "https://index.docker.io/v1/"
_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A proof of identity. `source`: its origin, for messages; the rest is secret."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


class _Entry(msgspec.Struct):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _AuthFile(msgspec.Struct, rename="camel"):
    """Entries are read when they are needed: one that is broken is no fault of the others."""

    auths: dict[str, msgspec.Raw] | None = None
    cred_helpers: dict[str, str | None] | None = None
    creds_store: str | None = None


def find_credentials(
    registry: str, repository: str, environment: Mapping[str, str] | None = None
) -> Credentials | None:
    """The credentials in the user's auth files for a repository, the most specific entry first.

    A helper that cannot be asked, or a file that cannot be read, is passed over: what stands
    elsewhere counts.

    Raises:
        SettingInvalid: nothing was found, and an auth file or a credential helper is broken.
    """
    environment = os.environ if environment is None else environment
    faults: list[SettingInvalid] = []
    for path in _auth_files(environment):
        try:
            file = _read(path)
        except SettingInvalid as exc:
            faults.append(exc)
            continue
        for ask in _possible(file, path, _keys(registry, repository), environment):
            try:
                credentials = ask()
            except SettingInvalid as exc:
                faults.append(exc)
                continue
            if credentials is not None:
                return credentials
    if faults:
        raise faults[0]
    return None


def _auth_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files that are read, in order.

    `REGISTRY_AUTH_FILE` alone when it is set; else podman's, then docker's.
    """
    chosen = environment.get("REGISTRY_AUTH_FILE")
    if chosen:
        if not Path(chosen).is_file():
            raise SettingInvalid(f"REGISTRY_AUTH_FILE names {chosen}, which is not a file")
        yield Path(chosen)
        return
    given = environment.get("HOME")
    home = Path(given) if given else home_folder() or Path("/")
    runtime, config = environment.get("XDG_RUNTIME_DIR"), environment.get("XDG_CONFIG_HOME")
    candidates = [Path(runtime, "containers/auth.json")] if runtime else []
    candidates += [
        Path(config or home / ".config", "containers/auth.json"),
        Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json"),
    ]
    yield from (path for path in candidates if path.is_file())


def _keys(registry: str, repository: str) -> list[str]:
    """`registry/isv/app`, `registry/isv`, `registry`: the most specific one first."""
    parts = repository.split("/")
    paths = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    names = names_of(registry)
    return [f"{name}/{path}" for path in paths for name in names] + list(names)


def _possible(
    file: _AuthFile, path: Path, keys: list[str], environment: Mapping[str, str]
) -> Iterator[Callable[[], Credentials | None]]:
    """The places in a file where credentials may be, the most specific one first.

    Keys of the file are compared by `_normal`; helpers are asked with the spelling in the file.
    """
    auths = file.auths or {}
    helpers = {_normal(key): (name, key) for key, name in (file.cred_helpers or {}).items() if name}
    for key in keys:
        entries = [one for one in auths if _normal(one) == key]
        if key in helpers:
            name, server = helpers[key]
            yield partial(_from_helper, name, _server(server), environment)
        if file.creds_store and "/" not in key:
            for server in entries or [key]:
                yield partial(_from_helper, file.creds_store, _server(server), environment)
        for one in entries:
            yield partial(_from_entry, one, auths[one], path)


def _read(path: Path) -> _AuthFile:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE).removeprefix(codecs.BOM_UTF8)
    except OSError as exc:
        raise SettingInvalid(f"cannot read the auth file {path}: {exc.strerror}") from exc
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    try:
        return msgspec.json.decode(data if data.strip() else b"{}", type=_AuthFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Without the cause: it could quote the secrets of the file.
        raise SettingInvalid(
            f"the auth file {path} is not valid JSON of docker's or podman's form; "
            "log in again to write it"
        ) from None


def _normal(key: str) -> str:
    """A key as `_keys` writes it: without what old versions of docker put around the host."""
    host, _, path = (key.partition("://")[2] or key).rstrip("/").partition("/")
    host = host_name(host)
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def _server(key: str) -> str:
    """The name under which helpers keep a login."""
    return _HUB_SERVER if key == "docker.io" else key


def _from_entry(key: str, raw: msgspec.Raw, path: Path) -> Credentials | None:
    try:
        entry = msgspec.json.decode(raw, type=_Entry | None) or _Entry()
        username, password = entry.username or "", entry.password or ""
        if entry.auth:
            username, _, password = _decoded(entry.auth).partition(":")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error):
        raise SettingInvalid(
            f"the entry {key!r} of {path} is not base64 of user:password; log in again"
        ) from None
    identity, registry = entry.identitytoken or "", entry.registrytoken or ""
    if not (username or identity or registry):
        return None
    return Credentials(str(path), username, password, identity, registry)


def _decoded(auth: str) -> str:
    """The text of an entry's `auth`; people and scripts wrap it, and leave its padding out."""
    bare = "".join(auth.split()).rstrip("=").translate(_URL_SAFE)
    whole = bare + "=" * (-len(bare) % 4)
    return base64.b64decode(whole, validate=True).decode("utf-8").rstrip("\0\r\n")


def _from_helper(name: str, server: str, environment: Mapping[str, str]) -> Credentials | None:
    answer = _ask_helper(name, server, environment)
    if answer is None or not answer.secret:
        return None
    source = f"docker-credential-{name}"
    if answer.username == "<token>":
        return Credentials(source, identity_token=answer.secret)
    return Credentials(source, answer.username, answer.secret)


class _HelperAnswer(msgspec.Struct, rename="pascal"):
    """The answer of a helper; `username` is `<token>` when the secret is an identity token."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"HelperAnswer(username={self.username!r})"


def _ask_helper(name: str, server: str, environment: Mapping[str, str]) -> _HelperAnswer | None:
    """The secret that a helper keeps for a server; None when it knows nothing of it.

    Raises:
        SettingInvalid: there is no such helper, it failed, or it answered something else.
    """
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environment.get("PATH")) if _NAME.fullmatch(name) else None
    if path is None:
        raise SettingInvalid(
            f"an auth file names the credential helper {program!r}, which is not on the PATH; "
            "install it, or remove it from the auth file"
        )
    try:
        done = subprocess.run(  # noqa: S603  the user's auth file chose it, as docker and podman do
            [path, "get"], input=server.encode(), capture_output=True, timeout=_TIMEOUT,
            env={k: v for k, v in environment.items() if not k.startswith("ENGINECRATE_")},
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = "gave no answer" if isinstance(exc, subprocess.TimeoutExpired) else "cannot run"
        raise SettingInvalid(f"the credential helper {path} {reason}; try it by hand") from None
    if done.returncode:
        words = done.stdout.decode("utf-8", "replace").lower()
        if any(known in words for known in _NOTHING):
            return None
        raise SettingInvalid(
            f"the credential helper {path} failed for {server} (exit code {done.returncode}); "
            "log in again"
        )
    try:
        return msgspec.json.decode(done.stdout, type=_HelperAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SettingInvalid(f"the credential helper {path} did not answer in JSON") from None
