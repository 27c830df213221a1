"""Verification of the start: the image becomes ready, and its golden samples are proven."""

from __future__ import annotations

from enginecrate.errors import EnginecrateError
from enginecrate.release.boot.container import boot
from enginecrate.release.boot.requirements import Startable, startable_here
from enginecrate.release.unreachable import UNREACHABLE
from enginecrate.release.verify.context import VerificationContext
from enginecrate.release.verify.report import Check, VerifyOptions, failed, passed, skipped

__all__ = ["examine_boot"]


def examine_boot(context: VerificationContext, options: VerifyOptions) -> None:
    """It becomes ready, which means that its golden samples gave the expected results."""
    startable = _startable(context, options)
    if isinstance(startable, str) or options.runtime is None:
        context.skip(str(startable), "boot", "golden")
        return
    try:
        outcome = boot(
            context.transport,
            startable,
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
    """The part of the image that is started; else a sentence that says why nothing is."""
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
    if context.release and not context.release.is_unproven:
        return failed("golden", "the release lists golden samples, and the container proved none")
    return skipped("golden", "the app has no golden samples: it starts, and is unproven")
