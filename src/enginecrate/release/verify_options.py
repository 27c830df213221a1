"""How far verification goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enginecrate.image.audit.open_subject import Seen
from enginecrate.image.transports.base import Place
from enginecrate.release.boot.container import ContainerRuntime

__all__ = ["Audit", "VerifyOptions"]

Audit = Callable[[Place, str, Mapping[str, Seen]], list[str]]
"""Looks at the hardening of the image with a digest, and gives the findings above `info`.

It gets what was read already by the digest of its platform."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How far verification goes.

    app: that the image must be of; empty: any that the keys have signed.
    release_digest: that the release manifest must have; empty: any that the keys have signed.
    runtime: what boots the image; `None`: there is nothing, and the check is skipped.
    no_boot: why it is not booted, when the user wants that.
    audit: of the hardening; `None`: it is skipped.
    """

    app: str = ""
    release_digest: str = ""
    runtime: ContainerRuntime | None = None
    no_boot: str = ""
    audit: Audit | None = None
    memory_bytes: int = 2 << 30
    boot_seconds: float = 180
