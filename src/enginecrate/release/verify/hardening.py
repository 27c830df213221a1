"""Verification of the hardening: the rules of `enginecrate audit` find nothing above `info`."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.rules.rule_data import Severity
from enginecrate.release.unreachable import fault
from enginecrate.release.verify.context import VerificationContext
from enginecrate.release.verify.report import VerifyOptions

__all__ = ["examine_hardening"]


def examine_hardening(context: VerificationContext, options: VerifyOptions) -> None:
    """Apply every rule to the files that were read for the row `blobs`."""
    if not context.is_trusted:
        context.skip(context.not_unpacked, "hardening")
        return
    if not options.audit:
        context.skip("the audit was not asked for", "hardening")
        return
    with context.section("hardening") as section:
        section.good = "nothing above info was found"
        try:
            section.problems += _findings(context)
        except EnginecrateError as exc:
            section.problems.append(f"the image cannot be audited: {fault(exc)}")


def _findings(context: VerificationContext) -> list[str]:
    """The findings above `info`, one sentence each."""
    report = audit_image(context.transport, context.digest, scanned=context.content.seen)
    return [
        f"{one.severity} {one.rule} {one.message}{f' ({one.path})' if one.path else ''}; {one.cure}"
        for one in report.at_least(Severity.LOW)
    ]
