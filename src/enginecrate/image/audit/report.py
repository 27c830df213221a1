"""The report of an audit: its findings, and those that do not count, as JSON holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from enginecrate.image.audit.rules.rule_data import Severity

__all__ = ["AuditReport", "Finding", "Ignored", "ImageAudit", "Waiver"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A breach of a rule, with its severity and its cure.

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
    """A finding that does not count, and the reason."""

    finding: Finding
    reason: str


class Waiver(msgspec.Struct, frozen=True):
    """A rule that the user does not apply, and the reason."""

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
    """The digest of the manifest, or of the index when there are several platforms."""
    images: tuple[ImageAudit, ...]

    @property
    def findings(self) -> Sequence[Finding]:
        """The findings of all platforms."""
        return [finding for image in self.images for finding in image.findings]

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each severity, worst first."""
        counts = Counter(finding.severity for finding in self.findings)
        return {str(severity): counts[severity] for severity in Severity}

    def at_least(self, severity: Severity) -> Sequence[Finding]:
        """The findings that are this bad, or worse."""
        return [one for one in self.findings if one.severity.rank <= severity.rank]
