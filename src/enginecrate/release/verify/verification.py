"""Verify a release: everything about one image, as rows that passed, failed or were skipped.

Nothing but the source is asked: no transparency log, no time stamps, no service. It proves
who signed, and that nothing was changed since; it does not prove when.
"""

from __future__ import annotations

from enginecrate.errors import EnginecrateError
from enginecrate.image.transports.base import ImageSource
from enginecrate.release.content.source_cache import SourceCache
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.unreachable import UNREACHABLE
from enginecrate.release.verify.blobs import examine_attached, examine_stored
from enginecrate.release.verify.boot import examine_boot
from enginecrate.release.verify.contents import examine_contents
from enginecrate.release.verify.context import VerificationContext, open_context
from enginecrate.release.verify.hardening import examine_hardening
from enginecrate.release.verify.report import VerifyOptions, VerifyReport, failed, skipped
from enginecrate.release.verify.signatures import (
    examine_reference,
    examine_release,
    examine_signatures,
)
from enginecrate.values import Progress, no_progress

__all__ = ["CHECKS", "VerifyOptions", "verify_image"]

CHECKS = (
    "reference", "release", "signatures", "blobs", "attachments", "statements", "sbom", "plans",
    "hardening", "boot", "golden",
)  # fmt: skip
"""The names of all rows, in their order."""


def verify_image(
    transport: ImageSource,
    name: str,
    trust: Trust,
    options: VerifyOptions | None = None,
    progress: Progress = no_progress,
) -> VerifyReport:
    """Verify the image that a tag or digest names, with all that its release lists.

    Args:
        transport: where it is.
        name: tag or digest.
        trust: whose signatures count.
        options: default: without boot and without an audit of its hardening.
        progress: counts bytes of layers, and names what takes long.

    Returns:
        The rows. A fault is a row that failed, and what cannot be reached is one that was
        skipped; only an image that is not there, or cannot be reached at all, raises.

    Raises:
        ImageNotFound: nothing has this name.
        RegistryUnavailable, RegistryDenied: the registry does not answer.
    """
    options = options or VerifyOptions()
    source = SourceCache(transport)
    descriptor = source.resolve(name)
    try:
        context = open_context(source, name, descriptor, trust)
    except UNREACHABLE:
        raise
    except EnginecrateError as exc:
        unread = tuple(
            skipped(name, "the image cannot be read") for name in CHECKS if name != "blobs"
        )
        checks = (failed("blobs", str(exc)), *unread)
        return VerifyReport(
            reference=f"{transport.name} {name}", digest=descriptor.digest, checks=checks
        )
    examine_reference(context, transport)
    examine_release(context, options)
    examine_signatures(context)
    examine_stored(context, progress)
    examine_attached(context)
    examine_contents(context)
    progress("apply the rules of hardening", 0, 0)
    examine_hardening(context, options)
    progress("start the image", 0, 0)
    examine_boot(context, options)
    return _report(context)


def _report(context: VerificationContext) -> VerifyReport:
    """The report; it names app and version only when enough trusted keys have signed them."""
    app, version = (context.app, context.version) if context.is_trusted else ("", "")
    if context.release:
        app, version = context.release.app, context.release.version
    return VerifyReport(
        reference=f"{context.transport.name} {context.name}",
        digest=context.digest,
        release_digest=context.release_digest or "",
        app=app,
        version=version,
        checks=tuple(context.checks),
    )
