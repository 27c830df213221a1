"""The client, its answers and its URLs: the file that knows httpx."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpcore
import httpx

from enginecrate.http_client.failures import (
    ConnectionBroken,
    ConnectionFailed,
    ExchangeFailed,
    ExchangeTimeout,
    ProxyFailed,
    SchemeUnknown,
    UrlInvalid,
)
from enginecrate.http_client.network import Backend, Pace, head_limit
from enginecrate.http_client.proxies import Proxies, Proxy

__all__ = ["Client", "Response", "Timeouts", "Url"]

_MOST_CONNECTIONS, _MOST_IDLE, _IDLE_SECONDS = 100, 20, 5.0

_KINDS: tuple[tuple[type[httpx.HTTPError], type[ExchangeFailed]], ...] = (
    (httpx.TimeoutException, ExchangeTimeout),
    (httpx.ProxyError, ProxyFailed),
    (httpx.UnsupportedProtocol, SchemeUnknown),
    (httpx.ConnectError, ConnectionFailed),
    (httpx.TransportError, ConnectionBroken),
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise UrlInvalid(str(exc)) from exc
    except httpx.HTTPError as exc:
        kind = next((ours for theirs, ours in _KINDS if isinstance(exc, theirs)), ExchangeFailed)
        raise kind(str(exc), type(exc).__name__) from exc


class Url:
    """A URL, or a relative reference (RFC 3986). `str` gives it whole.

    Raises:
        UrlInvalid: it is none.
    """

    __slots__ = ("_url",)

    def __init__(self, text: str) -> None:
        with _translated():
            self._url = httpx.URL(text)

    def __str__(self) -> str:
        return str(self._url)

    @classmethod
    def _wrap(cls, url: httpx.URL) -> Self:
        wrapped = cls.__new__(cls)
        wrapped._url = url
        return wrapped

    @property
    def scheme(self) -> str:
        """In small letters; empty in a relative reference."""
        return self._url.scheme

    @property
    def host(self) -> str:
        """In small letters, without the brackets of an IPv6 address."""
        return self._url.host

    @property
    def port(self) -> int | None:
        """`None` where it is the scheme's own."""
        return self._url.port

    @property
    def has_userinfo(self) -> bool:
        """Whether a user or a password stands in it."""
        return bool(self._url.userinfo)

    def join(self, reference: str) -> Url:
        """The address that a reference leads to from here. Raises `UrlInvalid`."""
        with _translated():
            return self._wrap(self._url.join(reference))

    def secured(self, port: int | None) -> Url:
        """The same with `https` and another port."""
        return self._wrap(self._url.copy_with(scheme="https", port=port))

    def with_query(self, pairs: Sequence[tuple[str, str]]) -> Url:
        """With these parameters instead of those of the same names."""
        query = httpx.QueryParams(list(pairs))
        return self._wrap(self._url.copy_merge_params(query))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `pool`: to wait for a free connection. `None`: as long as it takes."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None


class Response:
    """An answer whose body is still to be read. It closes with its `with` block."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.reason = response.reason_phrase
        self.headers: Mapping[str, str] = response.headers
        """Names in any case."""
        self.url = Url._wrap(response.request.url)

    def pieces(self, size: int | None = None) -> Iterator[bytes]:
        """The body as it was sent, undecoded. Raises `ExchangeFailed`."""
        with _translated():
            yield from self._response.iter_raw(size)

    def read(self) -> bytes:
        """The whole body, decoded. Raises `ExchangeFailed`."""
        with _translated():
            return self._response.read()

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Transport(httpx.HTTPTransport):
    """A pool of connections that are made by our own backend, through one proxy or none."""

    def __init__(self, context: ssl.SSLContext, proxy: Proxy | None, pace: Pace | None) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None or proxy.is_socks else _http_proxy(proxy, context),
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=Backend(pace, proxy),
        )


class _Routes(httpx.BaseTransport):
    """A transport for each proxy; which one is taken depends on each request's host."""

    def __init__(self, tls: ssl.SSLContext | None, pace: Pace | None, *, environment: bool) -> None:
        self._tls, self._pace, self._environment = tls, pace, environment
        self._proxies = Proxies(None if environment else {})
        self._lock = threading.Lock()
        self._transports: dict[Proxy | None, _Transport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        proxy = self._proxies.choose(url.scheme, url.host, url.port)
        return self._transport(proxy).handle_request(request)

    def _transport(self, proxy: Proxy | None) -> _Transport:
        with self._lock:
            if self._tls is None:
                self._tls = httpx.create_ssl_context(trust_env=self._environment)
            if proxy not in self._transports:
                self._transports[proxy] = _Transport(self._tls, proxy, self._pace)
            return self._transports[proxy]

    def close(self) -> None:
        with self._lock:
            for transport in self._transports.values():
                transport.close()


def _http_proxy(proxy: Proxy, context: ssl.SSLContext) -> httpcore.Proxy:
    login = (proxy.username.encode(), proxy.password.encode())
    return httpcore.Proxy(
        httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/"),
        auth=login if proxy.username or proxy.password else None,
        ssl_context=context if proxy.scheme == "https" else None,
    )


class Client:
    """Sends requests, and keeps connections for the next ones. Thread-safe.

    timeouts: of a request that has none of its own.
    tls: checks certificates; `None`: the certificates that come with the library do.
    headers: of every request.
    environment: whether proxies come from the environment (`HTTPS_PROXY`, `NO_PROXY` ...), and,
        without `tls`, authorities from `SSL_CERT_FILE` and `SSL_CERT_DIR`. This machine itself is
        always reached directly.
    pace: the least that must arrive; `None`: a transfer may take as long as it likes.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        environment: bool = True,
        pace: Pace | None = None,
    ) -> None:
        self._client = httpx.Client(
            transport=_Routes(tls, pace, environment=environment),
            trust_env=False,
            follow_redirects=False,
            timeout=_native(timeouts),
            headers=headers,
        )

    def send(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        timeouts: Timeouts | None = None,
    ) -> Response:
        """Send a request, and wait for the head of the answer. Redirects are not followed.

        Args:
            method: in capitals.
            url: a whole one.
            headers: besides the client's.
            content: the body. One in pieces is sent in chunks, unless `headers` says its length.
            timeouts: instead of the client's.

        Raises:
            ExchangeFailed: no answer came.
            UrlInvalid: something in the request cannot be sent.
            SettingInvalid: the environment names a proxy that cannot be used.
        """
        timeout = httpx.USE_CLIENT_DEFAULT if timeouts is None else _native(timeouts)
        with _translated(), head_limit():
            request = self._client.build_request(
                method, url._url, headers=headers, content=content, timeout=timeout
            )
            return Response(self._client.send(request, stream=True))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _native(timeouts: Timeouts) -> httpx.Timeout:
    return httpx.Timeout(
        connect=timeouts.connect,
        read=timeouts.read,
        write=timeouts.write,
        pool=timeouts.pool,
    )
