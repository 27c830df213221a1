import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file

from enginecrate.image.image_requests import locked_image
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.cyclonedx_json import render_cyclonedx
from enginecrate.image.sbom.model import Kind, Sbom
from enginecrate.image.sbom.spdx_json import render_spdx, spdx_document
from enginecrate.image.transports.layout import Layout
from enginecrate.stacks.lock import load_lock
from sbom_images import CREATED, NVIDIA_TERMS, image_lock, sbom_image
from sbom_tools import listed, spdx_faults, syft


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return sbom_image(tmp_path_factory.mktemp("sbom") / "image")


@pytest.fixture(scope="module")
def bill(layout: Layout) -> Sbom:
    return make_sbom(layout, "v1", locked=image_lock())


@pytest.fixture(scope="module")
def cyclonedx(bill: Sbom) -> dict[str, Any]:
    return dict(json.loads(render_cyclonedx(bill)))


@pytest.fixture(scope="module")
def spdx(bill: Sbom) -> dict[str, Any]:
    return dict(json.loads(render_spdx(bill)))


def test_cyclonedx_follows_its_schema(bill: Sbom) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(render_cyclonedx(bill).decode()) is None
    assert validator.validate_str('{"bomFormat": "CycloneDX", "specVersion": 6}') is not None


def test_spdx_is_valid_and_can_be_read_again(
    bill: Sbom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = spdx_document(bill)
    assert spdx_faults(document, monkeypatch) == []
    file = tmp_path / "bill.spdx.json"
    file.write_bytes(render_spdx(bill))
    assert parse_file(str(file)).packages == document.packages
    document.packages[1].spdx_id = "not an id"
    assert spdx_faults(document, monkeypatch) != []


def test_minimum_elements_in_cyclonedx(cyclonedx: dict[str, Any], bill: Sbom) -> None:
    """NTIA, "The Minimum Elements For a Software Bill of Materials" (2021), data fields."""
    metadata = cyclonedx["metadata"]
    assert metadata["timestamp"].startswith(CREATED.removesuffix("Z"))
    assert metadata["supplier"]["name"] == "example"
    assert metadata["tools"]["components"][0]["name"] == "enginecrate"
    entries = cyclonedx["components"]
    assert len(entries) == len(bill.components)
    assert all(one["name"] and one["version"] and one["bom-ref"] for one in entries)
    assert all(one["supplier"]["name"] for one in entries)
    assert {one["ref"] for one in cyclonedx["dependencies"]} == {
        metadata["component"]["bom-ref"],
        *(one["bom-ref"] for one in entries),
    }


def test_minimum_elements_in_spdx(spdx: dict[str, Any], bill: Sbom) -> None:
    assert spdx["creationInfo"]["created"] == CREATED
    assert spdx["creationInfo"]["creators"][0] == "Organization: example"
    assert spdx["documentNamespace"].startswith("urn:uuid:")
    packages = spdx["packages"]
    assert len({one["SPDXID"] for one in packages}) == len(bill.components) + 1
    assert all(one["name"] and one["versionInfo"] for one in packages)
    assert all(one["supplier"] != "NOASSERTION" for one in packages)
    linked = {one["relatedSpdxElement"] for one in spdx["relationships"]}
    assert linked == {one["SPDXID"] for one in packages}
    kinds = {one["relationshipType"] for one in spdx["relationships"]}
    assert kinds == {"CONTAINS", "DEPENDS_ON", "DESCRIBES", "GENERATED_FROM"}


def test_licence_texts_travel_with_both_documents(
    cyclonedx: dict[str, Any], spdx: dict[str, Any]
) -> None:
    texts = {one["extractedText"] for one in spdx["hasExtractedLicensingInfos"]}
    assert NVIDIA_TERMS in texts
    (cublas,) = (one for one in cyclonedx["components"] if one["name"] == "nvidia-cublas")
    (licence,) = cublas["licenses"]
    assert licence["license"]["text"]["content"] == NVIDIA_TERMS
    (tool,) = (one for one in cyclonedx["components"] if one["name"] == "twice")
    assert tool["licenses"] == [{"acknowledgement": "declared", "expression": "Apache-2.0 AND MIT"}]


def test_packages_can_be_found_by_scanners(cyclonedx: dict[str, Any], spdx: dict[str, Any]) -> None:
    purls = {one["purl"] for one in cyclonedx["components"] if "purl" in one}
    assert "pkg:pypi/nvidia-cublas@13.0.0" in purls
    references = {
        one["referenceLocator"]
        for package in spdx["packages"]
        for one in package.get("externalRefs", [])
    }
    assert references - purls == {cyclonedx["metadata"]["component"]["purl"]}


_RENDER = """
import sys
from pathlib import Path
from enginecrate.image.transports.layout import Layout
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.cyclonedx_json import render_cyclonedx
from enginecrate.image.sbom.spdx_json import render_spdx
bill = make_sbom(Layout(Path(sys.argv[1])), "v1")
sys.stdout.buffer.write(render_cyclonedx(bill) + b"\\n" + render_spdx(bill))
"""


def test_the_same_image_gives_the_same_bytes(layout: Layout, tmp_path: Path) -> None:
    """In two processes with other hash seeds, time zones and places."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(layout.folder, copy)
    running = []
    for folder, seed, zone in ((layout.folder, "1", "UTC"), (copy, "2", "Asia/Tokyo")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}
        command = [sys.executable, "-c", _RENDER, str(folder)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    first, second = (one.communicate(timeout=60)[0] for one in running)
    assert first == second
    assert b"SPDX-2.3" in first


def test_syft_finds_the_same_packages(layout: Layout, bill: Sbom, tmp_path: Path) -> None:
    """A scanner that reads the image itself: it finds the distribution, every deb and wheel."""
    distribution, packages = syft(layout.folder, tmp_path)
    assert (distribution["id"], distribution["versionID"]) == ("debian", "12")
    # Syft lists a package that was removed, too, while a configuration file of it is left.
    assert listed(bill) == packages - {("gone", "1")}


def test_the_real_image(built_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample detector: syft agrees, both documents are valid, nothing is left open."""
    lock = load_lock(built_image.parents[1])
    assert lock is not None
    locked = locked_image(lock, "ort-cpu", "linux/amd64")
    bill = make_sbom(Layout(built_image), "v1.0.0-ort-cpu", locked=locked)
    distribution, packages = syft(built_image, tmp_path)
    assert distribution["id"] == "debian"
    assert listed(bill) == packages
    assert len(packages) == len(locked.debs) + len(locked.wheels) + 1
    assert all(one.licence and one.supplier for one in bill.of_kind(Kind.DEB, Kind.WHEEL))
    assert all(one.version for one in bill.components)
    kinds = {one.kind for one in bill.components}
    assert kinds == set(Kind) - {Kind.BASE}
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(render_cyclonedx(bill).decode()) is None
    assert spdx_faults(spdx_document(bill), monkeypatch) == []
