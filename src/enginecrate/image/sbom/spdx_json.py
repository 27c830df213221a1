"""A bill of materials as SPDX 2.3 JSON (ISO/IEC 5962). The same bill gives the same bytes."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from enginecrate.errors import MissingExtra
from enginecrate.image.sbom.licences import parse_expression
from enginecrate.image.sbom.model import Component, Kind, Link, Sbom, Subject
from enginecrate.version import __version__

if TYPE_CHECKING:
    from spdx_tools.spdx.model.actor import Actor
    from spdx_tools.spdx.model.document import CreationInfo, Document
    from spdx_tools.spdx.model.package import ExternalPackageRef, Package
    from spdx_tools.spdx.model.relationship import Relationship

__all__ = ["render_spdx", "spdx_document"]

_PURPOSES = {
    Kind.BASE: "CONTAINER",
    Kind.SYSTEM: "OPERATING_SYSTEM",
    Kind.DEB: "LIBRARY",
    Kind.WHEEL: "LIBRARY",
    Kind.VENDORED: "LIBRARY",
    Kind.APP: "APPLICATION",
    Kind.MODEL: "FILE",
    Kind.PLAN: "FILE",
    Kind.DATA: "FILE",
}
_LINKS = {
    Link.CONTAINS: "CONTAINS",
    Link.DEPENDS_ON: "DEPENDS_ON",
    Link.MADE_FROM: "GENERATED_FROM",
}


def render_spdx(sbom: Sbom) -> bytes:
    """The document; namespace and time come from the image.

    Raises:
        MissingExtra: spdx-tools is not installed.
    """
    document = spdx_document(sbom)
    from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter

    plain = DocumentConverter().convert(document)  # type: ignore[no-untyped-call]
    return msgspec.json.encode(plain, order="sorted")


def spdx_document(sbom: Sbom) -> Document:
    """The document as spdx-tools knows it. Raises `MissingExtra`."""
    try:
        from spdx_tools.spdx.model.document import Document
        from spdx_tools.spdx.model.extracted_licensing_info import ExtractedLicensingInfo
    except ImportError as exc:
        raise MissingExtra("spdx-tools", extra="image") from exc
    return Document(
        creation_info=_creation(sbom.subject),
        packages=[_image(sbom.subject), *map(_package, sbom.components)],
        relationships=list(_relationships(sbom)),
        extracted_licensing_info=[
            ExtractedLicensingInfo(license_id=name, extracted_text=text, license_name=name)
            for name, text in sbom.licence_texts.items()
        ],
    )


def _creation(subject: Subject) -> CreationInfo:
    from spdx_tools.spdx.model.actor import Actor, ActorType
    from spdx_tools.spdx.model.document import CreationInfo

    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"io.enginecrate.sbom:{subject.digest}")
    author = [_organization(subject.supplier)] if subject.supplier else []
    return CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=f"{subject.name}-{subject.version or subject.digest}",
        document_namespace=f"urn:uuid:{serial}",
        creators=[*author, Actor(ActorType.TOOL, f"enginecrate-{__version__}")],
        created=datetime.fromisoformat(subject.created),
    )


def _image(subject: Subject) -> Package:
    from spdx_tools.spdx.model.package import Package, PackagePurpose
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    return Package(
        spdx_id=_id(subject.ref),
        name=subject.name,
        version=subject.version or subject.digest,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        supplier=_organization(subject.supplier) if subject.supplier else SpdxNoAssertion(),
        checksums=_checksums(subject.digest.removeprefix("sha256:")),
        license_declared=_licence(subject.licence),
        license_concluded=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        description=subject.summary or None,
        external_references=list(_references(subject.purl)),
        primary_package_purpose=PackagePurpose.CONTAINER,
    )


def _package(component: Component) -> Package:
    from spdx_tools.spdx.model.package import Package, PackagePurpose
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    return Package(
        spdx_id=_id(component.ref),
        name=component.name,
        version=component.version or None,
        file_name=f"/{component.path}" if component.path else None,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        supplier=_organization(component.supplier) if component.supplier else SpdxNoAssertion(),
        originator=_organization(component.author) if component.author else None,
        checksums=_checksums(component.sha256),
        homepage=component.homepage or None,
        license_declared=_licence(component.licence),
        license_concluded=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        summary=component.summary or None,
        comment="from the base image" if component.from_base else None,
        external_references=list(_references(component.purl)),
        primary_package_purpose=PackagePurpose[_PURPOSES[component.kind]],
    )


def _relationships(sbom: Sbom) -> Iterator[Relationship]:
    from spdx_tools.spdx.model.relationship import Relationship, RelationshipType

    describes = RelationshipType.DESCRIBES
    yield Relationship("SPDXRef-DOCUMENT", describes, _id(sbom.subject.ref))
    for relation in sbom.relations:
        yield Relationship(
            _id(relation.source), RelationshipType[_LINKS[relation.link]], _id(relation.target)
        )


def _organization(name: str) -> Actor:
    """SPDX asks whether it is a person; packages do not say, so all are organizations."""
    from spdx_tools.spdx.model.actor import Actor, ActorType

    return Actor(ActorType.ORGANIZATION, name.replace("(", "[").replace(")", "]"))


def _checksums(sha256: str) -> list[Any]:
    from spdx_tools.spdx.model.checksum import Checksum, ChecksumAlgorithm

    return [Checksum(ChecksumAlgorithm.SHA256, sha256)] if sha256 else []


def _licence(expression: str) -> Any:
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    return parse_expression(expression) if expression else SpdxNoAssertion()


def _references(purl: str) -> Iterator[ExternalPackageRef]:
    from spdx_tools.spdx.model.package import ExternalPackageRef, ExternalPackageRefCategory

    if purl:
        yield ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)


def _id(ref: str) -> str:
    """SPDX takes letters, digits, dots and dashes: what is lost is told apart by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", ref)
    end = (
        "" if plain == ref.replace("/", "-") else f"-{hashlib.sha256(ref.encode()).hexdigest()[:8]}"
    )
    return f"SPDXRef-{plain}{end}"
