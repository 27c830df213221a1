"""Options for registries: trust, speed, patience; and the hosts that answer for their names."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from enginecrate.http_client import Pace
from enginecrate.image.transports.registry.retries import Retry

__all__ = [
    "RegistryOptions",
    "api_host",
    "host_name",
    "is_loopback",
    "names_of",
    "repository_path",
]

_HUB = "docker.io"
_HUB_API = "registry-1.docker.io"
_HUB_NAMES = (_HUB, "index.docker.io", _HUB_API)
"""Docker Hub answers elsewhere than its name says, and auth files know it by all of these."""


_PACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """The choices of a caller; the defaults are right for public registries.

    ca_file: certificates (PEM) that are trusted beside those of the system.
    insecure: plain HTTP may be spoken to any registry, not only to one on this machine.
    downloads: folder where broken downloads wait to be resumed by another run; none: only within
        this run.
    chunk_size: bytes; larger blobs are sent in pieces of this size, each of which is in memory.
    connect_timeout, timeout: seconds for a connection, and for each step on it.
    min_rate: bytes a second that must arrive while an answer is read; 0: any.
    """

    ca_file: Path | None = None
    insecure: bool = False
    downloads: Path | None = None
    retry: Retry = field(default_factory=Retry)
    chunk_size: int = 16 << 20
    connect_timeout: float = 15.0
    timeout: float = 60.0
    min_rate: int = 1024

    @property
    def pace(self) -> Pace | None:
        """The same over a time in which a line may falter."""
        return Pace(self.min_rate, _PACE_SECONDS) if self.min_rate else None


def api_host(registry: str) -> str:
    """Host, and port if any, of the registry's API."""
    return _HUB_API if host_name(registry) in _HUB_NAMES else registry


def host_name(registry: str) -> str:
    """The one spelling of a registry: in small letters, without the port that goes without saying.

    `Registry.example.com:443` and `registry.example.com` are one.
    """
    return registry.lower().removesuffix(":443")


def names_of(registry: str) -> tuple[str, ...]:
    """The names under which auth files know a registry, as `host_name` spells them."""
    host = host_name(registry)
    return _HUB_NAMES if host in _HUB_NAMES else (host,)


def repository_path(registry: str, repository: str) -> str:
    """The repository in the API; Docker Hub keeps images without a vendor under `library/`."""
    bare = host_name(registry) in _HUB_NAMES and "/" not in repository
    return f"library/{repository}" if bare else repository


def is_loopback(registry: str) -> bool:
    """True if it is on this machine: `localhost`, 127.0.0.0/8 or `[::1]`, with any port."""
    registry = registry.lower()
    host = registry.rpartition("]")[0].lstrip("[") or registry.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
