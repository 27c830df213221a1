"""Challenges of a registry, and the short-lived tokens of its authorization server for them.

Sources: RFC 9110, 11.6.1 (the header `WWW-Authenticate`); distribution, "Token Authentication
Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import msgspec

from enginecrate.errors import RegistryDenied, RegistryUnavailable
from enginecrate.http_client import Url
from enginecrate.image.transports.registry.credentials import Credentials
from enginecrate.image.transports.registry.responses import Answer, error_for

__all__ = [
    "Challenge",
    "Send",
    "Token",
    "basic_header",
    "fetch_token",
    "is_fit",
    "merge_scopes",
    "parse_challenges",
]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  the grammar's word
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')
"""Unquoted values of some registries are more than the grammar allows: whole addresses."""
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?=\s|,|$)")
_LONGEST = 16 << 10
_CLIENT = "enginecrate"
_SHORTEST = 60.0
"""Seconds that a token lives when the server does not say (the specification's default)."""
_FIT = re.compile(r"[\x21-\x7e]{1,65536}")
Send = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""`send(method, url, headers, content)`: sends a request to the authorization server."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate; `scheme` is in lower case, as are the names of parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a header; an error of grammar ends the list."""
    header, position = header[:_LONGEST], 0
    challenges: list[Challenge] = []
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters = {}
        while parameter := _PARAMETER.match(header, position):
            quoted, plain = parameter[2], parameter[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters[parameter[1].lower()] = value
            position = parameter.end()
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Scopes such as `repository:isv/app:pull`, with the actions on one resource put together."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        resource, _, wanted = scope.rpartition(":")
        if resource:
            actions.setdefault(resource, set()).update(filter(None, wanted.split(",")))
    return tuple(f"{name}:{','.join(sorted(actions[name]))}" for name in sorted(actions))


@dataclass(frozen=True, slots=True)
class Token:
    """`fresh_until`: on the clock `time.monotonic`, a while before it expires."""

    value: str
    fresh_until: float

    def __repr__(self) -> str:
        return f"Token(fresh_until={self.fresh_until})"

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() < self.fresh_until


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


def basic_header(credentials: Credentials) -> str:
    """User and password for the header `Authorization` (RFC 7617)."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def is_fit(token: str) -> bool:
    """True if a token may stand in a header."""
    return bool(_FIT.fullmatch(token))


def fetch_token(
    send: Send, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials | None
) -> Token:
    """A token for `scopes`; anonymous without credentials.

    Raises:
        RegistryDenied: the server refuses the credentials.
        RegistryUnavailable: it answers something else.
    """
    realm = Url(challenge.parameters.get("realm", ""))
    service = challenge.parameters.get("service", "")
    started = time.monotonic()
    if credentials is not None and credentials.identity_token:
        answer = _by_refresh_token(send, realm, service, scopes, credentials)
    else:
        answer = _by_password(send, realm, service, scopes, credentials)
    if answer.status in (400, 401, 403):
        source = f"those of {credentials.source}" if credentials else "none were sent"
        raise RegistryDenied(
            f"{realm.host} refuses the credentials ({source}); log in again with `podman login` "
            "or `docker login`"
        )
    if answer.status != 200:
        raise error_for(answer, f"cannot get a token from {realm.host}")
    return _read(answer, realm.host, started)


def _by_password(
    send: Send,
    realm: Url,
    service: str,
    scopes: tuple[str, ...],
    credentials: Credentials | None,
) -> Answer:
    query: list[tuple[str, str]] = []
    if service:
        query.append(("service", service))
    query += [("scope", scope) for scope in scopes]
    query.append(("client_id", _CLIENT))
    headers = {}
    if credentials is not None and credentials.username:
        query.append(("account", credentials.username))
        headers["Authorization"] = basic_header(credentials)
    return send("GET", str(realm.with_query(query)), headers, b"")


def _by_refresh_token(
    send: Send,
    realm: Url,
    service: str,
    scopes: tuple[str, ...],
    credentials: Credentials,
) -> Answer:
    form = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": _CLIENT,
        "scope": " ".join(scopes),
        "refresh_token": credentials.identity_token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return send("POST", str(realm), headers, urlencode(form).encode("ascii"))


def _read(answer: Answer, host: str, started: float) -> Token:
    try:
        token = msgspec.json.decode(answer.body, type=_TokenAnswer, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RegistryUnavailable(f"{host} answers with something that is not a token") from None
    value = token.token or token.access_token or ""
    if not is_fit(value):
        raise RegistryUnavailable(f"{host} answers without a usable token; ask its operator")
    life = token.expires_in if token.expires_in and token.expires_in > 0 else _SHORTEST
    return Token(value, started + life - min(15.0, life * 0.2))
