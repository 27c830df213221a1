import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.model import Sbom
from enginecrate.release.documents.evidence import (
    BootFacts,
    accuracy_evidence,
    boot_evidence,
    performance_evidence,
)
from enginecrate.release.documents.statements import ACCURACY, BOOT, PERFORMANCE, predicate_schemas
from enginecrate.values import Digest
from sbom_images import MODEL, PLAN, SAMPLE, image_lock, sbom_image

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"
MACHINE = {"processor": "a processor", "cores": 2, "system": "Linux", "python": "3.11"}
PLAN_FACTS = {
    "stack": "ort-cpu", "backend": "onnxruntime", "backend_version": "1.32.0",
    "platform": "linux/amd64", "device": "cpu", "precision": "fp32", "key": "abc123",
    "plan_digest": Digest.of(PLAN), "graph_digest": Digest.of(PLAN), "plan_bytes": 1,
    "max_batch": 8,
}  # fmt: skip
AGREEMENT = {"name": "matched boxes", "value": 1.0, "n": 6, "unit": "boxes"}
ROW = {
    "step": "engine", "batch": 1, "runs": 20, "median_ms": 20.5, "p95_ms": 22, "per_second": 48.8,
}  # fmt: skip


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Sbom:
    layout = sbom_image(tmp_path_factory.mktemp("evidence") / "image")
    return make_sbom(layout, "v1", locked=image_lock())


def report(**changes: Any) -> bytes:
    """A report of a build of the sample; `changes` by dotted path with `__`."""
    target = {
        "status": "proven",
        "plan": dict(PLAN_FACTS),
        "evaluation": {"proof": "measured", "photos": 4, "agreement": AGREEMENT},
        "labelled": None,
    }
    other = {"status": "not run", "plan": {**PLAN_FACTS, "stack": "ort-cuda130", "key": "def456"}}
    document: dict[str, Any] = {
        "format": 2,
        "verdict": "proven",
        "result": {
            "app": {
                "name": "photo-detector",
                "version": "1.0.0",
                "manifest_digest": Digest.of((SAMPLE / "enginecrate.toml").read_bytes()),
            },
            "model": {"digest": Digest.of(MODEL)},
            "targets": [other, target],
            "served": 1,
            "golden": [{"name": "astronaut.png", "passed": True, "reasons": []}],
        },
        "run": {
            "finished": "2026-11-23T00:46:22+00:00",
            "machine": MACHINE,
            "timings": [{"target": 1, "timing": {"rows": [ROW], "notes": []}}],
        },
    }
    for path, value in changes.items():
        *folders, name = path.split("__")
        transport = document
        for folder in folders:
            transport = transport[folder]
        transport[name] = value
    return json.dumps(document).encode()


def validator(predicate_type: str) -> Draft202012Validator:
    return Draft202012Validator(predicate_schemas()[predicate_type])


def test_accuracy(bill: Sbom) -> None:
    attachment = accuracy_evidence(bill, report())
    statement = json.loads(attachment.data)
    predicate = statement["predicate"]
    assert attachment.kind == "evidence-accuracy"
    assert statement["predicateType"] == attachment.predicate_type == ACCURACY
    assert statement["subject"][0]["digest"] == {
        "sha256": bill.subject.digest.removeprefix("sha256:")
    }
    assert (predicate["measuredOn"], predicate["machine"]) == ("2026-11-23T00:46:22+00:00", MACHINE)
    (plan,) = predicate["plans"]
    assert (plan["digest"], plan["status"]) == (Digest.of(PLAN), "proven")
    assert plan["evaluation"]["agreement"] == AGREEMENT
    assert predicate["golden"] == {"astronaut.png": True}
    assert predicate["report"]["digest"] == Digest.of(report())
    validator(ACCURACY).validate(predicate)


def test_performance(bill: Sbom) -> None:
    attachment = performance_evidence(bill, report())
    predicate = json.loads(attachment.data)["predicate"]
    (plan,) = predicate["plans"]
    assert plan["rows"][0]["medianMs"] == 20.5
    assert predicate["machine"] == MACHINE
    validator(PERFORMANCE).validate(predicate)


def test_boot(bill: Sbom) -> None:
    facts = BootFacts(
        measured_on="2026-11-23T00:46:22Z",
        runtime="podman",
        ready_seconds=4.20001,
        answer_seconds=4.7,
        golden_samples=3,
        memory_bytes=2**30,
        machine=MACHINE,
    )
    predicate = json.loads(boot_evidence(bill.subject, facts).data)["predicate"]
    assert (predicate["readySeconds"], predicate["answerSeconds"]) == (4.2, 4.7)
    validator(BOOT).validate(predicate)
    without = BootFacts(measured_on="2026-11-23T00:46:22Z", runtime="podman", ready_seconds=4)
    predicate = json.loads(boot_evidence(bill.subject, without).data)["predicate"]
    assert "answerSeconds" not in predicate
    validator(BOOT).validate(predicate)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"ready_seconds": -1.0}, "readySeconds"),
        ({"measured_on": "now"}, "time of the start"),
        ({"runtime": ""}, "runtime"),
        ({"answer_seconds": -2.0}, "answerSeconds"),
    ],
)
def test_impossible_boots_are_refused(bill: Sbom, facts: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {
        "measured_on": "2026-11-23T00:46:22Z", "runtime": "podman", "ready_seconds": 1.0,
    }  # fmt: skip
    with pytest.raises(ReleaseInvalid, match=message):
        boot_evidence(bill.subject, BootFacts(**{**sound, **facts}))


@pytest.mark.parametrize("make", [accuracy_evidence, performance_evidence])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"result__app__name": "other"}, "another app: it says other.*photo-detector"),
        ({"result__app__version": "1.0.1"}, "another version"),
        ({"result__app__manifest_digest": Digest.of(b"")}, "another manifest"),
        ({"result__model": {"digest": Digest.of(b"")}}, "another model"),
        ({"result__targets": []}, "other plans"),
        ({"format": 1}, "format 1"),
        ({"result__targets": 5}, "not the report of a build"),
        ({"run__finished": "late"}, r"run\.finished of report\.json"),
    ],
)
def test_reports_of_something_else_are_refused(
    bill: Sbom, make: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReleaseInvalid, match=message):
        make(bill, report(**changes))


def test_times_that_nobody_measured_are_no_evidence(bill: Sbom) -> None:
    with pytest.raises(ReleaseInvalid, match="has no times"):
        performance_evidence(bill, report(run__timings=[]))
    assert accuracy_evidence(bill, report(run__timings=[])).data


def test_rows_that_are_not_times_are_refused(bill: Sbom) -> None:
    timings = [{"target": 1, "timing": {"rows": [{**ROW, "median_ms": "fast"}]}}]
    with pytest.raises(ReleaseInvalid, match=r"medianMs.*measure again"):
        performance_evidence(bill, report(run__timings=timings))


def test_schemas_in_the_documents_are_those_of_the_code() -> None:
    names = {ACCURACY: "accuracy", PERFORMANCE: "performance", BOOT: "boot"}
    for predicate_type, schema in predicate_schemas().items():
        Draft202012Validator.check_schema(schema)
        written = json.loads((SCHEMAS / f"{names[predicate_type]}.v1.json").read_text())
        assert written == json.loads(json.dumps(schema))
