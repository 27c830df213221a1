"""The audit of an image's hardening, as verification wants it: what is above `info`."""

from __future__ import annotations

from collections.abc import Mapping

from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.open_subject import Seen
from enginecrate.image.audit.report import Severity
from enginecrate.image.transports.base import Place

__all__ = ["audit_hardening"]


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
