"""Bills of materials as documents to attach."""

from __future__ import annotations

from enginecrate.image.sbom.cyclonedx_json import render_cyclonedx
from enginecrate.image.sbom.model import Sbom
from enginecrate.image.sbom.spdx_json import render_spdx
from enginecrate.release.documents.artifacts import CYCLONEDX, SPDX, Attachment

__all__ = ["sbom_attachments"]


def sbom_attachments(sbom: Sbom) -> tuple[Attachment, Attachment]:
    """The same bill in CycloneDX 1.6 and in SPDX 2.3.

    Raises:
        MissingExtra: the extra `image` is not installed.
    """
    return (
        Attachment("sbom-cyclonedx", CYCLONEDX, CYCLONEDX, render_cyclonedx(sbom)),
        Attachment("sbom-spdx", SPDX, SPDX, render_spdx(sbom)),
    )
