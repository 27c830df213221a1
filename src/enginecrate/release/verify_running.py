"""Verification, third part: hardening, and what happens when the image is started."""

from __future__ import annotations

import platform as machine
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enginecrate.errors import EnginecrateError
from enginecrate.image.audit.opening import Seen
from enginecrate.image.places.place import Place
from enginecrate.release.booting import ContainerRuntime, boot
from enginecrate.release.case import Case
from enginecrate.release.checks import Check, failed, passed, skipped
from enginecrate.release.opened import OpenedImage, OpenedPlatform

__all__ = ["Audit", "VerifyOptions", "examine_boot", "examine_hardening", "platform_here"]

Audit = Callable[[Place, str, Mapping[str, Seen]], list[str]]
"""Looks at the hardening of the image with a digest, and gives the findings above `info`.

It gets what was read already by the digest of its platform."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How far verification goes.

    runtime: what boots the image; `None`: there is nothing, and the check is skipped.
    no_boot: why it is not booted, when the user wants that.
    audit: of the hardening; `None`: it is skipped.
    """

    runtime: ContainerRuntime | None = None
    no_boot: str = ""
    audit: Audit | None = None
    memory_bytes: int = 2 << 30
    boot_seconds: float = 180


def examine_hardening(case: Case, options: VerifyOptions) -> None:
    """The rules of `enginecrate audit` find nothing above `info`."""
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
    platform = platform_here(case.image)
    reason = _why_not(case, platform, options)
    if reason or platform is None or options.runtime is None:
        case.skip(reason, "boot", "golden")
        return
    try:
        outcome = boot(
            case.place,
            platform,
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


def platform_here(image: OpenedImage) -> OpenedPlatform | None:
    """The platform of an image that this machine runs."""
    here = f"linux/{_architecture()}"
    return next(
        (one for one in image.platforms if one.platform.split("/")[:2] == here.split("/")), None
    )


def _why_not(case: Case, platform: OpenedPlatform | None, options: VerifyOptions) -> str:
    if case.has_failed:
        return "something above failed, so the image was not started"
    if options.no_boot:
        return options.no_boot
    if options.runtime is None:
        return "there is no podman or docker here that works"
    if platform is None:
        return f"the image is not for this machine ({_architecture()})"
    return ""


def _golden(case: Case, samples: int) -> Check:
    if samples:
        return passed("golden", f"{samples} golden samples gave the expected results")
    if case.release and case.release.golden:
        return failed("golden", "the release lists golden samples, and the container proved none")
    return skipped("golden", "the app has no golden samples, so nothing is proven")


def _architecture() -> str:
    return _ARCHITECTURES.get(machine.machine(), machine.machine())
