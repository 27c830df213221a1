"""Errors of requests: nothing that another library raises leaves this package."""

from __future__ import annotations

__all__ = [
    "ConnectionBroken",
    "ConnectionFailed",
    "ExchangeFailed",
    "ExchangeTimeout",
    "ProxyFailed",
    "SchemeUnknown",
    "TransferSlow",
    "UrlInvalid",
]


class UrlInvalid(Exception):
    """A text that is no URL."""

    name = "InvalidURL"


class ExchangeFailed(Exception):
    """A request got no whole answer.

    name: the fault's usual name, `ConnectError` or `ReadTimeout`, for messages.
    """

    def __init__(self, words: str, name: str) -> None:
        self.name = name
        super().__init__(words)


class ConnectionFailed(ExchangeFailed):
    """No connection could be made: the name, the port, TLS."""


class ConnectionBroken(ExchangeFailed):
    """A connection broke, or what came through it is not HTTP."""


class ExchangeTimeout(ExchangeFailed):
    """One of the timeouts passed."""


class TransferSlow(ExchangeFailed):
    """Bytes arrive, but too few of them for the transfer to end."""

    def __init__(self, words: str) -> None:
        super().__init__(words, "TooSlow")


class ProxyFailed(ExchangeFailed):
    """The proxy does not let the request through."""


class SchemeUnknown(ExchangeFailed):
    """A URL whose scheme is neither `http` nor `https`."""
