"""Applies every rule to an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from enginecrate.errors import UsageError, nearest
from enginecrate.image.audit.open_subject import Seen, open_platforms, open_subject
from enginecrate.image.audit.report import AuditReport, Finding, Ignored, ImageAudit, Rule, Waiver
from enginecrate.image.audit.rule_data import load_rules
from enginecrate.image.audit.rules.rules import CHECKS
from enginecrate.image.audit.subject import Found, Subject
from enginecrate.values import Progress, no_progress

if TYPE_CHECKING:
    from enginecrate.image.formats.oci import Descriptor, Platform
    from enginecrate.image.transports.base import ImageSource

__all__ = ["audit_image", "judge"]

_MOST = 1000
"""Findings of one rule; more say nothing new."""


def audit_image(
    transport: ImageSource,
    name: str,
    platform: str = "",
    *,
    waivers: Sequence[Waiver] = (),
    seen: Mapping[str, Seen] | None = None,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit an image: every platform of an index, or one.

    The image is read as a stream, once; nothing is extracted and nothing of it is run.

    Args:
        transport: where the image is.
        name: its tag or digest.
        platform: only this one: `linux/amd64`.
        waivers: rules that do not count, with the reasons.
        seen: files that were read already, by the digest of the platform's manifest.
        progress: counts compressed bytes.

    Raises:
        UsageError: a waiver names an unknown rule.
        ImageNotFound: there is no such image or platform.
        ImageInvalid, ArchiveUnsafe, BlobCorrupt: the image cannot be read to its end.
    """
    reasons = _reasons(waivers)
    top, manifests = open_platforms(transport, name, platform)
    known = seen or {}
    images = [
        _audit(
            open_subject(transport, top, one, name, progress, known.get(one.digest)), one, reasons
        )
        for one in manifests
    ]
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
    opened: tuple[Subject, Platform], one: Descriptor, reasons: Mapping[str, str]
) -> ImageAudit:
    subject, platform = opened
    findings, ignored = judge(subject, reasons)
    return ImageAudit(
        platform=str(one.platform or platform),
        digest=str(one.digest),
        layers=tuple(str(layer.digest) for layer in subject.manifest.layers),
        entries=sum(1 for _ in subject.files),
        findings=tuple(findings),
        ignored=tuple(ignored),
    )


def judge(
    subject: Subject, reasons: Mapping[str, str] | None = None
) -> tuple[list[Finding], list[Ignored]]:
    """Findings that count, worst first, and those that do not.

    Args:
        subject: one platform's image.
        reasons: rules that do not count, with the reasons.
    """
    findings: list[Finding] = []
    ignored: list[Ignored] = []
    for rule in load_rules().values():
        for found in _limited(CHECKS[rule.id](subject)):
            finding = _finding(rule, found)
            reason = (reasons or {}).get(rule.id) or found.reason
            if reason:
                ignored.append(Ignored(finding=finding, reason=reason))
            else:
                findings.append(finding)
    findings.sort(key=_order)
    ignored.sort(key=lambda one: _order(one.finding))
    return findings, ignored


def _limited(founds: Iterator[Found]) -> Iterator[Found]:
    for number, found in enumerate(founds):
        if number == _MOST:
            yield Found(f"there are more than {_MOST} of them: the others are left out")
            return
        yield found


def _finding(rule: Rule, found: Found) -> Finding:
    return Finding(
        rule=rule.id,
        title=rule.title,
        severity=rule.severity,
        message=found.message,
        path=found.path,
        layer=0 if found.layer is None else found.layer + 1,
        line=found.line,
        cure=rule.cure,
    )


def _order(finding: Finding) -> tuple[int, str, int, str, int, str]:
    return (
        finding.severity.rank, finding.rule, finding.layer, finding.path, finding.line,
        finding.message,
    )  # fmt: skip
