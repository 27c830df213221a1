"""An audit in the format that code hosts and IDEs show.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) 2.1.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from enginecrate.image.audit.report import AuditReport, Finding, ImageAudit
from enginecrate.image.audit.rules.rule_data import Rule, Severity, load_rules
from enginecrate.version import __version__

__all__ = ["to_sarif"]

_LEVELS = {
    Severity.CRITICAL: ("error", "9.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.MEDIUM: ("warning", "5.5"),
    Severity.LOW: ("note", "3.0"),
    Severity.INFO: ("note", "0.0"),
}
"""The level, and the property `security-severity` (0.0 to 10.0) by which code hosts sort."""


def to_sarif(report: AuditReport) -> bytes:
    """One SARIF log with a run for each platform. The same report gives the same bytes."""
    log = {
        "version": "2.1.0",
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
        "sarif-schema-2.1.0.json",
        "runs": [_run(report, image) for image in report.images],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=2) + b"\n"


def _run(report: AuditReport, image: ImageAudit) -> dict[str, Any]:
    rules = list(load_rules().values())
    return {
        "tool": {
            "driver": {
                "name": "enginecrate audit",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": f"enginecrate audit/{image.platform}/"},
        "properties": {
            "image": report.image,
            "digest": image.digest,
            "platform": image.platform,
            "layers": list(image.layers),
        },
        "results": list(_results(image, {rule.id: index for index, rule in enumerate(rules)})),
        "columnKind": "unicodeCodePoints",
    }


def _rule(rule: Rule) -> dict[str, Any]:
    level, score = _LEVELS[rule.severity]
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.title.replace(",", "").split()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.why} It looks at {rule.looks_at}."},
        "help": {"text": f"Cure: {rule.cure}. Sources: {'; '.join(rule.sources)}."},
        "defaultConfiguration": {"level": level},
        "properties": {"security-severity": score, "tags": ["security", str(rule.severity)]},
    }


def _results(image: ImageAudit, indexes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for finding in image.findings:
        yield _result(finding, image, indexes)
    for ignored in image.ignored:
        suppression = {"kind": "external", "justification": ignored.reason}
        yield _result(ignored.finding, image, indexes) | {"suppressions": [suppression]}


def _result(finding: Finding, image: ImageAudit, indexes: dict[str, int]) -> dict[str, Any]:
    where = f" (layer {finding.layer})" if finding.layer else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": indexes[finding.rule],
        "level": _LEVELS[finding.severity][0],
        "message": {"text": f"{finding.title}: {finding.message}{where}. Cure: {finding.cure}."},
        "locations": [_location(finding)],
        "partialFingerprints": {"enginecrateFinding/v1": _fingerprint(finding)},
        "properties": {
            "severity": str(finding.severity),
            "layer": finding.layer,
            "layerDigest": image.layers[finding.layer - 1] if finding.layer else "",
        },
    }


def _location(finding: Finding) -> dict[str, Any]:
    """Code hosts want a file for each result: the configuration stands for what has none."""
    if not finding.path and not finding.layer:
        file = "image-configuration.json"
    else:
        file = quote(finding.path or f"layer-{finding.layer}")
    location: dict[str, Any] = {"artifactLocation": {"uri": file}}
    if finding.line:
        location["region"] = {"startLine": finding.line}
    return {"physicalLocation": location}


def _fingerprint(finding: Finding) -> str:
    """The same for the same fault in the next build, whatever layer it is in."""
    text = "\0".join((finding.rule, finding.path, finding.message))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
