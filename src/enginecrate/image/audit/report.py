"""What an audit says: severities, rules, findings and the report, as they are written to JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec

__all__ = ["AuditReport", "Finding", "Ignored", "ImageAudit", "Rule", "Severity", "Waiver"]


class Severity(StrEnum):
    """How bad a finding is, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an image must be. Every field but `id` and `severity` is a text for people."""

    id: str
    title: str
    severity: Severity
    looks_at: str
    why: str
    sources: tuple[str, ...]
    cure: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place where an image breaks a rule.

    path: in the image, without a leading slash; empty when it is not about a file.
    layer: from 1, lowest first; 0 when it is not about a layer.
    line: of the file, from 1; 0 when it is not about a line.
    """

    rule: str
    title: str
    severity: Severity
    message: str
    path: str = ""
    layer: int = 0
    line: int = 0
    cure: str


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that does not count, and why."""

    finding: Finding
    reason: str


class Waiver(msgspec.Struct, frozen=True):
    """A rule that the user does not apply, and why."""

    rule: str
    reason: str = "no reason given"


class ImageAudit(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of one platform's image. `layers`: their digests, lowest first."""

    platform: str
    digest: str
    layers: tuple[str, ...]
    entries: int
    """Files, folders and links of the merged tree."""
    findings: tuple[Finding, ...]
    """Worst first."""
    ignored: tuple[Ignored, ...]


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of an image, with all of its platforms."""

    format: int = 1
    image: str
    digest: str
    """Of the manifest, or of the index when there are several platforms."""
    images: tuple[ImageAudit, ...]

    @property
    def findings(self) -> Sequence[Finding]:
        """Of all platforms."""
        return [finding for image in self.images for finding in image.findings]

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity, worst first."""
        found = Counter(finding.severity for finding in self.findings)
        return {str(severity): found[severity] for severity in Severity}

    def at_least(self, severity: Severity) -> Sequence[Finding]:
        """The findings that are this bad, or worse."""
        return [one for one in self.findings if one.severity.rank <= severity.rank]
