"""The header `Authorization` for each request: nothing, Basic, or a token that is still fresh."""

from __future__ import annotations

import threading
from collections.abc import Callable

from enginecrate.errors import EnginecrateError, RegistryDenied, SettingInvalid
from enginecrate.http_client import Response, Url, UrlInvalid
from enginecrate.image.transports.registry.credentials import Credentials
from enginecrate.image.transports.registry.options import is_loopback
from enginecrate.image.transports.registry.tokens import (
    Challenge,
    Send,
    Token,
    basic_header,
    fetch_token,
    is_fit,
    merge_scopes,
    parse_challenges,
)

__all__ = ["Authenticator"]

_Scopes = tuple[str, ...]


class Authenticator:
    """The credentials for one registry, once it has refused a request. Thread-safe.

    registry: its name, for messages.
    find: looks the user's credentials up; called once, and only when they are needed. When it
        fails, all that is free for anybody still works; its error comes where a login is needed.
    send: reaches the authorization server.
    secure: tokens may only be fetched over TLS, or from this machine for a registry on it.
    """

    def __init__(
        self,
        registry: str,
        find: Callable[[], Credentials | None],
        send: Send,
        *,
        secure: bool = True,
    ) -> None:
        self._registry, self._find, self._send, self._secure = registry, find, send, secure
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._credentials: Credentials | None = None
        self._is_looked_up = False
        self.fault: SettingInvalid | None = None
        """The reason why there are no credentials, if one is known."""
        self._tokens: dict[_Scopes, Token] = {}
        self._widened: dict[_Scopes, _Scopes] = {}

    def header(self, scopes: _Scopes) -> str:
        """The header's value for a request that needs `scopes`; empty: send none."""
        with self._lock:
            return self._header(scopes)

    def answer(self, response: Response, scopes: _Scopes, refused: str) -> str:
        """The value for another try after a 401.

        Args:
            response: the 401.
            scopes: those that the request needs.
            refused: the value that it was sent with.

        Raises:
            RegistryDenied: nothing is left to try.
        """
        with self._lock:
            current = self._header(scopes) if self._challenge else ""
            if current and current != refused:
                return current  # another thread was faster
            self._challenge = self._choose(response)
            asked = self._challenge.parameters.get("scope", "").split()
            self._widened[scopes] = merge_scopes([*scopes, *asked])
            self._tokens.pop(scopes, None)
            fresh = self._header(scopes)
            if not fresh or (fresh == refused):
                raise self.denied(response)
            return fresh

    def _choose(self, response: Response) -> Challenge:
        known = parse_challenges(response.headers.get("www-authenticate", ""))
        for scheme in ("bearer", "basic"):
            for challenge in known:
                if challenge.scheme == scheme:
                    self._look_up()
                    return challenge
        raise self.denied(response)

    def _look_up(self) -> None:
        if not self._is_looked_up:
            self._is_looked_up = True
            try:
                self._credentials = self._find()
            except SettingInvalid as exc:
                self.fault = exc

    def _header(self, scopes: _Scopes) -> str:
        if self._challenge is None:
            return ""
        own = self._credentials
        if self._challenge.scheme == "basic":
            return basic_header(own) if own is not None and own.username else ""
        if own is not None and is_fit(own.registry_token):
            return f"Bearer {own.registry_token}"
        token = self._tokens.get(scopes)
        if token is None or not token.is_fresh:
            self._check_realm(self._challenge)
            wanted = self._widened.get(scopes, scopes)
            try:
                token = fetch_token(self._send, self._challenge, wanted, own)
            except RegistryDenied as exc:
                if self.fault is None:
                    raise
                raise self.fault from exc
            self._tokens[scopes] = token
        return f"Bearer {token.value}"

    def _check_realm(self, challenge: Challenge) -> None:
        try:
            realm = Url(challenge.parameters.get("realm", ""))
        except UrlInvalid:
            realm = Url("")
        # Plain HTTP needs no permission on this machine alone, and so do tokens.
        host = f"[{realm.host}]" if ":" in realm.host else realm.host
        plain = not self._secure or (is_loopback(self._registry) and is_loopback(host))
        allowed = ("https", "http") if plain else ("https",)
        if realm.scheme not in allowed or not realm.host or realm.has_userinfo:
            raise RegistryDenied(
                f"{self._registry} wants tokens from {realm.scheme or 'nowhere'}://{realm.host}, "
                "where a password must not be sent; ask its operator for an https:// address"
            )

    def denied(self, response: Response) -> EnginecrateError:
        """The error for a 401 that cannot be helped."""
        own = self._credentials
        if self.fault is not None:
            return self.fault
        if own is None:
            return RegistryDenied(
                f"{self._registry} wants a login, and no auth file has one for it; run "
                f"`podman login {self._registry}` or `docker login {self._registry}`"
            )
        lacking = "insufficient_scope" in response.headers.get("www-authenticate", "")
        return RegistryDenied(
            f"{self._registry} refuses the login of {own.source}: "
            + (
                "it does not include the right to do this; ask its operator for it"
                if lacking
                else f"log in again with `podman login {self._registry}`"
            )
        )
