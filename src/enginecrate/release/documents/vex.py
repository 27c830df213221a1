"""VEX files of a user: read, checked, and made a statement about one image.

VEX says which known vulnerabilities matter for a product. OpenVEX and CycloneDX are read; every
statement in the file must be about the image, or about something that is in it.

Source: OpenVEX specification 0.2.0; CycloneDX 1.4 to 1.6, "Vulnerability Exploitability".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec

from enginecrate.errors import MissingExtra, ReleaseInvalid
from enginecrate.files.encoding import utf8
from enginecrate.image.sbom.model import Sbom
from enginecrate.release.documents.artifacts import Attachment
from enginecrate.release.documents.statements import attach_statement, check_time, image_resource

if TYPE_CHECKING:
    from packageurl import PackageURL

__all__ = ["CYCLONEDX_PREDICATE", "OPENVEX_CONTEXT", "read_vex"]

OPENVEX_CONTEXT = "https://openvex.dev/ns"
"""Start of `@context`; the whole of it is the predicate type (OpenVEX, "Attesting")."""
CYCLONEDX_PREDICATE = "https://cyclonedx.org/bom"
_CURE = "name the image by its digest, or a package as the SBOM has it (purl)"
T = TypeVar("T")
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Product(msgspec.Struct, frozen=True):
    id: str = msgspec.field(default="", name="@id")
    identifiers: dict[str, str] = {}
    hashes: dict[str, str] = {}


class _Vulnerability(msgspec.Struct, frozen=True):
    name: _Text


class _Statement(msgspec.Struct, frozen=True):
    vulnerability: _Vulnerability
    status: Literal["not_affected", "affected", "fixed", "under_investigation"]
    products: tuple[_Product, ...] = ()
    timestamp: str = ""
    justification: Literal[
        "",
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    ] = ""
    impact_statement: str = ""
    action_statement: str = ""


class _OpenVex(msgspec.Struct, frozen=True):
    context: str = msgspec.field(name="@context")
    id: _Text = msgspec.field(name="@id")
    author: _Text
    timestamp: str
    version: Annotated[int, msgspec.Meta(ge=1)]
    statements: Annotated[tuple[_Statement, ...], msgspec.Meta(min_length=1)]


class _Analysis(msgspec.Struct, frozen=True):
    state: Literal[
        "resolved",
        "resolved_with_pedigree",
        "exploitable",
        "in_triage",
        "false_positive",
        "not_affected",
    ]


class _Affected(msgspec.Struct, frozen=True):
    ref: _Text


class _Assessed(msgspec.Struct, frozen=True):
    id: _Text
    analysis: _Analysis
    affects: Annotated[tuple[_Affected, ...], msgspec.Meta(min_length=1)]


class _CycloneDx(msgspec.Struct, frozen=True, rename="camel"):
    bom_format: Literal["CycloneDX"]
    spec_version: Literal["1.4", "1.5", "1.6"]
    vulnerabilities: Annotated[tuple[_Assessed, ...], msgspec.Meta(min_length=1)]


def read_vex(
    data: bytes, sbom: Sbom, digests: Iterable[str] = (), where: str = "VEX file"
) -> Attachment:
    """A VEX file as a document to sign and attach; what it says is not changed.

    Args:
        data: the file, OpenVEX or CycloneDX, in JSON.
        sbom: of the image.
        digests: more of the same image, as that of its index.
        where: the file's name, for messages.

    Raises:
        ReleaseInvalid: it follows neither format, or has a statement about something that is
            neither the image nor in it.
    """
    keys = _decode(data, dict[str, msgspec.Raw], where)
    products = _Products(sbom, digests)
    if "bomFormat" in keys:
        predicate_type = CYCLONEDX_PREDICATE
        problems = _cyclonedx_problems(_decode(data, _CycloneDx, where), sbom, products)
    else:
        document = _decode(data, _OpenVex, where)
        predicate_type = document.context
        problems = _openvex_problems(document, products, where)
    if faults := list(problems):
        raise ReleaseInvalid(f"{where}: {'; '.join(faults)}")
    predicate = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(utf8(data)), order="sorted"))
    return attach_statement("vex", [image_resource(sbom.subject)], predicate_type, predicate)


def _decode(data: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(utf8(data), type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise ReleaseInvalid(
            f"{where} is no VEX file in OpenVEX or CycloneDX: {exc}; correct it, or make one with "
            "vexctl"
        ) from exc


def _openvex_problems(document: _OpenVex, products: _Products, where: str) -> Iterator[str]:
    if not document.context.startswith(OPENVEX_CONTEXT):
        yield f"@context is {document.context!r}, and OpenVEX has {OPENVEX_CONTEXT}/v0.2.0"
    check_time(document.timestamp, f"timestamp of {where}")
    for statement in document.statements:
        name = statement.vulnerability.name
        if statement.timestamp:
            check_time(statement.timestamp, f"timestamp of {name} in {where}")
        reasons = statement.justification or statement.impact_statement
        if statement.status == "not_affected" and not reasons:
            yield f"{name} is not_affected without justification or impact_statement; say why"
        if statement.status == "affected" and not statement.action_statement:
            yield f"{name} is affected without action_statement; say what users should do"
        if statement.products and not any(_is_here(one, products) for one in statement.products):
            listed = ", ".join(map(_title, statement.products))
            yield f"{name} is about {listed}, which is neither this image nor in it; {_CURE}"


def _is_here(product: _Product, products: _Products) -> bool:
    """A digest decides where there is one, since a name alone may be another build."""
    if sha256 := product.hashes.get("sha-256"):
        return products.has_digest(sha256)
    names = (product.id, product.identifiers.get("purl", ""))
    return any(products.has_purl(one) for one in names if one.startswith("pkg:"))


def _title(product: _Product) -> str:
    named = product.id or product.identifiers.get("purl", "") or str(dict(product.hashes))
    return named or "a product without a name"


def _cyclonedx_problems(document: _CycloneDx, sbom: Sbom, products: _Products) -> Iterator[str]:
    refs = {sbom.subject.ref, *(one.ref for one in sbom.components)}
    for assessed in document.vulnerabilities:
        for affected in assessed.affects:
            ref = affected.ref.rpartition("#")[2] if affected.ref.startswith("urn:cdx:") else ""
            if ref not in refs and affected.ref not in refs and not products.has_purl(affected.ref):
                yield f"{assessed.id} is about {affected.ref}, which is not in this image; {_CURE}"


class _Products:
    """The image of a bill and everything in it, by package URL and by sha256."""

    def __init__(self, sbom: Sbom, digests: Iterable[str] = ()) -> None:
        """`digests`: more of the same image, as that of its index."""
        own = {sbom.subject.digest, *digests}
        self._sha256 = {one.removeprefix("sha256:") for one in own}
        self._sha256.update(one.sha256 for one in sbom.components if one.sha256)
        purls = (sbom.subject.purl, *(one.purl for one in sbom.components))
        self._purls = [_parse(one) for one in purls if one]
        self._images = {f"sha256:{one}" for one in self._sha256}

    def has_digest(self, sha256: str) -> bool:
        """`sha256`: in hex, with or without its name before it."""
        return sha256.lower().removeprefix("sha256:") in self._sha256

    def has_purl(self, text: str) -> bool:
        """True when a package URL means something here.

        Without a version it means every version; qualifiers that it has must be the same. An image
        (`pkg:oci`) is compared by its digest alone, since it may lie in any repository.
        """
        try:
            purl = _parse(text)
        except ValueError:
            return False
        if purl.type == "oci":
            return purl.version in self._images
        return any(_means(purl, one) for one in self._purls)


def _parse(text: str) -> PackageURL:
    try:
        from packageurl import PackageURL
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    return PackageURL.from_string(text)


def _means(wanted: PackageURL, here: PackageURL) -> bool:
    if (wanted.type, wanted.namespace, wanted.name) != (here.type, here.namespace, here.name):
        return False
    if wanted.version and wanted.version != here.version:
        return False
    have = here.qualifiers if isinstance(here.qualifiers, dict) else {}
    asked = wanted.qualifiers if isinstance(wanted.qualifiers, dict) else {}
    return all(have.get(name) == value for name, value in asked.items())
