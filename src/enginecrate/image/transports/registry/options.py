"""How registries are spoken to: trust, speed, patience."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from enginecrate.image.transports.registry.retries import Retry

__all__ = ["RegistryOptions"]


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """Everything that a caller may choose; the defaults are right for public registries.

    ca_file: certificates (PEM) that are trusted beside those of the system.
    insecure: plain HTTP may be spoken to any registry, not only to one on this machine.
    downloads: folder where broken downloads wait to be resumed by another run; none: only within
        this run.
    chunk_size: bytes; larger blobs are sent in pieces of this size, each of which is in memory.
    connect_timeout, timeout: seconds for a connection, and for each step on it.
    """

    ca_file: Path | None = None
    insecure: bool = False
    downloads: Path | None = None
    retry: Retry = field(default_factory=Retry)
    chunk_size: int = 16 << 20
    connect_timeout: float = 15.0
    timeout: float = 60.0
