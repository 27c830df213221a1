"""An HTTP client: the one package that knows which library sends the requests.

Nothing is followed, retried or decoded unless the caller says so. Errors are translated:

    UrlInvalid
    ExchangeFailed            no whole answer came back
        ConnectionFailed      no connection could be made
        ConnectionBroken      it broke, or the other side does not keep to HTTP
        ExchangeTimeout
        TransferSlow          bytes arrive, but too few of them
        ProxyFailed
        SchemeUnknown         neither http nor https

A proxy of the environment that cannot be used is `errors.SettingInvalid`, once a request needs it.
"""

from __future__ import annotations

from enginecrate.http_client.client import Client, Response, Timeouts, Url
from enginecrate.http_client.failures import (
    ConnectionBroken,
    ConnectionFailed,
    ExchangeFailed,
    ExchangeTimeout,
    ProxyFailed,
    SchemeUnknown,
    TransferSlow,
    UrlInvalid,
)
from enginecrate.http_client.network import Pace

__all__ = [
    "Client",
    "ConnectionBroken",
    "ConnectionFailed",
    "ExchangeFailed",
    "ExchangeTimeout",
    "Pace",
    "ProxyFailed",
    "Response",
    "SchemeUnknown",
    "Timeouts",
    "TransferSlow",
    "Url",
    "UrlInvalid",
]
