"""In-toto statements about images, not signed yet, and our own types of predicates.

The predicates are accuracy, performance and boot time: docs/sbom.md describes them, and
`docs/schemas/` has a JSON Schema of each, made from these types.

Source: in-toto Attestation Framework v1, "Statement" and "ResourceDescriptor".
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.formats.oci import encode
from enginecrate.image.sbom.model import Subject
from enginecrate.release.documents.artifacts import IN_TOTO, Attachment, AttachmentKind

__all__ = [
    "ACCURACY",
    "BOOT",
    "PERFORMANCE",
    "STATEMENT",
    "AccuracyEvidence",
    "BootEvidence",
    "PerformanceEvidence",
    "ReportReference",
    "Resource",
    "attach_statement",
    "check_time",
    "image_resource",
    "predicate_schemas",
]

STATEMENT = "https://in-toto.io/Statement/v1"
_TYPES = "https://enginecrate.io/attestations"
"""The prefix of our own types of predicates; docs/sbom.md describes each."""
ACCURACY = f"{_TYPES}/accuracy/v1"
PERFORMANCE = f"{_TYPES}/performance/v1"
BOOT = f"{_TYPES}/boot/v1"
_Meta = msgspec.Meta
_Sha256 = Annotated[str, _Meta(pattern="^sha256:[0-9a-f]{64}$")]
_Positive = Annotated[float, _Meta(ge=0)]
_Count = Annotated[int, _Meta(ge=0)]
_Time = Annotated[str, _Meta(description="RFC 3339, with its zone")]
_Machine = Annotated[
    dict[str, Any],
    _Meta(description="Where it was measured: processor, cores, system, python, packages, GPU"),
]


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A thing by its digest: `{"sha256": hex}`, or `{"gitCommit": hex}` for a commit."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}
    media_type: str = ""
    annotations: dict[str, str] = {}


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`predicate` is said about every `subject`; `predicate_type` says how to read it."""

    type: str = msgspec.field(default=STATEMENT, name="_type")
    subject: tuple[Resource, ...]
    predicate_type: str
    predicate: msgspec.Raw | msgspec.Struct


def image_resource(subject: Subject) -> Resource:
    """An image as the subject of a statement."""
    return Resource(name=subject.name, digest={"sha256": subject.digest.removeprefix("sha256:")})


def attach_statement(
    kind: AttachmentKind,
    subjects: Sequence[Resource],
    predicate_type: str,
    predicate: msgspec.Raw | msgspec.Struct,
) -> Attachment:
    """A statement as a document to sign and attach. The same statement gives the same bytes."""
    statement = Statement(
        subject=tuple(subjects), predicate_type=predicate_type, predicate=predicate
    )
    return Attachment(
        kind=kind,
        artifact_type=IN_TOTO,
        media_type=IN_TOTO,
        data=encode(statement),
        predicate_type=predicate_type,
    )


def check_time(text: str, where: str) -> str:
    """A time of RFC 3339 with its zone, unchanged. Raises `ReleaseInvalid`."""
    cure = "write it as 2026-01-31T12:00:00Z"
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError as exc:
        raise ReleaseInvalid(f"{where}: {text!r} is not a time; {cure}") from exc
    if zone is None:
        raise ReleaseInvalid(f"{where}: {text!r} has no time zone; {cure}")
    return text


class ReportReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The build report that it was taken from."""

    digest: _Sha256
    verdict: str
    model: _Sha256
    manifest: _Sha256


class _Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    key: str
    digest: _Sha256
    stack: str
    backend: str
    backend_version: str
    platform: str
    device: str
    precision: str


class PlanAccuracy(_Plan, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One plan.

    status: `proven`, `unproven`, `simulated` (its device was not there), `not run`, `failed`.
    evaluation: agreement with FP32; labelled: against the truth, both as in the report.
    """

    status: str
    evaluation: dict[str, Any] = {}
    labelled: dict[str, Any] = {}


class AccuracyEvidence(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """golden: samples by name, and whether the served plan gave their expected results."""

    measured_on: _Time
    machine: _Machine
    report: ReportReference
    golden: dict[str, bool]
    plans: Annotated[tuple[PlanAccuracy, ...], _Meta(min_length=1)]


class TimedStep(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Times of one step in milliseconds; `per_second` from the median."""

    step: str
    batch: _Count
    runs: _Count
    median_ms: _Positive
    p95_ms: _Positive
    per_second: _Positive


class PlanTimes(_Plan, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One plan."""

    rows: Annotated[tuple[TimedStep, ...], _Meta(min_length=1)]
    notes: tuple[str, ...] = ()


class PerformanceEvidence(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Plans that ran on the machine of the build; others are not here."""

    measured_on: _Time
    machine: _Machine
    report: ReportReference
    plans: Annotated[tuple[PlanTimes, ...], _Meta(min_length=1)]


class BootEvidence(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One start of the image in a container.

    ready_seconds: from the command that starts the container to ready (golden samples proven).
    answer_seconds: to the first correct answer to a client; absent when nobody asked.
    golden_samples: how many were proven; 0: the app has none, so ready proves little.
    memory_bytes: the container's limit; 0: none.
    """

    measured_on: _Time
    machine: _Machine
    runtime: Annotated[str, _Meta(min_length=1)]
    ready_seconds: _Positive
    answer_seconds: _Positive | None = None
    golden_samples: _Count = msgspec.field(default_factory=int)
    memory_bytes: _Count = 0


def predicate_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) of each predicate by its type."""
    kinds = {ACCURACY: AccuracyEvidence, PERFORMANCE: PerformanceEvidence, BOOT: BootEvidence}
    schemas = {}
    for predicate_type, kind in kinds.items():
        (reference,), components = msgspec.json.schema_components(
            [kind], ref_template="#/$defs/{name}"
        )
        schemas[predicate_type] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": predicate_type,
            **reference,
            "$defs": _unindented(components),
        }
    return schemas


def _unindented(value: Any) -> Any:
    """A part of a schema with flush descriptions; msgspec before 0.23 keeps the code's indent."""
    if isinstance(value, dict):
        return {key: _unindented(inner) for key, inner in value.items()} | (
            {"description": inspect.cleandoc(value["description"])}
            if isinstance(value.get("description"), str)
            else {}
        )
    return [_unindented(inner) for inner in value] if isinstance(value, list) else value
