"""Verification, fourth part: hardening, and what happens when the image is started.

The audit of an image's hardening, as verification wants it: what is above `info`.
"""

from __future__ import annotations

from collections.abc import Mapping

from enginecrate.errors import EnginecrateError
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.open_subject import Seen
from enginecrate.image.audit.report import Severity
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.boot.container import boot
from enginecrate.release.boot.requirements import Startable, startable_here
from enginecrate.release.unreachable import UNREACHABLE, fault
from enginecrate.release.verify.context import VerificationContext
from enginecrate.release.verify.report import Check, VerifyOptions, failed, passed, skipped

__all__ = ["audit_hardening", "examine_boot", "examine_hardening"]


def examine_hardening(context: VerificationContext, options: VerifyOptions) -> None:
    """The rules of `enginecrate audit` find nothing above `info`."""
    if not context.is_trusted:
        context.skip(context.not_unpacked, "hardening")
        return
    if options.audit is None:
        context.skip("the rules are not at hand", "hardening")
        return
    with context.section("hardening") as section:
        section.good = "nothing above info was found"
        try:
            section.problems += options.audit(
                context.transport, context.digest, context.stored.seen
            )
        except EnginecrateError as exc:
            section.problems.append(f"the image cannot be audited: {fault(exc)}")


def examine_boot(context: VerificationContext, options: VerifyOptions) -> None:
    """It becomes ready, which means that its golden samples gave the expected results."""
    found = _startable(context, options)
    if isinstance(found, str) or options.runtime is None:
        context.skip(str(found), "boot", "golden")
        return
    try:
        outcome = boot(
            context.transport,
            found,
            options.runtime,
            memory_bytes=options.memory_bytes,
            seconds=options.boot_seconds,
        )
    except UNREACHABLE as exc:
        context.skip(f"the image could not be started here: {exc}", "boot", "golden")
        return
    except EnginecrateError as exc:
        context.checks.append(failed("boot", str(exc)))
        context.skip("the image did not become ready", "golden")
        return
    shut = f"in {outcome.runtime}, read-only, without capabilities and network"
    context.checks.append(passed("boot", f"ready after {outcome.seconds:.1f} s {shut}"))
    context.checks.append(_golden(context, outcome.golden_samples))


def _startable(context: VerificationContext, options: VerifyOptions) -> Startable | str:
    """What is started; a sentence that says why nothing is."""
    if context.image is None or not context.all_passed:
        return "something above did not pass, so the image was not started"
    if options.no_boot:
        return options.no_boot
    if options.runtime is None:
        return "there is no podman or docker here that works"
    return startable_here(context.image)


def _golden(context: VerificationContext, samples: int) -> Check:
    if samples:
        return passed("golden", f"{samples} golden samples gave the expected results")
    if context.release and context.release.golden:
        return failed("golden", "the release lists golden samples, and the container proved none")
    return skipped("golden", "the app has no golden samples, so nothing is proven")


def audit_hardening(transport: ImageSource, name: str, seen: Mapping[str, Seen]) -> list[str]:
    """The findings above `info`, one sentence each.

    Args:
        transport: where the image is.
        name: tag or digest.
        seen: what verification has read already, by the digest of the platform's manifest.

    Raises:
        ImageError: the image cannot be read.
    """
    report = audit_image(transport, name, seen=seen)
    return [
        f"{one.severity} {one.rule} {one.message}{f' ({one.path})' if one.path else ''}; {one.cure}"
        for one in report.at_least(Severity.LOW)
    ]
