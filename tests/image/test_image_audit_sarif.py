"""SARIF is what the standard's own schema says."""

import json
from pathlib import Path

import jsonschema
import pytest

from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.report import AuditReport, Waiver
from enginecrate.image.audit.rules.rule_data import load_rules
from enginecrate.image.audit.sarif import to_sarif
from image_faults import FAULTS, TAG, plant

SCHEMA = Path(__file__).parents[1] / "fixtures" / "sarif" / "sarif-2.1.0-rtm.5.json"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    names = ("private key", "shell", "waste", "curl", "no health check", "setuid")
    layout = plant(tmp_path_factory.mktemp("image"), *(FAULTS[name] for name in names))
    return audit_image(layout, TAG, waivers=[Waiver("EC-IMG-029", "needed: ask me")])


def test_it_follows_the_official_schema(report: AuditReport):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    checker = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    log = json.loads(to_sarif(report))
    assert list(checker.iter_errors(log)) == []
    del log["runs"][0]["tool"]["driver"]["name"]
    assert list(checker.iter_errors(log)), "the schema finds faults"


def test_what_code_hosts_show(report: AuditReport):
    (run,) = json.loads(to_sarif(report))["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(load_rules())
    results = {result["ruleId"]: result for result in run["results"]}
    key = results["EC-IMG-030"]
    transport = key["locations"][0]["physicalLocation"]
    assert (key["level"], transport["artifactLocation"]["uri"]) == ("error", "srv/tls.key")
    assert transport["region"] == {"startLine": 1}
    assert key["properties"]["layer"] == 2
    assert key["properties"]["layerDigest"] == report.images[0].layers[1]
    for result in run["results"]:
        rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
        assert rule["id"] == result["ruleId"]
    levels = {name: results[name]["level"] for name in ("EC-IMG-020", "EC-IMG-074", "EC-IMG-043")}
    assert levels == {"EC-IMG-020": "warning", "EC-IMG-074": "note", "EC-IMG-043": "note"}
    assert results["EC-IMG-029"]["suppressions"] == [
        {"kind": "external", "justification": "needed: ask me"}
    ]


def test_the_same_report_gives_the_same_bytes(report: AuditReport):
    assert to_sarif(report) == to_sarif(report)
    fingerprints = [
        result["partialFingerprints"]["enginecrateFinding/v1"]
        for result in json.loads(to_sarif(report))["runs"][0]["results"]
    ]
    assert len(set(fingerprints)) == len(fingerprints)
