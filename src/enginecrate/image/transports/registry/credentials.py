"""Credentials for a registry: of `docker login` and `podman login`, in files or in helpers.

Helpers are programs that keep secrets outside of files: `docker-credential-NAME`.
Sources: docker's config.json; containers-auth.json(5); docker-credential-helpers, "Development":
the protocol on stdin and stdout.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enginecrate.errors import SettingInvalid
from enginecrate.image.transports.registry.options import names_of
from enginecrate.settings import home_folder

__all__ = ["Credentials", "find_credentials"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TIMEOUT = 60
_NOTHING = ("credentials not found", "no credentials")
"""Answers of helpers that know nothing of a server."""
_MAX_FILE = 4 << 20
_HUB_SERVER = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A proof of identity. `source`: its origin, for messages; the rest is secret."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(msgspec.Struct, rename="camel"):
    auths: dict[str, _Entry] = {}
    cred_helpers: dict[str, str] = {}
    creds_store: str = ""


def find_credentials(
    registry: str, repository: str, environment: Mapping[str, str] | None = None
) -> Credentials | None:
    """The credentials in the user's auth files for a repository, the most specific entry first.

    Raises:
        SettingInvalid: an auth file or a credential helper is broken.
    """
    environment = os.environ if environment is None else environment
    for path in _auth_files(environment):
        credentials = _look_up(path, _keys(registry, repository), environment)
        if credentials is not None:
            return credentials
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


def _look_up(path: Path, keys: list[str], environment: Mapping[str, str]) -> Credentials | None:
    file = _read(path)
    auths = {_normal(key): (key, entry) for key, entry in file.auths.items()}
    for key in keys:
        if key in file.cred_helpers:
            credentials = _from_helper(file.cred_helpers[key], key, environment)
            if credentials is not None:
                return credentials
        if file.creds_store and "/" not in key:
            credentials = _from_helper(file.creds_store, key, environment)
            if credentials is not None:
                return credentials
        if key in auths:
            credentials = _from_entry(*auths[key], path)
            if credentials is not None:
                return credentials
    return None


def _read(path: Path) -> _AuthFile:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_FILE), type=_AuthFile)
    except OSError as exc:
        raise SettingInvalid(f"cannot read the auth file {path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Without the cause: it could quote the secrets of the file.
        raise SettingInvalid(
            f"the auth file {path} is not valid JSON of docker's or podman's form; "
            "log in again to write it"
        ) from None


def _normal(key: str) -> str:
    """An entry's key without what old versions of docker put around the host."""
    bare = key.partition("://")[2] or key
    return bare.rstrip("/").removesuffix("/v1").removesuffix("/v2")


def _from_entry(key: str, entry: _Entry, path: Path) -> Credentials | None:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            text = base64.b64decode(entry.auth, validate=True).decode("utf-8").rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise SettingInvalid(
                f"the entry {key!r} of {path} is not base64 of user:password; log in again"
            ) from None
        username, _, password = text.partition(":")
    if not (username or entry.identitytoken or entry.registrytoken):
        return None
    return Credentials(str(path), username, password, entry.identitytoken, entry.registrytoken)


def _from_helper(name: str, key: str, environment: Mapping[str, str]) -> Credentials | None:
    server = _HUB_SERVER if key == "docker.io" else key
    answer = _ask_helper(name, server, environment)
    if answer is None:
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
