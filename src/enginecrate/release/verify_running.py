"""Verification, third part: hardening, and what happens when the image is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enginecrate.errors import EnginecrateError
from enginecrate.image.audit.opening import Seen
from enginecrate.image.places.place import Place
from enginecrate.release.booting import ContainerRuntime, boot
from enginecrate.release.case import NOT_TRUSTED, Case
from enginecrate.release.checks import Check, failed, passed, skipped
from enginecrate.release.startable import Startable, startable_here

__all__ = ["Audit", "VerifyOptions", "examine_boot", "examine_hardening"]

Audit = Callable[[Place, str, Mapping[str, Seen]], list[str]]
"""Looks at the hardening of the image with a digest, and gives the findings above `info`.

It gets what was read already by the digest of its platform."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How far verification goes.

    app: that the image must be of; empty: any that the keys have signed.
    runtime: what boots the image; `None`: there is nothing, and the check is skipped.
    no_boot: why it is not booted, when the user wants that.
    audit: of the hardening; `None`: it is skipped.
    """

    app: str = ""
    runtime: ContainerRuntime | None = None
    no_boot: str = ""
    audit: Audit | None = None
    memory_bytes: int = 2 << 30
    boot_seconds: float = 180


def examine_hardening(case: Case, options: VerifyOptions) -> None:
    """The rules of `enginecrate audit` find nothing above `info`."""
    if not case.is_trusted:
        case.skip(NOT_TRUSTED, "hardening")
        return
    if options.audit is None:
        case.skip("the rules are not at hand", "hardening")
        return
    try:
        problems = options.audit(case.place, case.digest, case.stored.seen)
    except EnginecrateError as exc:
        problems = [f"the image cannot be audited: {exc}"]
    case.add("hardening", problems, "nothing above info was found")


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
    except EnginecrateError as exc:
        case.checks.append(failed("boot", str(exc)))
        case.skip("the image did not become ready", "golden")
        return
    shut = f"in {outcome.runtime}, read-only, without capabilities and network"
    case.checks.append(passed("boot", f"ready after {outcome.seconds:.1f} s {shut}"))
    case.checks.append(_golden(case, outcome.golden_samples))


def _startable(case: Case, options: VerifyOptions) -> Startable | str:
    """What is started; a sentence that says why nothing is."""
    if case.has_failed:
        return "something above failed, so the image was not started"
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
