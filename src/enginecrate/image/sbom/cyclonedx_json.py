"""A bill of materials as CycloneDX 1.6 JSON (ECMA-424). The same bill gives the same bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from enginecrate.errors import MissingExtra
from enginecrate.image.sbom.licences import spdx_id
from enginecrate.image.sbom.model import Component, Kind, Link, Sbom, Subject
from enginecrate.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component as Entry
    from cyclonedx.model.license import License

__all__ = ["render_cyclonedx"]

_PREFIX = "io.enginecrate."
_TYPES = {
    Kind.BASE: "container",
    Kind.SYSTEM: "operating-system",
    Kind.DEB: "library",
    Kind.WHEEL: "library",
    Kind.VENDORED: "library",
    Kind.APP: "application",
    Kind.MODEL: "machine-learning-model",
    Kind.PLAN: "machine-learning-model",
    Kind.DATA: "data",
}


def render_cyclonedx(sbom: Sbom) -> bytes:
    """The document; serial number and time come from the image.

    Raises:
        MissingExtra: cyclonedx-python-lib is not installed.
    """
    try:
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    text = JsonV1Dot6(_bom(sbom)).output_as_string()
    return msgspec.json.encode(msgspec.json.decode(text), order="sorted")


def _bom(sbom: Sbom) -> Bom:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.contact import OrganizationalEntity
    from cyclonedx.model.dependency import Dependency

    components = {one.ref: _component(one, sbom) for one in sbom.components}
    image = _image(sbom.subject)
    supplier = sbom.subject.supplier
    document = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{_PREFIX}sbom:{sbom.subject.digest}"),
        components=components.values(),
        metadata=BomMetaData(
            component=image,
            timestamp=datetime.fromisoformat(sbom.subject.created),
            tools=_tools(),
            supplier=OrganizationalEntity(name=supplier) if supplier else None,
            manufacturer=OrganizationalEntity(name=supplier) if supplier else None,
            properties=[Property(name=f"{_PREFIX}platform", value=sbom.subject.platform)],
        ),
    )
    known = {**components, sbom.subject.ref: image}
    needs: dict[str, list[str]] = {ref: [] for ref in known}
    for relation in sbom.relations:
        needs[relation.source].append(relation.target)
    document.dependencies.update(
        Dependency(known[ref].bom_ref, [Dependency(known[need].bom_ref) for need in needs[ref]])
        for ref in needs
    )
    return document


def _tools() -> Any:
    from cyclonedx.model.component import Component as Tool
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository

    tool = Tool(type=ComponentType.APPLICATION, name="enginecrate", version=__version__)
    return ToolRepository(components=[tool])


def _image(subject: Subject) -> Entry:
    from cyclonedx.model.component import Component as Output
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.contact import OrganizationalEntity
    from packageurl import PackageURL

    return Output(
        type=ComponentType.CONTAINER,
        bom_ref=subject.ref,
        name=subject.name,
        version=subject.version or subject.digest,
        description=subject.summary or None,
        purl=PackageURL.from_string(subject.purl),
        supplier=OrganizationalEntity(name=subject.supplier) if subject.supplier else None,
        hashes=_hashes(subject.digest.removeprefix("sha256:")),
        licenses=list(_licences(subject.licence, {})),
    )


def _component(component: Component, sbom: Sbom) -> Entry:
    from cyclonedx.model.component import Component as Output
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
    from packageurl import PackageURL

    return Output(
        type=ComponentType(_TYPES[component.kind]),
        bom_ref=component.ref,
        name=component.name,
        version=component.version or None,
        description=component.summary or None,
        purl=PackageURL.from_string(component.purl) if component.purl else None,
        supplier=OrganizationalEntity(name=component.supplier) if component.supplier else None,
        authors=[OrganizationalContact(name=component.author)] if component.author else None,
        hashes=_hashes(component.sha256),
        licenses=list(_licences(component.licence, sbom.licence_texts)),
        external_references=list(_references(component)),
        properties=list(_properties(component, sbom)),
    )


def _hashes(sha256: str) -> list[Any] | None:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else None


def _licences(expression: str, texts: Any) -> Iterator[License]:
    """An identifier, a name with its text, or an expression."""
    from cyclonedx.model import AttachedText
    from cyclonedx.model.license import (
        DisjunctiveLicense,
        LicenseAcknowledgement,
        LicenseExpression,
    )

    declared = LicenseAcknowledgement.DECLARED
    if not expression:
        return
    if expression in texts:
        text = AttachedText(content=texts[expression])
        yield DisjunctiveLicense(name=expression, text=text, acknowledgement=declared)
    elif spdx_id(expression) == expression:
        yield DisjunctiveLicense(id=expression, acknowledgement=declared)
    else:
        yield LicenseExpression(expression, acknowledgement=declared)


def _references(component: Component) -> Iterator[Any]:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri

    if component.homepage:
        yield ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(component.homepage))


def _properties(component: Component, sbom: Sbom) -> Iterator[Any]:
    """Facts without a field in the standard: the path, and the model of a plan."""
    from cyclonedx.model import Property

    yield Property(name=f"{_PREFIX}kind", value=str(component.kind))
    if component.from_base:
        yield Property(name=f"{_PREFIX}from-base-image", value="true")
    if component.path:
        yield Property(name=f"{_PREFIX}path", value=f"/{component.path}")
    for relation in sbom.relations:
        if relation.source == component.ref and relation.link is Link.MADE_FROM:
            yield Property(name=f"{_PREFIX}made-from", value=relation.target)
