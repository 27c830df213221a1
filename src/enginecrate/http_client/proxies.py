"""Proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and `NO_PROXY`.

Sources: curl(1), "ENVIRONMENT"; Go, golang.org/x/net/http/httpproxy, which docker and podman use.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote, urlsplit

from enginecrate.errors import SettingInvalid

__all__ = ["Proxies", "Proxy", "is_loopback_host"]

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_ALIASES = {"socks": "socks5h"}
"""Desktops write `socks://`."""
_VARIABLES = {"https": ("https_proxy", "all_proxy"), "http": ("http_proxy", "all_proxy")}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy server.

    scheme: `http`, `https`, `socks5` or `socks5h`. host: without brackets.
    """

    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        return self.scheme.startswith("socks")

    @property
    def address(self) -> str:
        """For messages; without its password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Exception:
    """An entry of `NO_PROXY`: hosts that are reached directly.

    network: of addresses; else `suffix` is a name. below: names below `suffix` alone count.
    """

    network: _Network | None = None
    suffix: str = ""
    below: bool = False
    port: int | None = None
    scheme: str = ""

    def covers(self, scheme: str, host: str, port: int | None) -> bool:
        if self.scheme and self.scheme != scheme:
            return False
        if self.port is not None and self.port != (port or _DEFAULT_PORTS.get(scheme)):
            return False
        address = _address(host)
        if self.network is not None:
            return address is not None and address in self.network
        if self.suffix == "":
            return True
        if address is not None:
            return False
        return host.endswith(f".{self.suffix}") or (not self.below and host == self.suffix)


class Proxies:
    """The proxies that the environment names. Names in small letters win, as with curl.

    unusable: entries of `NO_PROXY` that are left aside, since they are no host, address or network.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._named: dict[str, tuple[str, str]] = {}
        for name in ("https_proxy", "http_proxy", "all_proxy"):
            for variable in (name, name.upper()):
                if variable in environment:
                    self._named[name] = (variable, environment[variable].strip())
                    break
        exceptions = environment.get("no_proxy", environment.get("NO_PROXY", ""))
        self._exceptions: list[_Exception] = []
        self.unusable: list[str] = []
        for entry in filter(None, re.split(r"[,;\s]+", exceptions)):
            exception = _exception(entry)
            if exception is None:
                self.unusable.append(entry)
            else:
                self._exceptions.append(exception)

    def choose(self, scheme: str, host: str, port: int | None = None) -> Proxy | None:
        """The proxy for a host, or `None`: it is reached directly, as this machine always is.

        Args:
            scheme: `http` or `https`.
            host: a name, or an address without brackets.
            port: `None`: the scheme's own.

        Raises:
            SettingInvalid: a proxy is needed, and its variable names none that can be used.
        """
        host = host.lower().rstrip(".")
        if is_loopback_host(host) or any(e.covers(scheme, host, port) for e in self._exceptions):
            return None
        for name in _VARIABLES.get(scheme, ()):
            variable, text = self._named.get(name, ("", ""))
            if text:
                for entry in self.unusable:
                    _warn(entry)
                return _parse(variable, text)
        return None

    def all(self) -> list[tuple[str, Proxy | SettingInvalid]]:
        """Each variable that is set, with its proxy, or with what is wrong about it."""
        listed: list[tuple[str, Proxy | SettingInvalid]] = []
        for variable, text in self._named.values():
            if text:
                try:
                    listed.append((variable, _parse(variable, text)))
                except SettingInvalid as exc:
                    listed.append((variable, exc))
        return listed


def is_loopback_host(host: str) -> bool:
    """True for `localhost` and addresses of this machine itself, without brackets."""
    address = _address(host.lower())
    return host.lower() == "localhost" or (address is not None and address.is_loopback)


@cache
def _warn(entry: str) -> None:
    """Say it once."""
    logging.getLogger(__name__).warning(
        "NO_PROXY: %r is no host, address or network; it is left aside", entry
    )


def _parse(variable: str, text: str) -> Proxy:
    cure = (
        "write http://HOST:PORT, https://HOST:PORT or socks5h://HOST:PORT, unset it, or name this "
        "host in NO_PROXY"
    )
    whole = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(whole)
        scheme = _ALIASES.get(parts.scheme.lower(), parts.scheme.lower())
        host, port = (parts.hostname or "").partition("%")[0], parts.port
    except ValueError:
        raise SettingInvalid(f"{variable} is not the address of a proxy; {cure}") from None
    if scheme not in _PORTS:
        shown = scheme if re.fullmatch(r"[a-z0-9+.-]{1,20}", scheme) else "something else"
        raise SettingInvalid(
            f"{variable} names a proxy of the kind {shown}, which is not spoken; {cure}"
        )
    if not host or not (_HOST.fullmatch(host) or _address(host)) or port == 0:
        raise SettingInvalid(f"{variable} does not name a host of a proxy; {cure}")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if scheme.startswith("socks") and max(len(username.encode()), len(password.encode())) > 255:
        raise SettingInvalid(f"{variable}: SOCKS takes at most 255 bytes of name and password")
    return Proxy(scheme, host, port or _PORTS[scheme], username, password)


def _exception(entry: str) -> _Exception | None:
    """An entry of `NO_PROXY`; `None`: it cannot be understood."""
    scheme, separator, rest = entry.lower().partition("://")
    scheme, rest = (scheme, rest) if separator else ("", entry.lower())
    rest = rest.rstrip("/") if "/" in rest and rest.endswith("/") else rest
    network = _network(rest)
    if network is not None:
        return _Exception(network=network, scheme=scheme)
    host, port = _split_port(rest)
    if port == 0:
        return None
    network = _network(host)
    if network is not None:
        return _Exception(network=network, port=port, scheme=scheme)
    if host == "*":
        return _Exception(port=port, scheme=scheme)
    below = host.startswith((".", "*."))
    suffix = host.removeprefix("*").removeprefix(".").rstrip(".")
    if not _HOST.fullmatch(suffix):
        return None
    return _Exception(suffix=suffix, below=below, port=port, scheme=scheme)


def _split_port(text: str) -> tuple[str, int | None]:
    """Host and port, if any; a port of 0 stands for one that is none."""
    if ":" not in text or text.endswith("]"):
        return text, None
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16):
        return text, 0
    return host, int(port)


def _network(text: str) -> _Network | None:
    """An address, or a network (`10.0.0.0/8`, `fd00::/8`), with or without brackets."""
    text, _, length = text.partition("/")
    text = re.sub(r"^\[(.*)\]$", r"\1", text)
    address = _address(text)
    if address is None:
        return None
    try:
        return ipaddress.ip_network(f"{address}/{length}" if length else address, strict=False)
    except ValueError:
        return None


def _address(text: str) -> _Address | None:
    """An address without brackets and zone; one of IPv4 in IPv6's form is that of IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
