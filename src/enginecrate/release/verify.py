"""Verify a release: everything about one image, as rows that passed, failed or were skipped.

Nothing outside of the place is asked: no transparency log, no time stamps, no service. It proves
who signed, and that nothing was changed since; it does not prove when.
"""

from __future__ import annotations

from enginecrate.errors import EnginecrateError, RegistryDenied, RegistryUnavailable
from enginecrate.image.places.place import Place
from enginecrate.release.case import Case
from enginecrate.release.checks import VerifyReport, failed, passed, skipped
from enginecrate.release.opened import open_image
from enginecrate.release.trust import Trust
from enginecrate.release.verify_contents import examine_contents
from enginecrate.release.verify_running import VerifyOptions, examine_boot, examine_hardening
from enginecrate.release.verify_signatures import (
    examine_attached,
    examine_release,
    examine_signatures,
    examine_stored,
)
from enginecrate.values import Progress, no_progress

__all__ = ["CHECKS", "VerifyOptions", "verify_image"]

CHECKS = (
    "reference", "release", "signatures", "blobs", "attachments", "statements", "sbom", "plans",
    "hardening", "boot", "golden",
)  # fmt: skip
"""The names of all rows, in their order."""


def verify_image(
    place: Place,
    name: str,
    trust: Trust,
    options: VerifyOptions | None = None,
    progress: Progress = no_progress,
) -> VerifyReport:
    """Verify the image that a tag or digest names, with all that its release lists.

    Args:
        place: where it is.
        name: tag or digest.
        trust: whose signatures count.
        options: default: without boot and without an audit of its hardening.
        progress: counts bytes of layers, and names what takes long.

    Returns:
        The rows. A fault is a row and no exception; only an image that is not there raises.

    Raises:
        ImageNotFound: nothing has this name.
        RegistryUnavailable, RegistryDenied: the registry does not answer.
    """
    options = options or VerifyOptions()
    descriptor = place.resolve(name)
    reference = f"{place.name} {name}"
    try:
        case = Case(place, name, trust, open_image(place, descriptor), options.app)
    except (RegistryUnavailable, RegistryDenied):
        raise
    except EnginecrateError as exc:
        unread = tuple(skipped(row, "the image cannot be read") for row in CHECKS if row != "blobs")
        checks = (failed("blobs", str(exc)), *unread)
        return VerifyReport(reference=reference, digest=descriptor.digest, checks=checks)
    case.checks.append(passed("reference", f"{name} is {descriptor.digest}"))
    examine_release(case)
    examine_signatures(case)
    examine_stored(case, progress)
    examine_attached(case)
    examine_contents(case)
    progress("apply the rules of hardening", 0, 0)
    examine_hardening(case, options)
    progress("start the image", 0, 0)
    examine_boot(case, options)
    return VerifyReport(
        reference=reference,
        digest=descriptor.digest,
        app=case.release.app if case.release else case.app,
        version=case.release.version if case.release else case.version,
        checks=tuple(case.checks),
    )
