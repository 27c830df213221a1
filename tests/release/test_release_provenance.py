import json
from pathlib import Path
from typing import Any

import pytest

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.model import Kind, Sbom
from enginecrate.release.documents.artifacts import CYCLONEDX, IN_TOTO, SPDX
from enginecrate.release.documents.provenance import BuildFacts, RunFacts, make_provenance
from enginecrate.release.documents.sbom import sbom_attachments
from enginecrate.release.documents.statements import STATEMENT
from enginecrate.values import Digest
from sbom_images import MODEL, image_lock, sbom_image

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILD = BuildFacts(
    manifest=Digest.of(b"manifest"),
    lock=Digest.of(b"lock"),
    locked=image_lock(),
    options={"compression": "gzip level 6"},
    revision=COMMIT,
    source="https://git.example.com/isv/app",
)


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Sbom:
    layout = sbom_image(tmp_path_factory.mktemp("provenance") / "image")
    return make_sbom(layout, "v1", locked=image_lock())


def predicate(bill: Sbom, run: RunFacts | None = None, build: BuildFacts = BUILD) -> dict[str, Any]:
    return dict(json.loads(make_provenance(bill, build, run).data)["predicate"])


def test_it_is_an_in_toto_statement_about_the_image(bill: Sbom) -> None:
    attachment = make_provenance(bill, BUILD)
    statement = json.loads(attachment.data)
    assert statement["_type"] == STATEMENT
    assert statement["predicateType"] == attachment.predicate_type
    assert attachment.predicate_type == "https://slsa.dev/provenance/v1"
    hex_digest = bill.subject.digest.removeprefix("sha256:")
    assert statement["subject"] == [{"name": "photo-detector", "digest": {"sha256": hex_digest}}]
    assert attachment.media_type == IN_TOTO


def test_everything_that_went_in_is_named_by_digest(bill: Sbom) -> None:
    needs = predicate(bill)["buildDefinition"]["resolvedDependencies"]
    by_name = {one["name"]: one for one in needs}
    assert by_name["project"] == {
        "name": "project",
        "uri": f"git+https://git.example.com/isv/app@{COMMIT}",
        "digest": {"gitCommit": COMMIT},
    }
    assert by_name["models/nanodet-g-416.onnx"]["digest"] == {"sha256": Digest.of(MODEL).hex}
    assert by_name["libc6"]["digest"] == {"sha256": Digest.of(b"libc6").hex}
    assert by_name["numpy"]["uri"] == "pkg:pypi/numpy@2.4.6"
    inputs = bill.of_kind(Kind.DEB, Kind.WHEEL, Kind.MODEL, Kind.PLAN, Kind.DATA)
    assert len(needs) == len(inputs) + 1
    assert [one["name"] for one in needs if not one.get("digest")] == []


def test_parameters(bill: Sbom) -> None:
    definition = predicate(bill)["buildDefinition"]
    outside = definition["externalParameters"]
    assert (outside["stack"], outside["platform"]) == ("ort-cpu", "linux/amd64")
    assert outside["options"] == {"compression": "gzip level 6"}
    assert outside["manifest"]["digest"] == {"sha256": Digest.of(b"manifest").hex}
    assert definition["internalParameters"]["interpreter"] == "3.11.2"


def test_a_project_that_is_not_committed_names_no_commit(bill: Sbom) -> None:
    plain = BuildFacts(manifest=BUILD.manifest, lock=BUILD.lock, locked=image_lock())
    needs = predicate(bill, build=plain)["buildDefinition"]["resolvedDependencies"]
    assert all(one["name"] != "project" for one in needs)


def test_only_the_run_differs_between_runs(bill: Sbom) -> None:
    assert make_provenance(bill, BUILD).data == make_provenance(bill, BUILD).data
    run = RunFacts(
        builder="https://ci.example.com/runners/1",
        invocation="17",
        started="2026-11-01T10:00:00Z",
        finished="2026-11-01T10:01:00+00:00",
    )
    mine, other = predicate(bill, run), predicate(bill)
    assert mine["buildDefinition"] == other["buildDefinition"]
    assert mine["runDetails"]["builder"]["id"] == "https://ci.example.com/runners/1"
    assert mine["runDetails"]["metadata"] == {
        "invocationId": "17",
        "startedOn": "2026-11-01T10:00:00Z",
        "finishedOn": "2026-11-01T10:01:00+00:00",
    }
    assert other["runDetails"]["builder"]["id"].endswith("/builders/local")


@pytest.mark.parametrize("time", ["yesterday", "2026-11-01T10:00:00"])
def test_times_have_a_zone(bill: Sbom, time: str) -> None:
    with pytest.raises(ReleaseInvalid, match="start of the build"):
        make_provenance(bill, BUILD, RunFacts(started=time))


def test_the_bill_in_two_formats_is_ready_to_attach(bill: Sbom) -> None:
    documents = sbom_attachments(bill)
    assert [one.artifact_type for one in documents] == [CYCLONEDX, SPDX]
    assert {one.kind for one in documents} == {"sbom-cyclonedx", "sbom-spdx"}
    assert all(not one.predicate_type and json.loads(one.data) for one in documents)
    assert documents[0].digest == Digest.of(documents[0].data)


def test_nothing_of_this_machine_gets_in(bill: Sbom) -> None:
    data = make_provenance(bill, BUILD).data
    assert str(Path.home()).encode() not in data
