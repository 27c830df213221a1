"""Verification, fourth part: hardening, and what happens when the image is started.

The audit of an image's hardening, as verification wants it: what is above `info`.
"""

from __future__ import annotations

from collections.abc import Mapping

from enginecrate.errors import EnginecrateError
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.open_subject import Seen
from enginecrate.image.audit.report import Severity
from enginecrate.image.transports.base import Place
from enginecrate.release.boot.container import boot
from enginecrate.release.boot.requirements import Startable, startable_here
from enginecrate.release.unreachable import CANNOT_LOOK, fault
from enginecrate.release.verify.context import Case
from enginecrate.release.verify.report import Check, VerifyOptions, failed, passed, skipped

__all__ = ["audit_hardening", "examine_boot", "examine_hardening"]


def examine_hardening(case: Case, options: VerifyOptions) -> None:
    """The rules of `enginecrate audit` find nothing above `info`."""
    if not case.is_trusted:
        case.skip(case.not_unpacked, "hardening")
        return
    if options.audit is None:
        case.skip("the rules are not at hand", "hardening")
        return
    with case.row("hardening") as row:
        row.good = "nothing above info was found"
        try:
            row.problems += options.audit(case.place, case.digest, case.stored.seen)
        except EnginecrateError as exc:
            row.problems.append(f"the image cannot be audited: {fault(exc)}")


def examine_boot(case: Case, options: VerifyOptions) -> None:
    """It becomes ready, which means that its golden samples gave the expected results."""
    found = _startable(case, options)
    if isinstance(found, str) or options.runtime is None:
        case.skip(str(found), "boot", "golden")
        return
    try:
        outcome = boot(
            case.place,
            found,
            options.runtime,
            memory_bytes=options.memory_bytes,
            seconds=options.boot_seconds,
        )
    except CANNOT_LOOK as exc:
        case.skip(f"the image could not be started here: {exc}", "boot", "golden")
        return
    except EnginecrateError as exc:
        case.checks.append(failed("boot", str(exc)))
        case.skip("the image did not become ready", "golden")
        return
    shut = f"in {outcome.runtime}, read-only, without capabilities and network"
    case.checks.append(passed("boot", f"ready after {outcome.seconds:.1f} s {shut}"))
    case.checks.append(_golden(case, outcome.golden_samples))


def _startable(case: Case, options: VerifyOptions) -> Startable | str:
    """What is started; a sentence that says why nothing is."""
    if case.image is None or not case.all_passed:
        return "something above did not pass, so the image was not started"
    if options.no_boot:
        return options.no_boot
    if options.runtime is None:
        return "there is no podman or docker here that works"
    return startable_here(case.image)


def _golden(case: Case, samples: int) -> Check:
    if samples:
        return passed("golden", f"{samples} golden samples gave the expected results")
    if case.release and case.release.golden:
        return failed("golden", "the release lists golden samples, and the container proved none")
    return skipped("golden", "the app has no golden samples, so nothing is proven")


def audit_hardening(place: Place, name: str, seen: Mapping[str, Seen]) -> list[str]:
    """The findings above `info`, one sentence each.

    Args:
        place: where the image is.
        name: tag or digest.
        seen: what verification has read already, by the digest of the platform's manifest.

    Raises:
        ImageError: the image cannot be read.
    """
    report = audit_image(place, name, seen=seen)
    return [
        f"{one.severity} {one.rule} {one.message}{f' ({one.path})' if one.path else ''}; {one.cure}"
        for one in report.at_least(Severity.LOW)
    ]
