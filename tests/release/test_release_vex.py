import json
from typing import Any

import pytest

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.model import Sbom
from enginecrate.release.documents.vex import read_vex
from sbom_images import image_lock, sbom_image

INDEX = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Sbom:
    layout = sbom_image(tmp_path_factory.mktemp("vex") / "image")
    return make_sbom(layout, "v1", locked=image_lock())


def statement(**changes: Any) -> dict[str, Any]:
    sound = {
        "vulnerability": {"name": "CVE-2026-0001"},
        "products": [{"@id": "pkg:deb/debian/zlib1g"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    return {name: value for name, value in {**sound, **changes}.items() if value is not None}


def openvex(*statements: dict[str, Any], **changes: Any) -> bytes:
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.com/vex/1",
        "author": "ISV security <security@example.com>",
        "timestamp": "2026-11-01T10:00:00.123456789Z",
        "version": 1,
        "statements": list(statements) or [statement()],
    }
    return json.dumps({**document, **changes}).encode()


def cyclonedx(ref: str, **changes: Any) -> bytes:
    one = {
        "id": "CVE-2026-0001",
        "analysis": {"state": "not_affected", "justification": "code_not_reachable"},
        "affects": [{"ref": ref}],
    }
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "vulnerabilities": [one]}
    return json.dumps({**document, **changes}).encode()


def test_openvex_becomes_a_statement_about_the_image(bill: Sbom) -> None:
    attachment = read_vex(openvex(), bill)
    document = json.loads(attachment.data)
    assert attachment.kind == "vex"
    assert document["predicateType"] == attachment.predicate_type == "https://openvex.dev/ns/v0.2.0"
    assert document["predicate"] == json.loads(openvex())
    assert document["subject"][0]["digest"]["sha256"] in bill.subject.digest


@pytest.mark.parametrize(
    "product",
    [
        {"@id": "pkg:deb/debian/zlib1g@1:1.2.13?arch=amd64"},
        {"identifiers": {"purl": "pkg:pypi/image-tool@3.0"}},
        {"@id": f"pkg:oci/photo-detector@{INDEX}?repository_url=registry.example.com/isv"},
        {"@id": "https://example.com/app", "hashes": {"sha-256": "1" * 64}},
        {"@id": "pkg:generic/example/photo-detector@1.0.0"},
    ],
)
def test_products_that_are_the_image_or_in_it(bill: Sbom, product: dict[str, Any]) -> None:
    assert read_vex(openvex(statement(products=[product])), bill, [INDEX]).data


@pytest.mark.parametrize(
    "product",
    [
        {"@id": "pkg:deb/debian/zlib1g@9"},
        {"@id": "pkg:deb/debian/zlib1g?arch=arm64"},
        {"@id": "pkg:deb/ubuntu/zlib1g"},
        {"@id": "pkg:oci/photo-detector@" + INDEX},
        {"@id": "pkg:deb/debian/zlib1g", "hashes": {"sha-256": "2" * 64}},
        {"@id": "pkg:what"},
        {"@id": "https://example.com/app"},
        {},
    ],
)
def test_other_products_are_refused(bill: Sbom, product: dict[str, Any]) -> None:
    with pytest.raises(ReleaseInvalid, match=r"CVE-2026-0001 is about .*neither this image nor in"):
        read_vex(openvex(statement(products=[product])), bill)


def test_one_of_several_products_is_enough(bill: Sbom) -> None:
    products = [{"@id": "pkg:deb/debian/elsewhere"}, {"@id": "pkg:deb/debian/zlib1g"}]
    assert read_vex(openvex(statement(products=products)), bill).data
    assert read_vex(openvex(statement(products=None)), bill).data  # then it is the subject


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not json", "no VEX file"),
        (b"[]", "no VEX file"),
        (openvex(**{"@context": "https://example.com"}), "@context"),
        (openvex(version=0), "version"),
        (openvex(author=""), "author"),
        (openvex(timestamp="2026-11-01"), "timestamp of fixes.json.*no time zone"),
        (openvex(statements=[]), "statements"),
        (openvex(statement(status="fine")), "status"),
        (openvex(statement(justification="because")), "justification"),
        (openvex(statement(justification=None)), "not_affected without justification"),
        (openvex(statement(status="affected")), "affected without action_statement"),
        (openvex(statement(timestamp="once")), "timestamp of CVE-2026-0001"),
        (openvex(statement(vulnerability={})), "name"),
        (cyclonedx("deb/zlib1g", vulnerabilities=[]), "vulnerabilities"),
        (cyclonedx("deb/zlib1g", specVersion="1.0"), "specVersion"),
        (cyclonedx("deb/elsewhere"), "CVE-2026-0001 is about deb/elsewhere"),
    ],
)
def test_faults_are_named(bill: Sbom, data: bytes, message: str) -> None:
    with pytest.raises(ReleaseInvalid, match=message):
        read_vex(data, bill, where="fixes.json")


def test_all_faults_are_listed_at_once(bill: Sbom) -> None:
    data = openvex(statement(status="affected"), statement(products=[{"@id": "pkg:pypi/no"}]))
    with pytest.raises(ReleaseInvalid, match=r"action_statement.*; .*pkg:pypi/no"):
        read_vex(data, bill)


@pytest.mark.parametrize(
    "ref", ["deb/zlib1g", "pkg:deb/debian/zlib1g", "urn:cdx:3e671687-395b-41f5-a30f/1#deb/zlib1g"]
)
def test_cyclonedx_vex(bill: Sbom, ref: str) -> None:
    attachment = read_vex(cyclonedx(ref), bill)
    assert attachment.predicate_type == "https://cyclonedx.org/bom"
