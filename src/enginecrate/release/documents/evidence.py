"""Evidence of an image, measured on a day and a machine, as in-toto statements.

Everything that differs from run to run stands here and nowhere else. A report that belongs to
another model, version or plan is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.model import Sbom, Subject
from enginecrate.release.documents.artifacts import Attachment
from enginecrate.release.documents.build_report import Report, ReportedPlan, read_report
from enginecrate.release.documents.statements import (
    ACCURACY,
    BOOT,
    PERFORMANCE,
    AccuracyEvidence,
    BootEvidence,
    PerformanceEvidence,
    ReportReference,
    attach_statement,
    check_time,
    image_resource,
)
from enginecrate.values import Digest

__all__ = ["BootFacts", "accuracy_evidence", "boot_evidence", "performance_evidence"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFacts:
    """Measurements of a start; see `BootEvidence`. machine: as a build report describes one."""

    measured_on: str
    runtime: str
    ready_seconds: float
    answer_seconds: float | None = None
    golden_samples: int = 0
    memory_bytes: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict)


def accuracy_evidence(sbom: Sbom, report: bytes, where: str = "report.json") -> Attachment:
    """Evidence of accuracy: how well the plans in an image agree with the given model.

    Args:
        sbom: of the image.
        report: the bytes of `build/report.json`.
        where: its name, for messages.

    Raises:
        ReleaseInvalid: it is no report, or about something else than what is in the image.
    """
    read = read_report(report, where)
    plans = [
        {
            **_plan(plan),
            "status": target.status,
            "evaluation": target.evaluation or {},
            "labelled": target.labelled or {},
        }
        for _, target, plan in read.targets_of(sbom)
    ]
    golden = {one.name: one.passed for one in read.result.golden}
    predicate = {**_measured(read, report, where), "golden": golden, "plans": plans}
    return attach_statement(
        "evidence-accuracy",
        [image_resource(sbom.subject)],
        ACCURACY,
        _checked(predicate, AccuracyEvidence, where),
    )


def performance_evidence(sbom: Sbom, report: bytes, where: str = "report.json") -> Attachment:
    """Evidence of performance: times of the plans in an image that ran on the machine of the build.

    Raises:
        ReleaseInvalid: as for `accuracy_evidence`, or none of the plans was timed.
    """
    read = read_report(report, where)
    timings = {one.target: one.timing for one in read.run.timings}
    plans = [
        {
            **_plan(plan),
            "rows": _rows(timings[number]),
            "notes": timings[number].get("notes", ()),
        }
        for number, _, plan in read.targets_of(sbom)
        if number in timings and timings[number].get("rows")
    ]
    if not plans:
        raise ReleaseInvalid(
            f"{where} has no times for the plans in the image: nothing of it ran on the machine of "
            "the build; build on a machine with its device, or leave this evidence out"
        )
    return attach_statement(
        "evidence-performance",
        [image_resource(sbom.subject)],
        PERFORMANCE,
        _checked({**_measured(read, report, where), "plans": plans}, PerformanceEvidence, where),
    )


def boot_evidence(subject: Subject, facts: BootFacts) -> Attachment:
    """Evidence of the boot time. Raises `ReleaseInvalid`: a fact is not possible."""
    check_time(facts.measured_on, "time of the start")
    predicate = {
        "measuredOn": facts.measured_on,
        "machine": dict(facts.machine),
        "runtime": facts.runtime,
        "readySeconds": round(facts.ready_seconds, 3),
        "answerSeconds": None if facts.answer_seconds is None else round(facts.answer_seconds, 3),
        "goldenSamples": facts.golden_samples,
        "memoryBytes": facts.memory_bytes,
    }
    checked = _checked(predicate, BootEvidence, "the facts of the start")
    return attach_statement("evidence-boot", [image_resource(subject)], BOOT, checked)


def _measured(read: Report, data: bytes, where: str) -> dict[str, Any]:
    reference = ReportReference(
        digest=str(Digest.of(data)),
        verdict=read.verdict,
        model=read.result.model.digest,
        manifest=read.result.app.manifest_digest,
    )
    return {
        "measuredOn": check_time(read.run.finished, f"run.finished of {where}"),
        "machine": read.run.machine,
        "report": reference,
    }


def _plan(plan: ReportedPlan) -> dict[str, str]:
    return {
        "key": plan.key,
        "digest": plan.plan_digest,
        "stack": plan.stack,
        "backend": plan.backend,
        "backendVersion": plan.backend_version,
        "platform": plan.platform,
        "device": plan.device,
        "precision": plan.precision,
    }


def _rows(timing: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = {"median_ms": "medianMs", "p95_ms": "p95Ms", "per_second": "perSecond"}
    return [{names.get(key, key): value for key, value in row.items()} for row in timing["rows"]]


def _checked(predicate: Mapping[str, Any], kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(msgspec.to_builtins(predicate), kind)
    except msgspec.ValidationError as exc:
        raise ReleaseInvalid(f"{where} cannot be used as evidence: {exc}; measure again") from exc
