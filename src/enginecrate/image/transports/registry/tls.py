"""TLS with registries: trusted certificates, our own ones, and failures below HTTP in words.

Sources: dockerd, "Verify repository client with certificates"; containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from enginecrate.errors import EnginecrateError, RegistryUnavailable, SettingInvalid
from enginecrate.http_client import (
    ConnectionBroken,
    ConnectionFailed,
    ExchangeFailed,
    ExchangeTimeout,
    ProxyFailed,
    TransferSlow,
    UrlInvalid,
)
from enginecrate.image.transports.registry.retries import RetryableError

__all__ = ["speaks_plain_http", "tls_context", "translate"]

_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "HTTP_REQUEST",
)


def _certificate_folders(registry: str, environment: dict[str, str] | None = None) -> list[Path]:
    """Folders of docker's and podman's that hold certificates for `registry` (`host[:port]`)."""
    home = (os.environ if environment is None else environment).get("HOME", "")
    roots = [Path(home, ".config/containers/certs.d")] if home else []
    roots += [Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")]
    bare = registry.removesuffix(":443")
    names = dict.fromkeys([registry, bare, bare.lower(), f"{bare}:443"])
    return [root / name for root in roots for name in names if (root / name).is_dir()]


def tls_context(registry: str, ca_file: Path | None = None) -> ssl.SSLContext:
    """A context that checks the registry's certificate; there is no way to leave that out.

    Trusted are the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others), those in
    `ca_file`, and `*.crt` in the registry's folders, where `*.cert` with `*.key` is our own.

    Raises:
        SettingInvalid: a file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509"] and not _has_system_folder():
        import certifi

        context.load_verify_locations(certifi.where())
    for path in _authorities(registry, ca_file):
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as exc:
            raise SettingInvalid(
                f"cannot use the certificates in {path}: {exc.strerror or exc}; "
                "it must be a file of certificates in PEM form"
            ) from exc
    for path in _own(registry):
        try:
            context.load_cert_chain(path, path.with_suffix(".key"))
        except (OSError, ssl.SSLError) as exc:
            raise SettingInvalid(
                f"cannot use the client certificate {path} with its .key: {exc.strerror or exc}"
            ) from exc
    return context


def _has_system_folder() -> bool:
    """A folder of certificates is read during the handshake, so it does not count in the store."""
    folder = ssl.get_default_verify_paths().capath
    return bool(folder) and any(Path(str(folder)).glob("*.0"))


def _authorities(registry: str, ca_file: Path | None) -> Iterator[Path]:
    if ca_file is not None:
        yield ca_file
    for folder in _certificate_folders(registry):
        yield from sorted(folder.glob("*.crt"))


def _own(registry: str) -> Iterator[Path]:
    for folder in _certificate_folders(registry):
        yield from sorted(folder.glob("*.cert"))


def speaks_plain_http(exc: ExchangeFailed) -> bool:
    """True if a server that was greeted with TLS answered with something else, or hung up.

    A proxy that cannot reach it hides which of them it was; then plain HTTP is worth a try, too.
    """
    if isinstance(exc, ProxyFailed):
        return True
    ends = ("UNEXPECTED_EOF", "disconnected", "reset by peer")
    return _is_not_tls(exc) or any(end in str(exc) for end in ends)


def translate(
    exc: ExchangeFailed | UrlInvalid, what: str, host: str, *, reached: bool = True
) -> EnginecrateError | RetryableError:
    """Our error for one of the client's; a `RetryableError` when another try may help.

    reached: the host has answered before; if not, its name or port is probably wrong, and another
        try only makes people wait.
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
    if isinstance(exc, TransferSlow):
        return RegistryUnavailable(
            f"{what}: {host} sends too slowly ({words}); run the command again later, or allow it "
            "with ENGINECRATE_REGISTRY_MIN_RATE=0"
        )
    if isinstance(exc, ProxyFailed):
        return RegistryUnavailable(
            f"{what}: no way to {host} through the proxy ({words[:200]}); check HTTPS_PROXY, "
            "HTTP_PROXY and ALL_PROXY, or name the host in NO_PROXY"
        )
    error = RegistryUnavailable(
        f"{what}: the connection to {host} fails ({exc.name}: {words[:200]}); "
        "check the name, the network and the proxy settings, and run the command again"
    )
    if isinstance(exc, ConnectionFailed):
        return RetryableError(error) if reached else error
    return RetryableError(error) if isinstance(exc, ConnectionBroken | ExchangeTimeout) else error


def _is_not_tls(exc: Exception) -> bool:
    words = str(exc).upper().replace(" ", "_")
    return any(sign in words for sign in _NOT_TLS)
