"""What went wrong below HTTP, in words: names, connections, certificates."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, RegistryUnavailable
from enginecrate.http_client import (
    ConnectionBroken,
    ConnectionFailed,
    ExchangeFailed,
    ExchangeTimeout,
    ProxyFailed,
    UrlInvalid,
)
from enginecrate.image.transports.registry.retries import Again

__all__ = ["speaks_plain_http", "translate"]

_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
)


def speaks_plain_http(exc: ExchangeFailed) -> bool:
    """Whether a server that was greeted with TLS answered with something else, or hung up.

    A proxy that cannot reach it hides which of them it was; then plain HTTP is worth a try, too.
    """
    if isinstance(exc, ProxyFailed):
        return True
    return _is_not_tls(exc) or "UNEXPECTED_EOF" in str(exc) or "disconnected" in str(exc)


def translate(
    exc: ExchangeFailed | UrlInvalid, what: str, host: str, *, reached: bool = True
) -> EnginecrateError | Again:
    """Our error for one of the client's; an `Again` when another try may help.

    reached: whether the host has answered before; if not, its name or port is probably wrong, and
        trying again only makes people wait.
    """
    words = str(exc)
    if "CERTIFICATE_VERIFY_FAILED" in words:
        reason = words.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return RegistryUnavailable(
            f"{what}: the certificate of {host} is not trusted ({reason or 'unknown authority'}); "
            f"name its authority with --ca-file, or in /etc/containers/certs.d/{host}/ca.crt"
        )
    if _is_not_tls(exc):
        return RegistryUnavailable(
            f"{what}: {host} does not speak TLS; if it is a test registry that you trust, "
            "allow plain HTTP with --insecure"
        )
    error = RegistryUnavailable(
        f"{what}: the connection to {host} fails ({exc.name}: {words[:200]}); "
        "check the name, the network and the proxy settings, and run the command again"
    )
    if isinstance(exc, ConnectionFailed):
        return Again(error) if reached else error
    return Again(error) if isinstance(exc, ConnectionBroken | ExchangeTimeout) else error


def _is_not_tls(exc: Exception) -> bool:
    words = str(exc).upper().replace(" ", "_")
    return any(sign in words for sign in _NOT_TLS)
