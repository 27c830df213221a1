"""The audit of an image: every rule is applied to every platform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from enginecrate.errors import (
    ArchiveUnsafe,
    BlobCorrupt,
    ImageInvalid,
    ImageNotFound,
    UsageError,
    nearest,
)
from enginecrate.image.audit.report import AuditReport, Finding, Ignored, ImageAudit, Waiver
from enginecrate.image.audit.rules.checks import CHECKS
from enginecrate.image.audit.rules.redaction import redact, redact_cut
from enginecrate.image.audit.rules.rule_data import Rule, load_rules
from enginecrate.image.audit.rules.subject import Breach, Subject
from enginecrate.image.audit.subject_reader import ScannedFiles, read_platforms, read_subject
from enginecrate.values import Progress, no_progress

if TYPE_CHECKING:
    from enginecrate.image.formats.oci import Descriptor, Platform
    from enginecrate.image.transports.base import ImageSource

__all__ = ["audit_image"]

_MOST = 1000
"""The most findings of one rule; more say nothing new."""


def audit_image(
    transport: ImageSource,
    name: str,
    platform: str = "",
    *,
    waivers: Sequence[Waiver] = (),
    scanned: Mapping[str, ScannedFiles] | None = None,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit an image: every platform of an index, or one.

    The image is read as a stream, once; nothing is extracted and nothing of it is run. Neither the
    report nor the message of an error shows a secret that the image holds.

    Args:
        transport: where the image is.
        name: its tag or digest.
        platform: only this one: `linux/amd64`.
        waivers: rules that do not count, with the reasons.
        scanned: files that were read already, by the digest of the platform's manifest.
        progress: counts compressed bytes.

    Raises:
        UsageError: a waiver names an unknown rule.
        ImageNotFound: there is no such image or platform.
        ImageInvalid, ArchiveUnsafe, BlobCorrupt: the image cannot be read to its end.
    """
    reasons = _reasons(waivers)
    known = scanned or {}
    try:
        top, manifests = read_platforms(transport, name, platform)
        images = [
            _audit(
                read_subject(transport, top, manifest, name, progress, known.get(manifest.digest)),
                manifest,
                reasons,
            )
            for manifest in manifests
        ]
    except (ArchiveUnsafe, BlobCorrupt, ImageInvalid, ImageNotFound) as exc:
        exc.args = (redact_cut(str(exc)),)
        raise
    return AuditReport(
        image=f"{transport.name}:{name}", digest=str(top.digest), images=tuple(images)
    )


def _reasons(waivers: Sequence[Waiver]) -> dict[str, str]:
    rules = load_rules()
    for waiver in waivers:
        if waiver.rule not in rules:
            raise UsageError(
                f"there is no rule {waiver.rule!r}{nearest(waiver.rule, rules)}; "
                "see: enginecrate audit --rules"
            )
    return {waiver.rule: waiver.reason for waiver in waivers}


def _audit(
    read: tuple[Subject, Platform], manifest: Descriptor, reasons: Mapping[str, str]
) -> ImageAudit:
    subject, platform = read
    findings, ignored = _judge(subject, reasons)
    return ImageAudit(
        platform=redact(str(manifest.platform or platform)),
        digest=str(manifest.digest),
        layers=tuple(str(layer.digest) for layer in subject.manifest.layers),
        entries=sum(1 for _ in subject.files),
        findings=tuple(findings),
        ignored=tuple(ignored),
    )


def _judge(
    subject: Subject, reasons: Mapping[str, str]
) -> tuple[list[Finding], list[Ignored]]:  # fmt: skip
    """Findings that count, worst first, and those that do not; `reasons`: of the waivers."""
    findings: list[Finding] = []
    ignored: list[Ignored] = []
    for rule in load_rules().values():
        for breach in _limited(CHECKS[rule.id](subject)):
            finding = _finding(rule, breach)
            reason = reasons.get(rule.id) or breach.reason
            if reason:
                ignored.append(Ignored(finding=finding, reason=reason))
            else:
                findings.append(finding)
    findings.sort(key=_order)
    ignored.sort(key=lambda one: _order(one.finding))
    return findings, ignored


def _limited(breaches: Iterator[Breach]) -> Iterator[Breach]:
    for number, breach in enumerate(breaches):
        if number == _MOST:
            yield Breach(f"there are more than {_MOST} of them: the others are left out")
            return
        yield breach


def _finding(rule: Rule, breach: Breach) -> Finding:
    return Finding(
        rule=rule.id,
        title=rule.title,
        severity=rule.severity,
        message=redact(breach.message),
        path=redact(breach.path),
        layer=0 if breach.layer is None else breach.layer + 1,
        line=breach.line,
        cure=rule.cure,
    )


def _order(finding: Finding) -> tuple[int, str, int, str, int, str]:
    return (
        finding.severity.rank, finding.rule, finding.layer, finding.path, finding.line,
        finding.message,
    )  # fmt: skip
