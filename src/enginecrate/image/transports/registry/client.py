"""Requests to one registry: with authentication, redirects, retries and limits.

Secrets go to the registry and to its authorization server, never to the target of a redirect.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from enginecrate.errors import ImageError, RegistryUnavailable
from enginecrate.http_client import Client, ExchangeFailed, Response, Timeouts, Url, UrlInvalid
from enginecrate.image.transports.registry.authorization import Authenticator
from enginecrate.image.transports.registry.credentials import Credentials
from enginecrate.image.transports.registry.habits import UploadHabits
from enginecrate.image.transports.registry.options import RegistryOptions, api_host, is_loopback
from enginecrate.image.transports.registry.responses import (
    Answer,
    error_for,
    read_limited,
    refuse_page,
)
from enginecrate.image.transports.registry.retries import RETRYABLE, RetryableError, retry_after
from enginecrate.image.transports.registry.tls import speaks_plain_http, tls_context, translate
from enginecrate.version import __version__

__all__ = ["Call", "Connection"]

_MAX_REDIRECTS = 5
_MAX_ANSWER = 1 << 20
_SLOW_ANSWER = 300.0
"""Seconds: a registry may hash and move a large blob before it answers the end of an upload."""
_SLICE = 1 << 18
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    path: below the host, or a whole URL that the registry gave.
    what: for messages, `cannot pull sha256:... from HOST/isv/app`.
    content: bytes, or a function that makes an iterable anew for each try.
    limit: bytes of the answer's body.
    """

    method: str
    path: str
    what: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Callable[[], Iterable[bytes]] = b""
    limit: int = _MAX_ANSWER


class Connection:
    """The way to one registry. Thread-safe; its sockets close with it, or when it is forgotten."""

    def __init__(
        self, registry: str, find: Callable[[], Credentials | None], options: RegistryOptions
    ) -> None:
        self.registry, self.options = registry, options
        self.habits = UploadHabits()
        self._plain_allowed = options.insecure or is_loopback(registry)
        self._client = _make_client(registry, options)
        self._authenticator = Authenticator(
            registry, find, self._send_to_authority, secure=not options.insecure
        )
        self._lock = threading.Lock()
        self._base: Url | None = None
        self._reached = False
        self._closing = weakref.finalize(self, self._client.close)

    def close(self) -> None:
        self._closing()

    def call(self, call: Call) -> Answer:
        """The whole answer, whatever its status, after retries where they can help."""
        return self.options.retry.run(lambda: self.call_once(call))

    def call_once(self, call: Call) -> Answer:
        """The same with one try. Raises `RetryableError` when another one may help."""
        with self.open_once(call) as response:
            try:
                body = read_limited(response, call.limit, self.registry)
            except ExchangeFailed as exc:
                raise translate(exc, call.what, self.registry) from exc
            answer = Answer(response.status, response.headers, body, response.url)
            if self._is_own(response.url):
                refuse_page(answer, call.what)
            return answer

    @contextmanager
    def open_once(self, call: Call) -> Iterator[Response]:
        """An answer whose body is still to be read. `RetryableError`: another try may help."""
        response = self._exchange(call)
        try:
            if response.status in RETRYABLE:
                answer = self._refusal(response)
                raise RetryableError(error_for(answer, call.what), retry_after(response.headers))
            yield response
        finally:
            response.close()

    def url(self, path: str) -> Url:
        """A whole URL. An address of the registry itself over plain HTTP stays with TLS."""
        base = self._find_base()
        try:
            url = base.join(path)
        except UrlInvalid as exc:
            raise translate(exc, f"cannot follow an address of {self.registry}", path) from exc
        if url.host == base.host and url.scheme == "http" and base.scheme == "https":
            port = base.port if url.port in (None, 80) else url.port
            url = url.secured(port)
        return url

    def _refusal(self, response: Response) -> Answer:
        """An answer whose words are for people; without them when they do not arrive."""
        try:
            body = read_limited(response, _MAX_ANSWER, self.registry)
        except (ExchangeFailed, ImageError):
            body = b""
        return Answer(response.status, response.headers, body, response.url)

    def _exchange(self, call: Call) -> Response:
        authorization = self._authenticator.header(call.scopes)
        response = self._follow(call, authorization)
        if not self._is_own(response.url):
            return response
        if response.status == 403 and self._authenticator.fault is not None:
            response.close()
            raise self._authenticator.fault
        if response.status != 401:
            return response
        response.close()
        authorization = self._authenticator.answer(response, call.scopes, authorization)
        response = self._follow(call, authorization)
        if response.status == 401:
            response.close()
            raise self._authenticator.denied(response)
        return response

    def _follow(self, call: Call, authorization: str) -> Response:
        method, url, content = call.method, self.url(call.path), call.content
        for _ in range(_MAX_REDIRECTS + 1):
            self._check(url)
            headers = dict(call.headers)
            if authorization and self._is_own(url):
                headers["Authorization"] = authorization
            response = self._send(method, url, headers, content, call.what)
            target = response.headers.get("location", "")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            url = self.url(str(_joined(url, target)))
            if response.status == 303 and method != "HEAD":
                method, content = "GET", b""
        raise RegistryUnavailable(f"{call.what}: more than {_MAX_REDIRECTS} redirects")

    def _send(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        content: bytes | Callable[[], Iterable[bytes]],
        what: str,
    ) -> Response:
        body: Iterable[bytes] | bytes | None = content() if callable(content) else content or None
        if isinstance(body, bytes):
            headers = {"Content-Length": str(len(body)), **headers}
            body = _slices(body)
        slow = _SLOW_ANSWER if method == "PUT" else self.options.timeout
        timeouts = _timeouts(self.options, read=slow)
        try:
            response = self._client.send(
                method, url, headers=headers, content=body, timeouts=timeouts
            )
        except (ExchangeFailed, UrlInvalid) as exc:
            raise translate(exc, what, str(url.host), reached=self._reached) from exc
        self._reached = True
        return response

    def _send_to_authority(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> Answer:
        what = f"cannot get a token for {self.registry}"
        response = self._send(method, Url(url), headers, content, what)
        try:
            body = read_limited(response, _MAX_ANSWER, response.url.host)
        except ExchangeFailed as exc:
            raise translate(exc, what, self.registry) from exc
        finally:
            response.close()
        answer = Answer(response.status, response.headers, body, response.url)
        if answer.status in RETRYABLE:
            raise RetryableError(error_for(answer, what), retry_after(answer.headers))
        return answer

    def _find_base(self) -> Url:
        """`https://HOST`; where plain HTTP is allowed, TLS is tried first."""
        with self._lock:
            if self._base is None:
                host = api_host(self.registry)
                secure = not self._plain_allowed or self._speaks_tls(host)
                self._base = Url(f"{'https' if secure else 'http'}://{host}")
            return self._base

    def _speaks_tls(self, host: str) -> bool:
        try:
            with self._client.send("GET", Url(f"https://{host}/v2/")):
                return True
        except ExchangeFailed as exc:
            return not speaks_plain_http(exc)

    def _is_own(self, url: Url) -> bool:
        base = self._find_base()
        return (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)

    def _check(self, url: Url) -> None:
        allowed = ("https", "http") if self._plain_allowed else ("https",)
        if url.scheme not in allowed or not url.host:
            raise RegistryUnavailable(
                f"{self.registry} redirects to {url.scheme}://{url.host}, which is not secure; "
                "ask its operator, or allow plain HTTP with --insecure"
            )


def _joined(url: Url, target: str) -> Url:
    try:
        return url.join(target)
    except UrlInvalid as exc:
        raise RegistryUnavailable(f"{url.host} redirects to something that is no URL") from exc


def _make_client(registry: str, options: RegistryOptions) -> Client:
    context = tls_context(registry, options.ca_file)
    return Client(
        _timeouts(options, read=options.timeout),
        tls=context,
        pace=options.pace,
        headers={"User-Agent": f"enginecrate/{__version__}", "Accept-Encoding": "identity"},
    )


def _slices(body: bytes) -> Iterator[bytes]:
    """The body in slices: the layers below copy each of them more than once."""
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]


def _timeouts(options: RegistryOptions, *, read: float) -> Timeouts:
    """The timeouts of a request; workers wait for a free connection as long as it takes."""
    write, connect = options.timeout, options.connect_timeout
    return Timeouts(connect=connect, read=read, write=write, pool=None)
