"""Options of a verification, and its report: one row for each check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from enginecrate.errors import VerificationFailed, VerificationIncomplete
from enginecrate.release.boot.container import ContainerRuntime

__all__ = ["Check", "VerifyOptions", "VerifyReport", "failed", "passed", "skipped"]

Status = Literal["passed", "failed", "skipped"]


class Check(msgspec.Struct, frozen=True):
    """One row. `skipped`: it could not run, which is never as good as passed."""

    name: str
    status: Status
    detail: str


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """All rows about one image.

    release_digest, app, version: of the signed release; empty when no trusted key has signed it.
    """

    reference: str
    digest: str
    release_digest: str = ""
    app: str = ""
    version: str = ""
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Status:
        """`failed` when anything failed; `skipped` when anything could not run; else `passed`."""
        statuses = {one.status for one in self.checks}
        return (
            "failed" if "failed" in statuses else "skipped" if "skipped" in statuses else "passed"
        )

    def demand(self) -> None:
        """Raises `VerificationFailed` or `VerificationIncomplete` unless everything passed."""
        if self.verdict == "failed":
            raise VerificationFailed(self._words("failed", "do not run it"))
        if self.verdict == "skipped":
            raise VerificationIncomplete(
                self._words("skipped", "nothing is wrong with what could be examined")
            )

    def _words(self, status: Status, end: str) -> str:
        lines = [f"  {one.name}: {one.detail}" for one in self.checks if one.status == status]
        count = "1 check" if len(lines) == 1 else f"{len(lines)} checks"
        return "\n".join([f"{self.reference}: {count} {status}; {end}", *lines])


def passed(name: str, detail: str) -> Check:
    """A row that passed."""
    return Check(name, "passed", detail)


def failed(name: str, detail: str) -> Check:
    """A row that failed."""
    return Check(name, "failed", detail)


def skipped(name: str, detail: str) -> Check:
    """A row that could not run."""
    return Check(name, "skipped", detail)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Options: how far verification goes.

    app: that the image must be of; empty: any that the keys have signed.
    release_digest: that the release manifest must have; empty: any that the keys have signed.
    runtime: what boots the image; `None`: there is nothing, and the check is skipped.
    no_boot: why it is not booted, when the user wants that.
    audit: the rules of hardening are applied; else that check is skipped.
    """

    app: str = ""
    release_digest: str = ""
    runtime: ContainerRuntime | None = None
    no_boot: str = ""
    audit: bool = False
    memory_bytes: int = 2 << 30
    boot_seconds: float = 180
